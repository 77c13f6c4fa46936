"""What a source leaves out although it lies there: files, folders, links and splits that give no example, by kind."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from dlexp.datasets.sources.source import Source


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOutKind:
    """One kind of what is left out.

    Attributes:
        severity: "error" if examples that a person wanted are missing, "warning" if they may be, else "note".
        one: name of one of the kind.
        many: name of several.
        advice: what to do about it; "" if nothing.
        counted_by: "ending" or "name" if counts of it show these; "" if they show a total only.
    """

    severity: str
    one: str
    many: str
    advice: str
    counted_by: str = ""


_CONVERT = "convert what is an image to PNG or JPEG, or move it out of the folder"
KINDS: Mapping[str, LeftOutKind] = {
    "class_link": LeftOutKind(
        "error",
        "link in place of a class or split folder",
        "links in place of class or split folders",
        "links to folders are not followed: copy the folder, or remove the link",
        "name",
    ),
    "imageless_class": LeftOutKind(
        "error",
        "class folder without a readable image",
        "class folders without a readable image",
        "give it images that can be read, such as PNG or JPEG, or move the folder away",
        "name",
    ),
    "broken_link": LeftOutKind("error", "broken link", "broken links", "mend or remove it"),
    "picture": LeftOutKind(
        "error", "image in a format that is not read", "images in a format that is not read", _CONVERT, "ending"
    ),
    "split": LeftOutKind(
        "warning",
        "split with another name or without labels",
        "splits with other names or without labels",
        "name splits train, validation and test",
        "name",
    ),
    "array": LeftOutKind(
        "warning", "array that is not used", "arrays that are not used", "rename or remove it", "name"
    ),
    "folder_link": LeftOutKind(
        "warning", "link to a folder", "links to folders", "copy the folder, as links are skipped", "name"
    ),
    "empty_folder": LeftOutKind(
        "warning", "empty class or split folder", "empty class or split folders", "fill or remove it", "name"
    ),
    "outside_image": LeftOutKind(
        "warning", "image outside the class folders", "images outside the class folders", "move it into a class folder"
    ),
    "unreadable": LeftOutKind(
        "warning", "image that could not be read", "images that could not be read", "repair it, and pack again"
    ),
    "no_file": LeftOutKind(
        "warning", "pipe, socket or device", "pipes, sockets or devices", "move it out of the folder"
    ),
    "other_ending": LeftOutKind("warning", "file with another ending", "files with other endings", _CONVERT, "ending"),
    "outside": LeftOutKind("note", "file outside the class folders", "files outside the class folders", ""),
    "sidecar": LeftOutKind("note", "file that accompanies images", "files that accompany images", "", "ending"),
    "hidden": LeftOutKind("note", "hidden file or folder", "hidden files or folders", ""),
}
_COLUMNS = ("key", "kind", "detail")
_MOST_DETAILS = 6


def left_out_table(rows: Iterable[tuple[str, str, str]] = ()) -> pd.DataFrame:
    """Makes the table `left_out` of a source.

    Args:
        rows: for each thing that is left out its key, its kind (of `KINDS`), and a detail such as the ending of a file
            or, of a folder, the counts of its files; "" if there is none.
    """
    ordered = sorted(rows)
    return pd.DataFrame(ordered, columns=list(_COLUMNS), dtype="str")


def left_out_of(source: "Source") -> pd.DataFrame:
    """Returns what a source leaves out: key, kind, detail. A plug-in may leave the table out."""
    return getattr(source, "left_out", left_out_table())


def count_left_out(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Counts what is left out by kind, the gravest first, and within a kind by ending, by name, or by "" in total."""
    rows = zip(table["kind"], table["key"], table["detail"], strict=True)
    return group_left_out(
        Counter((kind, key if KINDS[kind].counted_by == "name" else detail) for kind, key, detail in rows)
    )


def group_left_out(counter: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Arranges the counts that `find_images` makes, by kind and detail, as `count_left_out` does."""
    counts: dict[str, dict[str, int]] = {}
    for kind, what in KINDS.items():
        details = Counter[str]()
        for (of_kind, detail), count in counter.items():
            if of_kind == kind:
                details[detail if what.counted_by else ""] += count
        if details:
            counts[kind] = dict(details.most_common())
    return counts


def left_out_text(counts: Mapping[str, Mapping[str, int]], *, severities: Iterable[str] = ()) -> str:
    """Returns what `count_left_out` counted, in words; "" if there is nothing.

    Args:
        counts: by kind and detail.
        severities: the ones to name; by default all.

    Example:
        >>> left_out_text({"other_ending": {".xyz": 12}, "hidden": {"": 2}})
        '12 files with other endings (12 .xyz), 2 hidden files or folders'
    """
    wanted = set(severities) or {kind.severity for kind in KINDS.values()}
    return ", ".join(_kind_text(kind, details) for kind, details in counts.items() if KINDS[kind].severity in wanted)


def warn_of_left_out(source: "Source") -> None:
    """Warns in one line of files, links and splits that give no example though a person may want them to."""
    counts = count_left_out(left_out_of(source))
    if text := left_out_text(counts, severities=("error", "warning")):
        _log.warning("%s leaves out %s; dlexp data check lists all", source.name, text)


def _kind_text(kind: str, details: Mapping[str, int]) -> str:
    total = sum(details.values())
    text = f"{total:,} {KINDS[kind].one if total == 1 else KINDS[kind].many}"
    if not KINDS[kind].counted_by:
        return text
    is_name = KINDS[kind].counted_by == "name"
    shown = [name if is_name else f"{count:,} {name}" for name, count in details.items()]
    more = f", and {len(shown) - _MOST_DETAILS:,} more" if len(shown) > _MOST_DETAILS else ""
    return f"{text} ({', '.join(shown[:_MOST_DETAILS])}{more})"
