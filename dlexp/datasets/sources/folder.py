"""Sources of image files in class sub-folders."""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.images.scan import check_file_name, check_link, scan_files
from dlexp.datasets.sources.encoded import FileSource
from dlexp.datasets.sources.source import Source
from dlexp.errors import DataError
from dlexp.registry import register_source

_SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@register_source("folder")
def open_folder(spec: str, *, data_dir: str, reread: bool = False) -> Source:
    """Image files in class sub-folders, or in class sub-folders of `train/`, `validation/` (or `val/`) and `test/`.

    The rule:
        1. Classes are the sub-folders that hold an image, sorted by name; an empty one is not a class.
        2. If `train` is a sub-folder and every other is named for a split, they are official splits of classes.
        3. A file belongs to the class folder it is in, however deep.
        4. Files with the endings of `IMAGE_ENDINGS`, in any case, are images; all others are ignored, as is what begins
           with a dot and what lies beside the class folders.
        5. A link to a file inside the folder is an image like any other; links to folders are not followed.

    Every byte is read once, or again with `reread`: for the digest, the size and a search for damage. All images are
    grey, or all are colour.

    Raises:
        DataError: the folder is not there, has fewer than two classes, or a link that leaves it.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not folder.is_dir():
        raise DataError(
            f"folder {str(folder)!r} is not there: give --dataset=folder:PATH a folder of class sub-folders"
        )
    root = os.path.realpath(folder)
    name = os.path.basename(root)
    files, splits, classes = _classify(sorted(_find_images(root, "")), _split_folders(root))
    facts = scan_files(root, files, reread=reread)
    sound = facts["damage"].array == ""
    class_names = sorted({class_name for class_name, is_sound in zip(classes, sound, strict=True) if is_sound})
    if len(class_names) < 2:
        damaged = f"; {(~sound).sum()} files cannot be read" if not sound.all() else ""
        raise DataError(
            f"folder {root!r} has {len(class_names)} class sub-folders with images{_list(class_names)}: at least "
            f"two are needed, holding files with the endings {' '.join(IMAGE_ENDINGS)}{damaged}"
        )
    labels = {class_name: label for label, class_name in enumerate(class_names)}
    return FileSource.of_files(
        name,
        root,
        files,
        facts,
        labels=[labels.get(class_name, -1) for class_name in classes],
        class_names=class_names,
        splits=splits,
    )


def _list(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _split_folders(root: str) -> Mapping[str, str]:
    """Splits by the names of their folders; none where there are no official splits."""
    with os.scandir(root) as entries:
        names = {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    return _SPLIT_FOLDERS if "train" in names and names <= set(_SPLIT_FOLDERS) else {}


def _classify(files: Sequence[str], split_folders: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """The files that are in a class folder, with their splits, "" if there are none, and their classes."""
    depth = 1 if split_folders else 0
    parts = [(file, file.split("/", depth + 1)) for file in files]
    inside = [(file, *names) for file, names in parts if len(names) > depth + 1]
    splits = [split_folders[found[1]] if split_folders else "" for found in inside]
    return [found[0] for found in inside], splits, [found[1 + depth] for found in inside]


def _find_images(root: str, inside: str) -> Iterator[str]:
    """Paths of the images in a folder and below it, relative to the root, in no order.

    Args:
        root: absolute.
        inside: path of the folder relative to the root; "" or ending in "/".
    """
    with os.scandir(os.path.join(root, inside)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                check_link(root, entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _find_images(root, f"{inside}{entry.name}/")
            elif entry.name.lower().endswith(IMAGE_ENDINGS) and entry.is_file():
                check_file_name(entry.path)
                yield inside + entry.name
