"""Finds the image files that command-line arguments name: files, folders and patterns, expanded one by one."""

import codecs
import fnmatch
import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.images.other_files import is_file, kind_of_other, printable_name
from dlexp.errors import DataError

LeftOutCounter = Counter[tuple[str, str]]  # by kind of `left_out.KINDS`, and by ending or, of a link, by path
_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 16
_ANY_DEPTH = "**"


def find_images(words: Iterable[str], *, left_out: LeftOutCounter | None = None) -> Iterator[str]:
    """Yields the paths of the images that words name, in their order; holds only the names of one folder at a time.

    The rules:
        1. A word that is an existing path is that path, even if it contains the characters of a pattern.
        2. A folder stands for the images in it and below it, sorted by name, the files of a folder before its
           sub-folders. Files with the endings of `IMAGE_ENDINGS`, in any case, are images. All other files are left
           out, and so are names that begin with a dot. Links to files are followed, links to folders are not.
        3. Any other word is a pattern, as in a shell: `*`, `?`, `[...]` within a name, `**` for any depth. Each match
           is treated like an existing path. A pattern such as `**/*` matches only files, as their folders would give
           the same files again.
        4. A file that is named twice is yielded twice.

    Args:
        words: the arguments of a command line.
        left_out: counts what lies in the folders but is left out; if None, a warning at the end shows the counts.

    Example:
        >>> list(find_images(["photos", "more/**/*.png"]))
    """
    counts = LeftOutCounter() if left_out is None else left_out
    for word in words:
        for path in [word] if os.path.lexists(word) else _match_pattern(word):
            yield from images_at(path, counts)
    if counts and left_out is None:
        from dlexp.datasets.sources.left_out import group_left_out, left_out_text

        _log.warning("left out: %s", left_out_text(group_left_out(counts)))


def check_words(words: Iterable[str]) -> None:
    """Raises DataError for the first word that names nothing."""
    for word in words:
        if os.path.lexists(word):
            continue
        if not glob.has_magic(word):
            raise DataError(f"there is no file or folder {word!r} in {os.getcwd()!r}: give images, folders or patterns")
        if next(_match_pattern(word), None) is None:
            raise DataError(f"the pattern {word!r} matches nothing in {os.getcwd()!r}: give another pattern")


def images_at(path: str, left_out: LeftOutCounter) -> Iterator[str]:
    """Yields the path itself; for a folder, the images in it, and counts what is left out.

    A folder that cannot be listed is yielded itself.
    """
    if not os.path.isdir(path):
        yield path
        return
    try:
        images, folders = _list_folder(path, left_out)
    except OSError:
        yield path
        return
    for name in images:
        yield os.path.join(path, name)
    for name in folders:
        yield from images_at(os.path.join(path, name), left_out)


def read_list(file: BinaryIO) -> Iterator[str]:
    """Yields the paths of a list: separated by NUL (`find -print0`) if its first 64 KiB hold one, else by newlines.

    Raises:
        DataError: it is UTF-16, in which every second byte may be NUL, and `/` would be a path.
    """
    rest = file.read(_BLOCK_BYTES).removeprefix(codecs.BOM_UTF8)
    if b"\n\0" in rest or b"\0\n" in rest:
        raise DataError("the list of images seems to be UTF-16: save it as UTF-8")
    separator = b"\0" if b"\0" in rest else b"\n"
    while block := file.read(_BLOCK_BYTES):
        *whole, rest = (rest + block).split(separator)
        yield from _as_paths(whole, separator)
    yield from _as_paths(rest.split(separator), separator)


def _as_paths(lines: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for line in lines:
        path = line.removesuffix(b"\r") if separator == b"\n" else line
        if path:
            yield os.fsdecode(path)


def _list_folder(folder: str, left_out: LeftOutCounter) -> tuple[list[str], list[str]]:
    """Returns the names of images (and links to images) and of sub-folders, both sorted; counts everything else."""
    images, folders = [], []
    with os.scandir(folder or os.curdir) as entries:
        for entry in entries:
            is_hidden = entry.name.startswith(".")
            if entry.is_dir(follow_symlinks=False) and not is_hidden:
                folders.append(entry.name)
            elif entry.name.lower().endswith(IMAGE_ENDINGS) and not is_hidden and _may_be_image(entry):
                images.append(entry.name)
            else:
                kind, ending = kind_of_other(entry)
                left_out[kind, printable_name(entry.path if kind == "folder_link" else ending)] += 1
    return sorted(images), sorted(folders)


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a file or a link to one; a broken link is reported when it is read."""
    return is_file(entry) or (entry.is_symlink() and not os.path.isdir(entry.path))


def _match_pattern(pattern: str) -> Iterator[str]:
    parts = [part for part in pattern.split("/") if part]
    files_only = _ANY_DEPTH in parts and parts[-1] != _ANY_DEPTH
    for path in _match_parts("/" if pattern.startswith("/") else "", parts):
        if not (files_only and os.path.isdir(path)):
            yield path


def _match_parts(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Yields paths below a folder that match the parts of a pattern; sorted within each folder, unlike glob.iglob."""
    if not parts or list(parts) == [_ANY_DEPTH]:
        yield folder or os.curdir
        return
    part, *rest = parts
    if part == _ANY_DEPTH:
        yield from _match_parts(folder, rest)
        for name in _sub_folders(folder):
            yield from _match_parts(os.path.join(folder, name), parts)
    elif not glob.has_magic(part):
        if os.path.lexists(os.path.join(folder, part)):
            yield from _match_parts(os.path.join(folder, part), rest)
    else:
        for name in _matching_names(folder, part):
            yield from _match_parts(os.path.join(folder, name), rest)


def _sub_folders(folder: str) -> list[str]:
    try:
        return _list_folder(folder, LeftOutCounter())[1]
    except OSError:  # like a shell, which skips folders that it cannot list
        return []


def _matching_names(folder: str, part: str) -> list[str]:
    try:
        names = fnmatch.filter(os.listdir(folder or os.curdir), part)
    except OSError:
        return []
    return sorted(name for name in names if part.startswith(".") or not name.startswith("."))
