"""Scans image files, reading every byte once: digest, size and damage. Caches these facts for the next scan.

The cached facts of a file are valid as long as its path, size, times of change and inode are the same.
"""

import array
import hashlib
import logging
import os
import pathlib
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlexp.datasets.images.file_facts import FACTS, UNKNOWN
from dlexp.datasets.images.file_facts_pool import read_files
from dlexp.errors import DataError
from dlexp.machine.atomic import atomic_file
from dlexp.machine.progress_bar import track

_log = logging.getLogger(__name__)
_STAMP = ("size", "modified_ns", "changed_ns", "inode")
_TYPES = {name: "str" if name in ("digest", "mode", "damage") else "int64" for name in FACTS}
_FORMAT = 3  # of the cache; to be raised when `inspect_image` returns anything different for a file
_SETTLED_NS = 2_000_000_000  # a file can change twice within one tick of the disk's clock: newer ones are not cached


def scan_files(root: str, files: Sequence[str], *, reread: bool = False) -> pd.DataFrame:
    """Reads the facts of image files.

    Args:
        root: absolute path of a folder.
        files: paths below it, with `/` between their parts.
        reread: read every file, also those with cached facts.

    Returns:
        One row per file, in their order: `digest` (blake2b-128 of its bytes, 32 hex digits); `height`, `width` (in
        pixels) and `channels` (1 grey, 3 colour) of the decoded image, all 0 if the file is damaged; `mode`,
        `orientation`, `decoder`, `pages` and `peak` as in `ImageHeader`; and `damage`, why the file cannot be read, or
        "".
    """
    started = time.time_ns()
    stamps = _read_stamps(root, files)
    cache = _cache_path(root)
    known = _no_facts() if reread else _read_cache(cache)
    index = pd.Index(pd.array(files, dtype="str"))
    if known.index.equals(index) and np.array_equal(_stamps_of(known), stamps):  # as of most folders, and faster
        return known[list(FACTS)].reset_index(drop=True)
    places = known.index.get_indexer(index)
    same = places >= 0
    same[same] = (_stamps_of(known)[places[same]] == stamps[same]).all(axis=1)
    cached = known[list(FACTS)].iloc[places[same]].set_index(np.flatnonzero(same))
    if same.all():
        return cached
    changed = np.flatnonzero(~same).tolist()
    paths = [f"{root}/{files[number]}" for number in changed]
    reading = track(read_files(paths), len(changed), "reading images")
    scanned = pd.DataFrame(reading, columns=list(FACTS), index=changed)
    facts = pd.concat([cached, scanned.astype(_TYPES)]).sort_index()
    lasting = (facts["digest"] != "") & (stamps[:, _STAMP.index("changed_ns")] < started - _SETTLED_NS)
    stamped = facts.assign(**dict(zip(_STAMP, stamps.T, strict=True))).set_index(index)
    _write_cache(cache, stamped[lasting.to_numpy()])
    return facts


def is_inside(root: str, path: str) -> bool:
    """Returns whether a path, with all links followed, is `root` or below it; `root` is absolute and without links."""
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def check_link(root: str, path: str) -> None:
    """Raises DataError if a link leaves the folder that it is in.

    Args:
        root: the folder, absolute and without links.
        path: path of the link.
    """
    if not is_inside(root, path):
        raise DataError(f"{path!r} is a link that leaves the folder {root!r}: copy what it points to, or remove it")


def check_file_name(path: str) -> None:
    """Raises DataError unless a file's name is valid UTF-8, as TensorFlow and Parquet need it."""
    try:
        path.encode()
    except UnicodeEncodeError as err:
        raise DataError(f"file name {path!r} is not valid UTF-8: rename it") from err


def _read_stamps(root: str, files: Sequence[str]) -> np.ndarray:
    """Returns numbers that change with the contents or permissions of a file, zeros if there is no file.

    Returns:
        `int64` `(len(files), 4)`: the values of `_STAMP`.
    """
    stamps = array.array("q")  # a list of numbers takes five times as much memory
    for file in files:
        try:
            status = os.stat(f"{root}/{file}")
        except OSError:
            stamps.extend((0, 0, 0, 0))
        else:
            stamps.extend((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return np.array(stamps, np.int64).reshape(-1, len(_STAMP))


def _stamps_of(known: pd.DataFrame) -> np.ndarray:
    return known[list(_STAMP)].to_numpy(np.int64)


def _cache_path(root: str) -> pathlib.Path:
    """A file in DLEXP_CACHE or in the user's cache folder (https://specifications.freedesktop.org/basedir-spec)."""
    folder = os.environ.get("DLEXP_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dlexp"
    )
    name = hashlib.blake2b(f"{_FORMAT} {root}".encode(), digest_size=16).hexdigest()
    return pathlib.Path(folder, "files", f"{name}.parquet")


def _no_facts() -> pd.DataFrame:
    return pd.DataFrame([(0,) * len(_STAMP) + ("", *UNKNOWN, "")], columns=[*_STAMP, *FACTS]).iloc[:0].astype(_TYPES)


def _read_cache(cache: pathlib.Path) -> pd.DataFrame:
    """Reads the cached facts, by file; none if the cache cannot be read."""
    try:
        known = pd.read_parquet(cache, use_threads=False)  # faster for a small file, and takes less memory
    except (OSError, ValueError):  # missing or damaged: every file is read again
        return _no_facts()
    return known if {*_STAMP, *FACTS} <= set(known.columns) else _no_facts()


def _write_cache(cache: pathlib.Path, facts: pd.DataFrame) -> None:
    try:
        with atomic_file(cache) as temporary:
            facts.to_parquet(temporary)
    except OSError as err:
        _log.info("%s cannot be written (%s): all images are read again the next time", cache, err)
