"""Sources of image files that a CSV or Parquet table lists."""

import csv
import logging
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dlexp.datasets.images.scan import is_inside, scan_files
from dlexp.datasets.sources.encoded import FileSource
from dlexp.datasets.sources.source import SPLIT_NAMES, Source
from dlexp.errors import DataError
from dlexp.registry import register_source

_log = logging.getLogger(__name__)
MAX_TABLE_BYTES = 2**29  # about five million rows; a larger file is probably not a table of images
_MOST_SHOWN = 40  # characters of a column's name, and columns, in a message
_OWN_COLUMNS = ("path", "label", "split", "group", "source")
_TAKEN_COLUMNS = (
    "row",
    "key",
    "digest",
    "height",
    "width",
    "channels",
    "mode",
    "orientation",
    "decoder",
    "pages",
    "peak",
    "bits",
)
# Paths that may leave the folder: absolute, of Windows, with an empty part, "." or "..", or with a control character.
_FOREIGN_PATH = r"^/|^[A-Za-z]:|\\|//|/$|(?:^|/)\.\.?(?:/|$)|[\x00-\x1f]"
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_WHOLE_NUMBER, _DIGITS = r"0|[1-9][0-9]*", r"[0-9]+"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


@dataclass(frozen=True)
class ImageTable:
    """The contents of a table, checked.

    Attributes:
        path: path of the table.
        rows: the columns label (`int64`), path, split, group and source (`str`), and all further columns.
        class_names: name of class 0, 1, ...
    """

    path: pathlib.Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]


@register_source("table")
def open_table(spec: str, *, data_dir: str, reread: bool = False) -> Source:
    """Opens image files that a `.csv` or `.parquet` table lists, one per row.

    The columns, in any order; those marked with ? are optional:
        path: path of the file, relative to the folder of the table, with `/` between its parts and no `..`.
        label: name of its class, or class numbers from 0 to C-1, all of which occur. Classes are sorted by name,
            numbers by their value.
        split?: train, validation (or val, valid) or test, for all rows or for none.
        group?: any text; examples with the same text must stay in one split.
        source?: name of the origin of the example, for metrics by source; by default the name of the table.
    Further columns are kept in the manifest as they are, for `--group_column=patient` and the like. One that seems to
    hold splits under another name is warned of. CSV is UTF-8 with
    commas; all its cells are read as text: NA, null and 01 are ordinary class names.

    Raises:
        DataError: the table or one of its rows is wrong; the message has the line (CSV) or row (Parquet).
    """
    path = pathlib.Path(data_dir, spec)
    if not spec or not path.is_file():
        raise DataError(f"there is no table {str(path)!r}: give --dataset=table:PATH a .csv or .parquet file")
    table = read_table(path)
    root, files = os.path.realpath(path.parent), table.rows["path"].tolist()
    _check_files(table, root, files)
    facts = scan_files(root, files, reread=reread)
    source = FileSource.of_files(
        path.stem,
        root,
        files,
        facts,
        labels=table.rows["label"].tolist(),
        class_names=table.class_names,
        splits=table.rows["split"].tolist(),
    )
    further = table.rows.drop(columns=["path", "label", "split"])[(facts["damage"] == "").to_numpy()]
    source.manifest = source.manifest.assign(**{str(name): further[name].array for name in further})
    return source


def read_table(path: pathlib.Path) -> ImageTable:
    """Reads and checks a table, but not the files that it lists; a million rows in seconds.

    Raises:
        DataError: as for `open_table`.
    """
    if path.suffix.lower() not in _READERS:
        raise DataError(f"table {str(path)!r} is neither .csv nor .parquet: give one of these")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(
            f"table {str(path)!r} is {path.stat().st_size:,} bytes: at most {MAX_TABLE_BYTES:,} are read; split it, "
            "and join the parts with +"
        )
    try:
        rows = _READERS[path.suffix.lower()](path)
    except (pa.ArrowException, csv.Error, UnicodeDecodeError, OSError) as err:
        raise DataError(f"table {str(path)!r} cannot be read: {err}; write it again, as UTF-8") from err
    _check_columns(path, rows.columns.tolist())
    if rows.empty:
        raise DataError(f"table {str(path)!r} has no rows: list at least one image of each of two classes")
    rows = rows.assign(path=_check_paths(path, _as_text(path, rows["path"])), split=_check_splits(path, rows))
    texts = {name: _as_text(path, rows[name]) if name in rows else "" for name in ("group", "source")}
    rows = rows.assign(**texts)
    rows["source"] = rows["source"].mask(rows["source"] == "", path.stem).astype("str")
    labels, class_names = _number_labels(path, rows["label"])
    _warn_of_other_splits(path, rows)
    return ImageTable(path, rows.assign(label=labels), class_names)


def _read_csv(path: pathlib.Path) -> pd.DataFrame:
    with path.open("rb") as file:
        if sum(chunk.count(b'"') for chunk in iter(lambda: file.read(2**20), b"")) % 2:
            raise DataError(f"table {str(path)!r} has a quote that is not closed: write a quote in text as two")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        names = next((names for names in csv.reader(lines) if names), [])
    if names:
        _check_columns(path, names)  # first, as rows with other separators look ragged
    # Every column is read as text: with guessed types, 01 would lose its zero, and NA would be missing.
    as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    ragged: list[Any] = []

    def collect(row: Any) -> str:
        ragged.append(row)
        return "skip"

    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=collect)
    reading = pyarrow.csv.ReadOptions(use_threads=False)  # with threads, ragged rows have no numbers
    table = pyarrow.csv.read_csv(path, read_options=reading, parse_options=parsing, convert_options=as_text)
    if ragged:
        raise DataError(
            f"{_place(path, ragged[0].number - 2)} of {str(path)!r} has {ragged[0].actual_columns} cells, where the "
            f"header has {ragged[0].expected_columns}: put text that holds a comma in quotes"
        )
    return table.to_pandas()


def _read_parquet(path: pathlib.Path) -> pd.DataFrame:
    with pyarrow.parquet.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if size > MAX_TABLE_BYTES:
            raise DataError(f"table {str(path)!r} is {size:,} bytes unpacked: at most {MAX_TABLE_BYTES:,} are read")
        return file.read().to_pandas(ignore_metadata=True)


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def _check_columns(path: pathlib.Path, names: list[str]) -> None:
    listed = ", ".join(repr(name[:_MOST_SHOWN]) for name in names[:_MOST_SHOWN])
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        raise DataError(
            f"table {str(path)!r} has the columns {listed}: {' and '.join(missing)} must be among them"
            f"{_spelling_hint(names, missing)}"
        )
    for own in _OWN_COLUMNS:
        alike = [name for name in names if name.strip().lower() == own]
        if alike and own not in names:
            raise DataError(
                f"table {str(path)!r} has a column {alike[0]!r} but none {own!r}: rename it to {own!r}, or to a name "
                "of another meaning"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"table {str(path)!r} has the column {twice[0]!r} twice: remove or rename one")
    taken = [name for name in names if name in _TAKEN_COLUMNS]
    if taken:
        raise DataError(f"table {str(path)!r} has a column {taken[0]!r}, a name that dlexp uses itself: rename it")


def _spelling_hint(names: list[str], missing: list[str]) -> str:
    """Returns what is wrong if columns are only spelled otherwise or separated by no comma; "" if neither is so."""
    for separator, shown in _OTHER_SEPARATORS.items():
        if any(separator in name for name in names):
            return f"; columns seem to be separated by {shown}: write the table with commas"
    alike = {name: [given for given in names if given.strip().lower() == name] for name in missing}
    renamed = [f"{given[0]!r} to {name!r}" for name, given in alike.items() if given]
    return f"; rename {' and '.join(renamed)}" if renamed else ""


def _as_text(path: pathlib.Path, column: pd.Series) -> pd.Series:
    """Converts a column to `str`; missing values become ""."""
    if isinstance(column.dtype, pd.StringDtype) or pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("str").fillna("")
    values = column.dropna()
    if isinstance(column.dtype, pd.CategoricalDtype) or all(isinstance(value, str | bytes) for value in values):
        return column.astype("object").fillna("").astype("str")
    raise DataError(f"column {column.name!r} of table {str(path)!r} holds {column.dtype}: it must hold text")


def _check_paths(path: pathlib.Path, files: pd.Series) -> pd.Series:
    files = files.str.replace(r"^(?:\./)+", "", regex=True)
    _refuse(path, files == "", files, "has no path: name an image file")
    _refuse(
        path,
        files.str.contains(_FOREIGN_PATH, regex=True),
        files,
        "has the path {!r}, which is not below the folder of the table: write it relative to there, with / and no ..",
    )
    _refuse(path, files.duplicated(), files, "has the path {!r} for the second time: list each file once")
    return files


def _check_splits(path: pathlib.Path, rows: pd.DataFrame) -> pd.Series:
    if "split" not in rows:
        return pd.Series("", index=rows.index, dtype="str")
    given = _as_text(path, rows["split"])
    splits = given.str.lower().map({"": "", **SPLIT_NAMES})
    _refuse(path, splits.isna(), given, "has the split {!r}: write train, validation or test")
    if (splits != "").any():
        _refuse(path, splits == "", given, "has no split, where others have one: give all rows one, or none")
    return splits.astype("str")


def _warn_of_other_splits(path: pathlib.Path, rows: pd.DataFrame) -> None:
    """Warns of a column such as `subset` whose values are names of splits, if there is no column of splits."""
    if (rows["split"] != "").any():
        return
    for name in rows.columns.difference(list(_OWN_COLUMNS)):
        values = {str(value).strip().lower() for value in rows[name].unique()}
        if len(values) > 1 and values <= SPLIT_NAMES.keys():
            _log.warning(
                "table %r has splits in its column %r, which are not used: rename it to 'split' to keep them",
                str(path), name,
            )  # fmt: skip


def _number_labels(path: pathlib.Path, column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the class number of each row, and the names of the classes."""
    if not pd.api.types.is_float_dtype(column.dtype):
        labels = _as_text(path, column)
    else:  # fractions, or whole numbers with missing values in Parquet
        labels = column.astype("object").map(str).mask(column.isna(), "").astype("str")
    _refuse(path, labels.str.strip() == "", labels, "has no label: write the name of its class")
    spaced = (labels != labels.str.strip()) | labels.str.contains(r"[\x00-\x1f]", regex=True)
    _refuse(path, spaced, labels, "has the label {!r}: write it on one line, without spaces around it")
    kinds = pd.Series(labels.unique(), dtype="str")
    if kinds.str.fullmatch(_NUMBER).all() and not kinds.str.fullmatch(_DIGITS).all():
        _refuse(
            path,
            ~labels.str.fullmatch(_WHOLE_NUMBER),
            labels,
            "has the label {!r}: numbers must be whole, from 0 on; write class names instead",
        )
    are_numbers = kinds.str.fullmatch(_WHOLE_NUMBER).all()
    class_names = _count_classes(path, set(kinds)) if are_numbers else tuple(sorted(kinds))
    return pd.Index(class_names).get_indexer(pd.Index(labels)).astype(np.int64), class_names


def _count_classes(path: pathlib.Path, numbers: set[str]) -> tuple[str, ...]:
    wanted = tuple(map(str, range(len(numbers))))
    if numbers != set(wanted):
        # Sorted by length first, which is the order of the numbers, even of very large ones.
        ordered = sorted(numbers, key=lambda number: (len(number), number))
        raise DataError(
            f"labels of table {str(path)!r} are {len(numbers)} different numbers from {ordered[0]:.20} to "
            f"{ordered[-1]:.20}: class numbers must be 0 to {len(numbers) - 1}, all of them; write class names instead"
        )
    return wanted


def _check_files(table: ImageTable, root: str, files: list[str]) -> None:
    """Checks that every file exists, and that no link in its path leaves the root."""
    folders = {file.rpartition("/")[0] for file in files}
    outside = {folder for folder in folders if not is_inside(root, os.path.join(root, folder))}
    paths = [os.path.join(root, file) for file in files]
    leaves = np.array(
        [
            file.rpartition("/")[0] in outside or (os.path.islink(path) and not is_inside(root, path))
            for file, path in zip(files, paths, strict=True)
        ]
    )
    column = table.rows["path"]
    _refuse(table.path, leaves, column, "has the path {!r}, where a link leaves the folder: copy the file into it")
    missing = np.array([not os.path.isfile(path) for path in paths])
    _refuse(
        table.path, missing, column, "has the path {!r}, but there is no such file: paths start at the table's folder"
    )


def _refuse(path: pathlib.Path, bad: Any, values: pd.Series, problem: str) -> None:
    """Raises DataError for the first bad row, if there is one.

    Args:
        path: path of the table.
        bad: `bool`, one per row.
        values: the values for `{!r}` in the problem, one per row.
        problem: the message after the place.
    """
    numbers = np.flatnonzero(np.asarray(bad, dtype=bool))
    if not len(numbers):
        return
    more = f" ({len(numbers):,} rows have this fault)" if len(numbers) > 1 else ""
    value = values.iloc[numbers[0]]
    raise DataError(f"{_place(path, int(numbers[0]))} of {str(path)!r} {problem.format(value[:200])}{more}")


def _place(path: pathlib.Path, number: int) -> str:
    """Returns where to find a row: its line in an editor, or its number in pandas."""
    if path.suffix.lower() != ".csv":
        return f"row {number} (the first is 0)"
    lines = _first_lines(path)
    return f"line {next(line for position, line in enumerate(lines) if position == number + 1)}"  # 0 is the header


def _first_lines(path: pathlib.Path) -> Iterator[int]:
    """Yields the number of the line, from 1, where each record of a CSV begins; quoted text may hold line ends."""
    is_quoted = False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not is_quoted and line != "\n":
                yield number
            is_quoted ^= line.count('"') % 2 == 1
