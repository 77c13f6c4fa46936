"""Sources of image files in class sub-folders."""

import hashlib
import os
import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from dlexp.datasets.imagefile import ImageHeader, UnreadableImageError, inspect_image
from dlexp.datasets.source import FileSource, Source, build_manifest
from dlexp.errors import DataError
from dlexp.registry import register_source

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@register_source("folder")
def open_folder(spec: str, *, data_dir: str) -> Source:
    """Image files in class sub-folders, or in class sub-folders of `train/`, `validation/` (or `val/`) and `test/`.

    The rule:
        1. Classes are the sub-folders that hold an image, sorted by name; an empty one is not a class.
        2. If `train` is a sub-folder and every other is named for a split, they are official splits of classes.
        3. A file belongs to the class folder it is in, however deep.
        4. Files with the endings of `IMAGE_ENDINGS`, in any case, are images; all others are ignored, as is what begins
           with a dot and what lies beside the class folders.
        5. A link to a file inside the folder is an image like any other; links to folders are not followed.

    Every byte is read once: for the digest, the size and a search for damage. All images are grey, or all are colour.

    Raises:
        DataError: the folder is not there, has fewer than two classes, a damaged file, or a link that leaves it.
    """
    root = pathlib.Path(data_dir, spec)
    if not spec or not root.is_dir():
        raise DataError(f"folder {str(root)!r} is not there: give --dataset=folder:PATH a folder of class sub-folders")
    root = root.resolve()
    files = [(split, relative) for split, top in _split_tops(root) for relative in _find_images(root, top)]
    classes = [relative.parts[1 if split else 0] for split, relative in files]
    class_names = sorted(set(classes))
    if len(class_names) < 2:
        raise DataError(
            f"folder {str(root)!r} has {len(class_names)} class sub-folders with images{_list(class_names)}: at least "
            f"two are needed, holding files with the endings {' '.join(IMAGE_ENDINGS)}"
        )
    scans = _scan(root, [relative for _, relative in files])
    channels = max(header.channels for _, header in scans)
    manifest = build_manifest(
        root.name,
        labels=[class_names.index(name) for name in classes],
        digests=[digest for digest, _ in scans],
        shapes=[(header.height, header.width, channels) for _, header in scans],
        keys=[relative.as_posix() for _, relative in files],
        paths=[str(root / relative) for _, relative in files],
        splits=[split for split, _ in files],
    )
    return FileSource(root.name, class_names, manifest)


def _list(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _split_tops(root: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Pairs of split and the folder that holds its classes; split "" where there are no official splits."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if "train" in names and set(names) <= set(_SPLIT_FOLDERS):
        return [(_SPLIT_FOLDERS[name], root / name) for name in names]
    return [("", root)]


def _find_images(root: pathlib.Path, top: pathlib.Path) -> Iterator[pathlib.Path]:
    """Paths of the images below the class folders of `top`, relative to `root`, in sorted order."""
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            _check_inside(root, pathlib.Path(folder, name))
        if pathlib.Path(folder) == top:
            continue
        for name in sorted(names):
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith("."):
                path = pathlib.Path(folder, name)
                _check_inside(root, path)
                yield path.relative_to(root)


def _check_inside(root: pathlib.Path, path: pathlib.Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise DataError(
            f"{str(path)!r} is a link that leaves the folder {str(root)!r}: copy what it points to, or remove it"
        )
    try:
        path.name.encode()
    except UnicodeEncodeError as err:
        raise DataError(f"file name {path.name!r} in {str(path.parent)!r} is not valid UTF-8: rename it") from err


def _scan(root: pathlib.Path, files: list[pathlib.Path]) -> list[tuple[str, ImageHeader]]:
    """Digest and header of every file.

    Raises:
        DataError: some cannot be read; the message names the first and says how many there are.
    """
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda relative: _scan_file(root / relative), files))
    damaged = [(path, result) for path, result in zip(files, results, strict=True) if isinstance(result, Exception)]
    if damaged:
        path, reason = damaged[0]
        raise DataError(
            f"{len(damaged)} of {len(files)} images under {str(root)!r} cannot be read, the first is "
            f"{path.as_posix()!r}: {reason}; mend or remove {'it' if len(damaged) == 1 else 'them'}"
        )
    return [result for result in results if not isinstance(result, Exception)]


def _scan_file(path: pathlib.Path) -> tuple[str, ImageHeader] | Exception:
    try:
        data = path.read_bytes()
        return hashlib.blake2b(data, digest_size=16).hexdigest(), inspect_image(data)
    except (OSError, UnreadableImageError) as err:
        return err
