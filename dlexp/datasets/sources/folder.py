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
    """Opens image files in class sub-folders, or in class sub-folders of `train/`, `validation/` (`val/`) and `test/`.

    The rules:
        1. Classes are the sub-folders that hold an image, sorted by name; an empty sub-folder is not a class.
        2. If there is a sub-folder `train` and all other sub-folders are named after splits, these are the official
           splits, and their sub-folders are the classes.
        3. A file belongs to the class folder that it is in, at any depth.
        4. Files with the endings of `IMAGE_ENDINGS`, in any case, are images. All other files are ignored, and so are
           names that begin with a dot and files outside the class folders.
        5. A link to a file inside the folder is an image like any other; links to folders are not followed.

    Every byte is read the first time, and again with `reread`, to compute digests, read sizes and find damage. All
    images are grey, or all are in colour.

    Raises:
        DataError: the folder does not exist, has fewer than two classes, or contains a link that leaves it.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not folder.is_dir():
        raise DataError(f"there is no folder {str(folder)!r}: give --dataset=folder:PATH a folder of class sub-folders")
    root = os.path.realpath(folder)
    name = os.path.basename(root)
    files, splits, classes = _classify(sorted(_find_images(root, "")), _split_folders(root))
    facts = scan_files(root, files, reread=reread)
    intact = facts["damage"].array == ""
    class_names = sorted({class_name for class_name, is_intact in zip(classes, intact, strict=True) if is_intact})
    if len(class_names) < 2:
        damaged = f"; {(~intact).sum()} files cannot be read" if not intact.all() else ""
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
    """Returns the splits by the names of their folders; empty if there are no official splits."""
    with os.scandir(root) as entries:
        names = {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    return _SPLIT_FOLDERS if "train" in names and names <= set(_SPLIT_FOLDERS) else {}


def _classify(files: Sequence[str], split_folders: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Returns the files that are in a class folder, their splits ("" if there are none), and their classes."""
    depth = 1 if split_folders else 0
    parts = [(file, file.split("/", depth + 1)) for file in files]
    inside = [(file, *names) for file, names in parts if len(names) > depth + 1]
    splits = [split_folders[names[0]] if split_folders else "" for _, *names in inside]
    return [file for file, *_ in inside], splits, [names[depth] for _, *names in inside]


def _find_images(root: str, inside: str) -> Iterator[str]:
    """Yields the paths of the images in a folder and below it, relative to the root, in no particular order.

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
