"""The kinds of files that are no image that dlexp reads, by their names; no file is opened."""

import os

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


def kind_of_other(entry: os.DirEntry[str]) -> tuple[str, str]:
    """Returns the kind (of `left_out.KINDS`) and the ending of an entry that is neither a folder nor a readable image.

    The ending is "" for a hidden file and for a link.
    """
    if entry.name.startswith("."):
        return "hidden", ""
    if not os.path.exists(entry.path):  # first, as is_dir raises OSError for links in a circle
        return "broken_link", ""
    if entry.is_dir():
        return "folder_link", ""
    ending = os.path.splitext(entry.name)[1].lower() or NO_ENDING
    if not is_file(entry):
        return "no_file", ending
    if is_system_file(entry.name) or ending in _SIDECARS.split():
        return "sidecar", ending
    return "picture" if ending in _PICTURES.split() else "other_ending", ending


def is_file(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a file or a link to one; False for links in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_system_file(name: str) -> bool:
    """Returns whether an operating system makes files of this name by itself."""
    return name.lower() in _SYSTEM_FILES


def printable_name(name: str) -> str:
    """Returns a name in which bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
