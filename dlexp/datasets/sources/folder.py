"""Sources of image files in class sub-folders."""

import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.images.other_files import is_system_file
from dlexp.datasets.images.scan import scan_files
from dlexp.datasets.sources.encoded import FileSource
from dlexp.datasets.sources.folder_listing import Listing, count_endings, list_folders
from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import SPLIT_NAMES, Source
from dlexp.errors import DataError
from dlexp.registry import register_source

_HELD_OUT = re.compile("test|val|dev|hold", re.IGNORECASE)  # in the name of a folder, next to one with "train"


@register_source("folder")
def open_folder(spec: str, *, data_dir: str, reread: bool = False) -> Source:
    """Opens image files in class sub-folders, or in class sub-folders of `train/`, `validation/` (`val/`) and `test/`.

    The rules:
        1. Classes are the sub-folders that hold an image, sorted by name.
        2. If all sub-folders are named after splits (`train training validation val valid test testing`, in any case)
           and one is train, these are the official splits, and their sub-folders are the classes. If there are
           train and another split, further folders may hold files, but no images.
           Other names of splits (train and dev, Training Set and Test Set) are refused.
        3. A file belongs to the class folder that it is in, at any depth.
        4. Files with the endings of `IMAGE_ENDINGS`, in any case, are images. All other files are left out, and so are
           names that begin with a dot and files outside the class folders.
        5. A link to a file inside the folder is an image like any other; links to folders are not followed.
        6. What is left out is listed in `left_out` of the source, by kind. A training refuses a class folder without a
           readable image, unless the folder is empty, and a link in place of a class or split folder.

    Every byte is read the first time, and again with `reread`, to compute digests, read sizes and find damage. All
    images are grey, or all are in colour.

    Raises:
        DataError: the folder does not exist, has fewer than two classes, contains a link that leaves it, or has split
            folders and images in another folder.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not folder.is_dir():
        raise DataError(f"there is no folder {str(folder)!r}: give --dataset=folder:PATH a folder of class sub-folders")
    root = os.path.realpath(folder)
    tree = _Tree.of(list(list_folders(root)), root)
    facts = scan_files(root, tree.files, reread=reread)
    intact = (facts["damage"] == "").to_numpy()
    class_names = sorted({tree.classes[number] for number in np.unique(tree.class_of_file[intact])})
    left_out = left_out_table(tree.left_out(intact))
    if len(class_names) < 2:
        raise DataError(_too_few_classes(root, class_names, left_out, damaged=int((~intact).sum())))
    labels = np.array([class_names.index(name) if name in class_names else -1 for name in tree.classes])
    source = FileSource.of_files(
        os.path.basename(root),
        root,
        tree.files,
        facts,
        labels=labels[tree.class_of_file],
        class_names=class_names,
        splits=tree.splits,
    )
    source.left_out = left_out
    return source


@dataclass(frozen=True)
class _Tree:
    """The files of a folder, sorted, and what its layout makes of them.

    Attributes:
        listings: of all folders.
        split_folders: splits by the names of their folders; empty if there are no official splits.
        files: paths of the images in class folders, relative to the root.
        splits: of the files; "" if there are none.
        classes: names of class folders.
        class_of_file: `int64` `(len(files),)`, index in `classes`.
        folder_of_file: `int64` `(len(files),)`, index in `class_folders`.
        class_folders: paths of all class folders relative to the root, by split and class, without images too.
    """

    listings: Sequence[Listing]
    split_folders: Mapping[str, str]
    files: list[str]
    splits: list[str]
    classes: list[str]
    class_of_file: np.ndarray
    folder_of_file: np.ndarray
    class_folders: list[str]

    @classmethod
    def of(cls, listings: Sequence[Listing], root: str) -> "_Tree":
        """Reads the layout. Raises DataError if images are in a folder that is no split."""
        split_folders = _split_folders(listings, root)
        inside = [listing for listing in listings if _class_folder(listing.inside, split_folders)]
        folders = [_class_folder(listing.inside, split_folders) for listing in inside]
        class_folders = sorted(set(folders))
        classes = sorted({folder.rpartition("/")[2] for folder in folders})
        files = [listing.inside + name for listing in inside for name in listing.images]
        order = sorted(range(len(files)), key=files.__getitem__)
        places = pd.Index(class_folders).get_indexer(pd.Index(folders))
        folder_of_file = np.repeat(places, [len(listing.images) for listing in inside])[order]
        class_of_folder = np.array([classes.index(folder.rpartition("/")[2]) for folder in class_folders], np.int64)
        split_of_folder = [split_folders.get(folder.partition("/")[0], "") for folder in class_folders]
        return cls(
            listings=listings,
            split_folders=split_folders,
            files=[files[number] for number in order],
            splits=[split_of_folder[number] for number in folder_of_file.tolist()],
            classes=classes,
            class_of_file=class_of_folder[folder_of_file],
            folder_of_file=folder_of_file,
            class_folders=class_folders,
        )

    def left_out(self, intact: np.ndarray) -> Iterator[tuple[str, str, str]]:
        """Yields key, kind and detail of everything that is no example, except for damaged images.

        Args:
            intact: `bool` `(len(files),)`, which files can be read.
        """
        top_depth = 2 if self.split_folders else 1
        for listing in self.listings:
            is_inside = bool(_class_folder(listing.inside, self.split_folders))
            for name, kind, ending in listing.others:
                key = listing.inside + name
                if kind == "folder_link" and key.count("/") < top_depth:
                    yield key, "class_link", ""
                elif is_inside or kind in ("hidden", "folder_link", "broken_link"):
                    yield key, kind, ending
                else:
                    yield key, "outside_image" if kind == "picture" else "outside", ending
            if not is_inside:
                yield from ((listing.inside + name, "outside_image", "") for name in listing.images)
        yield from self._without_images(intact)

    def _without_images(self, intact: np.ndarray) -> Iterator[tuple[str, str, str]]:
        with_images = {self.class_folders[number] for number in np.unique(self.folder_of_file[intact])}
        damaged = Counter(self.folder_of_file[~intact].tolist())
        files: dict[str, list[tuple[str, str, str]]] = {folder: [] for folder in self.class_folders}
        for listing in self.listings:
            if folder := _class_folder(listing.inside, self.split_folders):
                files[folder] += listing.others
        for number, folder in enumerate(self.class_folders):
            if folder in with_images:
                continue
            others = [other for other in files[folder] if other[1] != "hidden" and not is_system_file(other[0])]
            counts = [f"{damaged[number]:,} damaged"] if number in damaged else []
            counts += [count_endings(others)] if others else []
            yield folder, "imageless_class" if counts else "empty_folder", ", ".join(counts)
        for name in self.split_folders:
            if not any(folder.startswith(f"{name}/") for folder in self.class_folders):
                yield name, "empty_folder", ""


def _class_folder(inside: str, split_folders: Mapping[str, str]) -> str:
    """Returns the path of the class folder that a folder is or is in; "" if it is in none."""
    parts = inside.split("/")[:-1]
    if not split_folders:
        return parts[0] if parts else ""
    return "/".join(parts[:2]) if len(parts) > 1 and parts[0] in split_folders else ""


def _split_folders(listings: Sequence[Listing], root: str) -> Mapping[str, str]:
    """Returns the splits by the names of their folders; empty if there are no official splits."""
    names = listings[0].folders
    splits = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    others = [name for name in names if name not in splits]
    if "train" not in splits.values() or (others and len(set(splits.values())) == 1):
        _refuse_misnamed_splits(listings, root)
        return {}
    with_images = {listing.inside.partition("/")[0] for listing in listings[1:] if listing.images}
    mixed = sorted(with_images.intersection(others))
    if mixed:
        raise DataError(
            f"folder {root!r} has the split folders {', '.join(sorted(splits))} and, with images too, {_name(mixed)}: "
            "name all sub-folders after splits, or move what is no split away"
        )
    return splits


def _refuse_misnamed_splits(listings: Sequence[Listing], root: str) -> None:
    """Raises DataError if a folder such as train_images has the class folders of another one, such as dev."""
    inner: dict[str, set[str]] = {name: set() for name in listings[0].folders}
    for listing in listings[1:]:
        top, *below = listing.inside.split("/")[:-1]
        if listing.images:
            inner[top].add(below[0] if below else "")
    # A folder that holds images itself is a class, which may be called train, too.
    split_like = {name: folders for name, folders in inner.items() if folders and "" not in folders}
    for train in (name for name in split_like if "train" in name.lower()):
        others = [name for name in split_like if name != train and _HELD_OUT.search(name)]
        alike = [name for name in others if len(split_like[name] & split_like[train]) > 1]
        if alike:
            raise DataError(
                f"folder {root!r} holds class folders of the same names in {train!r} and {_name(alike)}: name the "
                "folders of splits train, validation and test, or give one of them"
            )


def _name(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _too_few_classes(root: str, class_names: Sequence[str], left_out: pd.DataFrame, *, damaged: int) -> str:
    found = f" ({', '.join(class_names)})" if class_names else ""
    unreadable = f"; {damaged} files cannot be read" if damaged else ""
    imageless = left_out[left_out["kind"] == "imageless_class"]
    without = [f"{key} ({detail})" for key, detail in zip(imageless["key"], imageless["detail"], strict=True)]
    lacking = f"; without a readable image: {_name(without)}" if without else ""
    return (
        f"folder {root!r} has {len(class_names)} class sub-folders with images{found}: at least two are needed, "
        f"holding files with the endings {' '.join(IMAGE_ENDINGS)}{unreadable}{lacking}"
    )
