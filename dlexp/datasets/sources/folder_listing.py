"""Lists a folder of images and everything in it that is no image, without opening a file."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.images.other_files import is_file, kind_of_other, printable_name
from dlexp.datasets.images.scan import check_file_name, check_link
from dlexp.errors import DataError


class Listing(NamedTuple):
    """What one folder holds.

    Attributes:
        inside: path of the folder relative to the root; "" or ending in "/".
        images: names of its images.
        folders: names of its sub-folders.
        others: its other files and its links to folders: name, kind of `left_out.KINDS`, and
            ending ("" if there is none to show).
    """

    inside: str
    images: list[str]
    folders: list[str]
    others: list[tuple[str, str, str]]


def list_folders(root: str, inside: str = "") -> Iterator[Listing]:
    """Yields a folder and all folders below it, sorted by name; links to folders are not followed.

    Args:
        root: absolute.
        inside: path of the folder relative to the root; "" or ending in "/".

    Raises:
        DataError: a folder cannot be listed, a link leaves the root, or the name of an image or a folder is not
            valid UTF-8.
    """
    listing = Listing(inside, [], [], [])
    try:
        with os.scandir(os.path.join(root, inside)) as entries:
            for entry in entries:
                _place(entry, root, listing)
    except OSError as err:
        raise DataError(
            f"folder {os.path.join(root, inside)!r} cannot be listed: {err.strerror}; give yourself access to it, or "
            "move it away"
        ) from err
    _check_names(root, inside, [*listing.images, *listing.folders])
    yield listing
    for name in sorted(listing.folders):
        yield from list_folders(root, f"{inside}{name}/")


def count_endings(others: Sequence[tuple[str, str, str]]) -> str:
    """Returns the endings of files with their counts, the most frequent first: `12 .tif, 1 .txt`."""
    counts = Counter(ending or "link" for _, kind, ending in others if kind != "hidden")
    return ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common())


def _place(entry: os.DirEntry[str], root: str, listing: Listing) -> None:
    name, is_hidden = entry.name, entry.name.startswith(".")
    if entry.is_symlink() and not is_hidden:
        check_link(root, entry.path)
    if entry.is_dir(follow_symlinks=False) and not is_hidden:
        listing.folders.append(name)
    elif name.lower().endswith(IMAGE_ENDINGS) and not is_hidden and is_file(entry):
        listing.images.append(name)
    else:
        kind, ending = kind_of_other(entry)
        listing.others.append((printable_name(name), kind, printable_name(ending)))


def _check_names(root: str, inside: str, names: Sequence[str]) -> None:
    try:
        "".join((inside, *names)).encode()
    except UnicodeEncodeError:
        for name in names:
            check_file_name(os.path.join(root, inside, name))
