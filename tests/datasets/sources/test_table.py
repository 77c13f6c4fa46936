"""Tables of images: what they may say, and rows that are refused by their line."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.sources.table import read_table
from dlexp.errors import DataError
from tests.support.image_folders import write_digits_folder

FILES = [f"images/{number}.png" for number in range(30)]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with 30 images below images/, but no table."""
    written = write_digits_folder(tmp_path / "classes", 30)
    (tmp_path / "images").mkdir()
    for number, path in enumerate(sorted(written.rglob("*.png"), key=lambda path: path.name)):
        path.rename(tmp_path / "images" / f"{number}.png")
    return tmp_path


def write_csv(folder: pathlib.Path, rows: Mapping[str, Any]) -> pathlib.Path:
    path = folder / "photos.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def open_table(path: pathlib.Path, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"table:{path}", **({"batch_size": 4} | settings)))


def text_table(folder: pathlib.Path, text: str, encoding: str = "utf-8") -> pathlib.Path:
    (folder / "photos.csv").write_bytes(text.encode(encoding))
    return folder / "photos.csv"


# What a table may say.


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_lists_images_labels_splits_groups_and_sources(folder: pathlib.Path, ending: str) -> None:
    rows = pd.DataFrame(
        {
            "patient": [number // 3 for number in range(30)],
            "label": ["odd" if number % 2 else "even" for number in range(30)],
            "path": FILES,
            "split": ["train"] * 20 + ["val"] * 4 + ["test"] * 6,
            "group": [f"g{number // 2}" for number in range(30)],
            "source": ["north"] * 15 + [""] * 15,
        }
    )
    path = folder / f"photos{ending}"
    rows.to_csv(path, index=False) if ending == ".csv" else rows.to_parquet(path)
    dataset = open_table(path)
    manifest = dataset.manifest
    assert (dataset.name, dataset.class_names, dataset.image_shape) == ("photos", ("even", "odd"), (8, 8, 1))
    assert dataset.counts().sum().tolist() == [20, 4, 6]
    assert manifest["key"].tolist() == FILES
    assert manifest["path"].iloc[7] == str(folder / "images" / "7.png")
    assert manifest["source"].value_counts().to_dict() == {"north": 15, "photos": 15}
    assert manifest["group"].iloc[[0, 29]].tolist() == ["g0", "g14"]
    assert manifest["patient"].astype(int).tolist() == rows["patient"].tolist()


def test_a_further_column_can_group(folder: pathlib.Path) -> None:
    rows = {"path": FILES, "label": ["a", "b"] * 15, "patient": [f"p{number // 3}" for number in range(30)]}
    manifest = open_table(write_csv(folder, rows), split_method="group", group_column="patient").manifest
    assert manifest.groupby("patient")["split"].nunique().max() == 1


def test_class_numbers_are_named_by_themselves_in_their_order(folder: pathlib.Path) -> None:
    table = read_table(write_csv(folder, {"path": FILES[:12], "label": range(12)}))
    assert table.class_names == tuple(map(str, range(12)))
    assert table.rows["label"].tolist() == list(range(12))


def test_labels_of_csv_stay_the_text_that_they_are(folder: pathlib.Path) -> None:
    path = text_table(folder, "path,label\na.png,NA\nb.png,null\nc.png,01\nd.png,nan\ne.png,1\n")
    assert read_table(path).class_names == ("01", "1", "NA", "nan", "null")


def test_numbers_with_leading_zeros_are_names(folder: pathlib.Path) -> None:
    assert read_table(text_table(folder, "path,label\na.png,02\nb.png,01\n")).class_names == ("01", "02")


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(folder: pathlib.Path) -> None:
    path = text_table(folder, "path,label\r\na.png,x\r\nb.png,y\r\n", "utf-8-sig")
    assert read_table(path).rows["path"].tolist() == ["a.png", "b.png"]


def test_a_label_with_a_comma_is_accepted_in_quotes(folder: pathlib.Path) -> None:
    path = text_table(folder, 'path,label\na.png,"cat, large"\nb.png,"the ""dog"""\n')
    assert read_table(path).class_names == ("cat, large", 'the "dog"')


def test_a_path_may_begin_with_the_folder_itself(folder: pathlib.Path) -> None:
    assert read_table(text_table(folder, "path,label\n./a.png,x\n.hidden/b.png,y\n")).rows["path"].iloc[0] == "a.png"


def test_categories_of_parquet_are_class_names(folder: pathlib.Path) -> None:
    rows = pd.DataFrame({"path": FILES[:2], "label": pd.Categorical(["b", "a"])})
    rows.to_parquet(folder / "photos.parquet")
    assert read_table(folder / "photos.parquet").rows["label"].tolist() == [1, 0]


def test_damaged_images_keep_no_row_and_move_no_further_column(folder: pathlib.Path) -> None:
    (folder / FILES[3]).write_bytes(b"some text")
    path = write_csv(folder, {"path": FILES, "label": ["a", "b"] * 15, "camera": [str(number) for number in range(30)]})
    with pytest.raises(DataError, match=r"1 of 30 images .*'images/3\.png': it is not an image"):
        open_table(path)
    manifest = open_table(path, on_bad_image="skip").manifest
    assert manifest["camera"].tolist() == [str(number) for number in range(30) if number != 3]


def test_a_link_to_a_file_inside_the_folder_is_an_image(folder: pathlib.Path) -> None:
    (folder / "images" / "link.png").symlink_to(folder / FILES[0])
    files = [*FILES, "images/link.png"]
    dataset = open_table(write_csv(folder, {"path": files, "label": ["a", *("ba" * 15)]}))
    assert dataset.manifest["digest"].duplicated().sum() == 1


def test_splits_may_have_the_names_and_the_case_that_folders_may_have(folder: pathlib.Path) -> None:
    names = ["Train", "training"] * 8 + ["VAL", "valid"] * 3 + ["Test", "testing"] * 4
    dataset = open_table(write_csv(folder, {"path": FILES, "label": ["a", "b"] * 15, "split": names}))
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [16, 6, 8]


def test_splits_in_a_column_of_another_name_are_not_pooled_without_a_word(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {"path": FILES, "label": ["a", "b"] * 15, "subset": ["train"] * 20 + ["valid"] * 10, "patient": range(30)}
    assert open_table(write_csv(folder, rows)).split_method == "stratified"
    [message] = [record.getMessage() for record in caplog.records]
    assert "has splits in its column 'subset', which are not used: rename it to 'split' to keep them" in message


# Rows that are refused, by their line.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,x\n", "has the columns 'file', 'label': path must be among them"),
        ("a.png,x\n", "path and label must be among them"),
        ("path,label,label\na.png,x,y\n", "has the column 'label' twice"),
        ("path,label,digest\na.png,x,y\n", "has a column 'digest', a name that dlexp uses itself"),
        ("path,label,Split\na.png,x,train\n", "has a column 'Split' but none 'split': rename it to 'split'"),
        ("path,label, group\na.png,x,1\n", "has a column ' group' but none 'group'"),
        ("x" * 5000 + "\n", "has the columns 'x{40}': path and label must be among them"),
        ("path,label\n", "has no rows"),
        ("", "cannot be read"),
        ("path,label\na.png,x\nb.png,\n", "line 3 .*has no label"),
        ("path,label\na.png,x\nb.png,  \n", "line 3 .*has no label"),
        ("path,label\na.png,x\nb.png, y\n", "line 3 .*has the label ' y'"),
        ("path,label\na.png,x\n,y\n", "line 3 .*has no path"),
        ("path,label\na.png,x\n../b.png,y\n", r"line 3 .*has the path '\.\./b\.png', which is not below"),
        ("path,label\na.png,x\nb/../../c.png,y\n", "line 3 .*which is not below"),
        ("path,label\n/etc/passwd,x\na.png,x\n", "line 2 .*'/etc/passwd', which is not below"),
        ("path,label\nC:/a.png,x\n", "line 2 .*which is not below"),
        ("path,label\na\\b.png,x\n", "line 2 .*which is not below"),
        ("path,label\na.png,x\na.png,x\n./a.png,y\n", r"line 3 .*for the second time.*\(2 rows have this fault\)"),
        ("path,label,split\na.png,x,train\nb.png,y,dev\n", "line 3 .*has the split 'dev': write train"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "line 3 .*has no split, where others have one"),
        ("path,label\na.png,cat, large\nb.png,dog\n", "line 2 .*has 3 cells, where the header has 2"),
        ("path,label\na.png,x\nb.png\n", "line 3 .*has 1 cells, where the header has 2"),
        ('path,label\na.png,x\nb.png,"y\nc.png,x\n', "a quote that is not closed"),
        ("path,label\n" + "a.png,x\n\nb.png,y\n" * 2, "line 5 .*second time"),
        ('path,label,note\na.png,x,"two\nlines"\nb.png,,\n', "line 4 .*has no label"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(folder: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(text_table(folder, text))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2", "3"], "3 different numbers from 1 to 3: class numbers must be 0 to 2.*write class names instead"),
        (["0", "2", "2"], "2 different numbers from 0 to 2"),
        (["0", "1", "9" * 30], "from 0 to 9{20}: class numbers must be 0 to 2"),
        (["0", "-1", "1"], "line 3 .*has the label '-1': numbers must be whole, from 0 on"),
        (["0.0", "1.0", "0.0"], r"line 2 .*has the label '0\.0': numbers must be whole"),
        (["0", "1", "1e3"], "line 4 .*has the label '1e3'"),
    ],
)
def test_numbers_that_are_no_class_numbers_are_refused(folder: pathlib.Path, labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write_csv(folder, {"path": FILES[:3], "label": labels}))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3], "3 different numbers from 1 to 3"),
        ([0, -1, 1], r"row 1 \(the first is 0\) .*'-1': numbers must be whole"),
        ([0.0, 1.0, 2.0], r"row 0 .*'0\.0': numbers must be whole"),
        ([0, 1, None], "row 2 .*has no label"),
        (["a", None, "b"], "row 1 .*has no label"),
        ([[0], [1], [0, 1]], "column 'label' .*holds object: it must hold text"),
        ([True, False, True], "column 'label' .*holds bool: it must hold text"),
    ],
)
def test_a_wrong_label_of_parquet_is_refused_by_its_row(folder: pathlib.Path, labels: list[Any], message: str) -> None:
    path = folder / "photos.parquet"
    pa.parquet.write_table(pa.table({"path": FILES[:3], "label": pa.array(labels)}), path)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_a_missing_file_is_refused_by_its_line(folder: pathlib.Path) -> None:
    (folder / FILES[2]).unlink()
    with pytest.raises(DataError, match=r"line 4 .*'images/2\.png', but there is no such file"):
        open_table(write_csv(folder, {"path": FILES[:4], "label": ["a", "b"] * 2}))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_that_leaves_the_folder_is_refused_by_its_line(
    folder: pathlib.Path, linked: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (folder / FILES[0]).rename(outside / "0.png")
    link, target = (FILES[0], outside / "0.png") if linked == "file" else ("elsewhere", outside)
    (folder / link).symlink_to(target)
    files = [FILES[1], FILES[0] if linked == "file" else "elsewhere/0.png"]
    with pytest.raises(DataError, match=r"line 3 .*where a link leaves the folder"):
        open_table(write_csv(folder, {"path": files, "label": ["a", "b"]}))


def test_a_table_that_is_too_large_is_refused_before_it_is_read(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(folder, {"path": FILES, "label": ["a", "b"] * 15})
    monkeypatch.setattr("dlexp.datasets.sources.table.MAX_TABLE_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 are read"):
        read_table(path)


def test_parquet_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "photos.parquet"
    pd.DataFrame({"path": ["a" * 10_000] * 1000, "label": "x"}).to_parquet(path, use_dictionary=False)
    monkeypatch.setattr("dlexp.datasets.sources.table.MAX_TABLE_BYTES", 9_000_000)
    with pytest.raises(DataError, match="bytes unpacked: at most 9,000,000"):
        read_table(path)


@pytest.mark.parametrize(("name", "contents"), [("a.parquet", b"PAR1 or not"), ("a.csv", b"path,label\n\xff.png,x\n")])
def test_bytes_that_are_no_table_are_refused_by_name(tmp_path: pathlib.Path, name: str, contents: bytes) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(DataError, match=rf"{name}' cannot be read"):
        read_table(tmp_path / name)


def test_another_ending_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "photos.xlsx").touch()
    with pytest.raises(DataError, match=r"neither \.csv nor \.parquet"):
        open_table(tmp_path / "photos.xlsx")


@given(
    labels=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=20
    )
)
def test_any_text_comes_back_as_a_class_name(labels: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    labels = [f"class {label}" for label in labels]
    paths = [f"{number}.png" for number in range(len(labels))]
    table = read_table(write_csv(tmp_path_factory.mktemp("any"), {"path": paths, "label": labels}))
    assert [table.class_names[label] for label in table.rows["label"]] == labels
    assert list(table.class_names) == sorted(set(labels))


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("path;label", "columns seem to be separated by semicolons: write the table with commas"),
        ("path;label;note, further", "columns seem to be separated by semicolons"),
        ("path\tlabel", "columns seem to be separated by tabs"),
        ("sep=;", "columns seem to be separated by semicolons"),
        ("Path,Label", "rename 'Path' to 'path' and 'Label' to 'label'"),
        ("path, label", "rename ' label' to 'label'"),
        ("PATH ,label", "rename 'PATH ' to 'path'"),
    ],
)
@pytest.mark.parametrize("row", ["a.png,cat", "a.png;cat", "a.png\tcat", "a,b.png;cat;x"])
def test_header_with_other_separators_case_or_blanks_says_what_to_change(
    tmp_path: pathlib.Path, header: str, hint: str, row: str
) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match=re.escape(hint)):
        read_table(tmp_path / "t.csv")
