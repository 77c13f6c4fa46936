"""Image files that are read once, every byte: digest, size and damage; remembered, so that the next time is cheap.

What is remembered of a file holds as long as its path, its size, its times of change and its inode are the same.
"""

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
_FORMAT = 1  # of what is remembered; another one as soon as `inspect_image` says something else of a file
_SETTLED_NS = 2_000_000_000  # a file can change twice within a tick of its clock: a fresh one is not remembered


def scan_files(root: str, files: Sequence[str], *, reread: bool = False) -> pd.DataFrame:
    """Reads what image files say of themselves.

    Args:
        root: absolute path of a folder.
        files: paths below it, with `/` between their parts.
        reread: read every file, whatever is remembered of it.

    Returns:
        One row a file, in their order: `digest` (blake2b-128 of its bytes, 32 hex digits), `height` and `width` in
        pixels and `channels` (1 grey, 3 colour), which is what it is decoded to, `mode`, `orientation` and `decoder`
        as in `ImageHeader`, and `damage`: why it cannot be read, or "". A damaged file has sizes of 0.
    """
    started = time.time_ns()
    paths = [os.path.join(root, file) for file in files]
    stamps = np.array([_stamp(path) for path in paths], np.int64).reshape(-1, len(_STAMP))
    memory = _memory_path(root)
    known = _nothing() if reread else _recall(memory)
    places = known.index.get_indexer(pd.Index(list(files), dtype="str"))
    same = places >= 0
    same[same] = (known[list(_STAMP)].to_numpy(np.int64)[places[same]] == stamps[same]).all(axis=1)
    remembered = known[list(FACTS)].iloc[places[same]].set_index(np.flatnonzero(same))
    if same.all():
        return remembered
    changed = np.flatnonzero(~same)
    reading = track(read_files([paths[number] for number in changed]), len(changed), "reading images")
    scanned = pd.DataFrame(reading, columns=list(FACTS), index=changed)
    facts = pd.concat([remembered, scanned.astype(_TYPES)]).sort_index()
    lasting = (facts["digest"] != "") & (stamps[:, _STAMP.index("changed_ns")] < started - _SETTLED_NS)
    stamped = facts.assign(**dict(zip(_STAMP, stamps.T, strict=True))).set_index(pd.Index(list(files), dtype="str"))
    _remember(memory, stamped[lasting.to_numpy()])
    return facts


def is_inside(root: str, path: str) -> bool:
    """Whether a path, all links followed, is the folder `root`, which is absolute and without links, or below it."""
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def check_link(root: str, path: str) -> None:
    """Raises DataError if a link leaves the folder that it is in.

    Args:
        root: the folder, absolute and without links.
        path: of the link.
    """
    if not is_inside(root, path):
        raise DataError(f"{path!r} is a link that leaves the folder {root!r}: copy what it points to, or remove it")


def check_file_name(path: str) -> None:
    """Raises DataError unless a file's name is valid UTF-8, as TensorFlow and Parquet need it."""
    try:
        path.encode()
    except UnicodeEncodeError as err:
        raise DataError(f"file name {path!r} is not valid UTF-8: rename it") from err


def _stamp(path: str) -> tuple[int, int, int, int]:
    """What tells that a file was changed, its contents or its permissions; zeros if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _memory_path(root: str) -> pathlib.Path:
    """In the user's cache folder (https://specifications.freedesktop.org/basedir-spec), or that of DLEXP_CACHE."""
    cache = os.environ.get("DLEXP_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dlexp"
    )
    name = hashlib.blake2b(f"{_FORMAT} {root}".encode(), digest_size=16).hexdigest()
    return pathlib.Path(cache, "files", f"{name}.parquet")


def _nothing() -> pd.DataFrame:
    return pd.DataFrame([(0,) * len(_STAMP) + ("", *UNKNOWN, "")], columns=[*_STAMP, *FACTS]).iloc[:0].astype(_TYPES)


def _recall(memory: pathlib.Path) -> pd.DataFrame:
    """What is remembered, by file; nothing, where it cannot be read."""
    try:
        known = pd.read_parquet(memory)
    except (OSError, ValueError):  # not there, or damaged: then every file is read again
        return _nothing()
    return known if {*_STAMP, *FACTS} <= set(known.columns) else _nothing()


def _remember(memory: pathlib.Path, facts: pd.DataFrame) -> None:
    try:
        with atomic_file(memory) as temporary:
            facts.to_parquet(temporary)
    except OSError as err:
        _log.info("%s cannot be written (%s): all images are read again the next time", memory, err)
