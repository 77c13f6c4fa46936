"""Lists a folder of images and everything in it that is no image, without opening a file."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.images.scan import check_file_name, check_link
from dlexp.errors import DataError

_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_SIDECARS = (
    ".json .jsonl .txt .csv .tsv .xml .yaml .yml .toml .md .rst .html .htm .log .ini .db .aae .thm .xmp .lock "
    ".py .ipynb .sh .pdf .parquet"
)
# Formats of images, and of films, that people keep among their images; those that are read are in IMAGE_ENDINGS.
_PICTURES = (
    ".jpg .jpeg .jfif .jpe .png .apng .bmp .dib .gif .webp .tif .tiff .avif .avifs .heic .heif .hif .ico .icns "
    ".cur .ppm .pgm .pbm .pnm .pfm .jp2 .j2k .jpf .jpx .jxl .jxr .wdp .svg .svgz .eps .ps .ai .psd .psb .xcf .kra "
    ".tga .pcx .dds .exr .hdr .sgi .rgb .ras .xbm .xpm .dcm .dicom .nii .fits .fit .mha .nrrd .czi .nd2 .lsm .svs "
    ".ndpi .raw .dng .cr2 .cr3 .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .x3f .3fr .erf .kdc .mrw .mp4 "
    ".mov .avi .webm .mkv"
)
NO_ENDING = "without an ending"


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
        DataError: a folder cannot be listed, a link leaves the root, or the name of an image is not valid UTF-8.
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
    _check_names(root, inside, listing.images)
    yield listing
    for name in sorted(listing.folders):
        yield from list_folders(root, f"{inside}{name}/")


def count_endings(others: Sequence[tuple[str, str, str]]) -> str:
    """Returns the endings of files with their counts, the most frequent first: `12 .tif, 1 .txt`."""
    counts = Counter(ending or "link" for _, kind, ending in others if kind != "hidden")
    return ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common())


def is_system_file(name: str) -> bool:
    """Returns whether an operating system makes files of this name by itself."""
    return name.lower() in _SYSTEM_FILES


def _place(entry: os.DirEntry[str], root: str, listing: Listing) -> None:
    name, is_link = entry.name, entry.is_symlink()
    if name.startswith("."):
        listing.others.append((_printable(name), "hidden", ""))
        return
    if is_link:
        check_link(root, entry.path)
    if entry.is_dir(follow_symlinks=False):
        listing.folders.append(name)
    elif name.lower().endswith(IMAGE_ENDINGS) and entry.is_file():
        listing.images.append(name)
    else:
        ending = os.path.splitext(name)[1].lower() or NO_ENDING
        kind = _kind_of(entry, ending)
        listing.others.append((_printable(name), kind, "" if kind.endswith("_link") else _printable(ending)))


def _kind_of(entry: os.DirEntry[str], ending: str) -> str:
    if entry.is_dir():
        return "folder_link"
    if not os.path.exists(entry.path):
        return "broken_link"
    if is_system_file(entry.name) or ending in _SIDECARS.split():
        return "sidecar"
    return "picture" if ending in _PICTURES.split() else "other_ending"


def _check_names(root: str, inside: str, names: Sequence[str]) -> None:
    try:
        "".join((inside, *names)).encode()
    except UnicodeEncodeError:
        for name in names:
            check_file_name(os.path.join(root, inside, name))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
