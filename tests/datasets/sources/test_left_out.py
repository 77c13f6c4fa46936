"""Nothing that lies in a dataset is left out without a word: it is counted by kind, found by the check, warned of."""

import os
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.images.imagefile import IMAGE_ENDINGS
from dlexp.datasets.inspection.description import describe_dataset, describe_in_lines
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.datasets.inspection.findings import find_problems
from dlexp.datasets.sources.left_out import KINDS, count_left_out, left_out_of, left_out_table, left_out_text
from dlexp.datasets.sources.source import check_source
from dlexp.errors import DataError
from dlexp.training.preparation import prepare
from tests.support.image_folders import write_digits_folder


def open_folder(root: pathlib.Path, *, trainable: bool = True, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"folder:{root}", **({"batch_size": 4} | settings)), trainable=trainable)


def counts_of(root: pathlib.Path) -> dict[str, dict[str, int]]:
    return count_left_out(left_out_of(open_folder(root, trainable=False).source))


def findings_of(root: pathlib.Path) -> list[tuple[str, tuple[str, ...]]]:
    dataset = open_folder(root, trainable=False)
    problems = find_problems(dataset, find_duplicates(dataset, near_duplicates=False))
    problems = problems[problems["check"] == "left_out"]
    return list(problems[["severity", "keys"]].itertuples(index=False, name=None))


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_digits_folder(tmp_path / "photos", 60)


def test_images_of_other_formats_are_counted_by_ending_and_are_an_error(photos: pathlib.Path) -> None:
    for name in ("a.PSB", "b.psb", "c.psd"):
        (photos / "1" / name).write_bytes(b"pixels")
    assert counts_of(photos) == {"picture": {".psb": 2, ".psd": 1}}
    assert findings_of(photos) == [("error", ("1/a.PSB", "1/b.psb")), ("error", ("1/c.psd",))]
    text = "\n".join(describe_in_lines(describe_dataset(open_folder(photos))))
    assert "left out: 3 images in a format that is not read (2 .psb, 1 .psd)" in text


@pytest.mark.parametrize("ending", [".psb", ".svg", ".xyz", ""])
def test_class_without_a_readable_image_stops_a_training_and_is_named(photos: pathlib.Path, ending: str) -> None:
    (photos / "lost" / "deep").mkdir(parents=True)
    for number in range(12):
        (photos / "lost" / "deep" / f"{number}{ending}").write_bytes(b"pixels")
    (photos / "lost" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=rf"class folder 'lost' .* only 12 {ending or 'without an ending'}, 1 \.txt"):
        open_folder(photos)
    assert ("error", ("lost",)) in findings_of(photos)
    assert counts_of(photos)["imageless_class"] == {"lost": 1}


def test_class_that_lacks_images_in_one_split_only_is_named_with_its_split(tmp_path: pathlib.Path) -> None:
    for split in ("train", "test"):
        write_digits_folder(tmp_path / split, 60)
    for path in (tmp_path / "test" / "3").iterdir():
        path.rename(path.with_suffix(".psb"))
    with pytest.raises(DataError, match=r"class folder 'test/3' .* has no readable image"):
        open_folder(tmp_path)


def test_links_in_a_circle_are_broken_links(photos: pathlib.Path) -> None:
    (photos / "1" / "a.png").symlink_to("b.png")
    (photos / "1" / "b.png").symlink_to("a.png")
    assert counts_of(photos) == {"broken_link": {"": 2}}


def test_pipe_is_no_image_whatever_its_ending(photos: pathlib.Path) -> None:
    os.mkfifo(photos / "1" / "pipe.png")
    assert counts_of(photos) == {"no_file": {"": 1}}


def test_link_to_a_class_folder_stops_a_training(photos: pathlib.Path) -> None:
    (photos / "c3").symlink_to("1")
    with pytest.raises(DataError, match=r"class or split folder 'c3' .* is a link to a folder: .* copy the folder"):
        open_folder(photos)
    assert findings_of(photos) == [("error", ("c3",))]


def test_link_to_a_split_folder_stops_a_training(tmp_path: pathlib.Path) -> None:
    for split in ("train", "validation"):
        write_digits_folder(tmp_path / split, 60)
    (tmp_path / "test").symlink_to("validation")
    with pytest.raises(DataError, match=r"'test' .* is a link to a folder"):
        open_folder(tmp_path)


def test_link_to_a_folder_within_a_class_is_a_warning(photos: pathlib.Path) -> None:
    (photos / "2" / "more").symlink_to("../1")
    assert open_folder(photos).num_classes == 10
    assert findings_of(photos) == [("warning", ("2/more",))]


def test_broken_link_is_an_error(photos: pathlib.Path) -> None:
    (photos / "2" / "gone.png").symlink_to("nowhere.png")
    assert findings_of(photos) == [("error", ("2/gone.png",))]


def test_empty_folders_are_told_and_do_not_stop_a_training(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (photos / "empty").mkdir()
    (photos / "system").mkdir()
    (photos / "system" / "Thumbs.db").write_bytes(b"x")
    (photos / "system" / ".DS_Store").write_bytes(b"x")
    assert open_folder(photos).num_classes == 10
    assert counts_of(photos)["empty_folder"] == {"empty": 1, "system": 1}
    shutil.move(photos, tmp_path / "split" / "train")
    (tmp_path / "split" / "test").mkdir()
    assert counts_of(tmp_path / "split")["empty_folder"] == {"test": 1, "train/empty": 1, "train/system": 1}


def test_images_outside_class_folders_are_a_warning(tmp_path: pathlib.Path) -> None:
    flat = write_digits_folder(tmp_path / "flat", 30)
    root = write_digits_folder(tmp_path / "data" / "train", 60).parent
    (root / "test").mkdir()
    for path in flat.rglob("*.png"):  # as a competition's test images, without labels
        path.rename(root / "test" / path.name)
    assert counts_of(root)["outside_image"] == {"": 30}
    assert open_folder(root).split_method == "stratified"


def test_hidden_files_and_files_that_accompany_images_are_only_notes(photos: pathlib.Path) -> None:
    for name in ("1/Thumbs.db", "1/.DS_Store", "1/0001.json", "1/0001.txt", "labels.csv", ".gitignore"):
        (photos / name).write_bytes(b"x")
    assert {severity for severity, _ in findings_of(photos)} == {"note"}
    assert counts_of(photos) == {"outside": {"": 1}, "sidecar": {".db": 1, ".json": 1, ".txt": 1}, "hidden": {"": 2}}


def test_training_warns_in_one_line_unless_nothing_is_missed(
    photos: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = ExperimentConfig.of(dataset=f"folder:{photos}", model="mlp", epochs=1, batch_size=8)
    (photos / "1" / "0001.json").write_text("{}")
    prepare(config)
    assert not caplog.messages
    for name in ("a.psb", "b.xyz"):
        (photos / "1" / name).write_bytes(b"x")
    prepare(config)
    (message,) = caplog.messages
    assert "1 image in a format that is not read (1 .psb), 1 file with another ending (1 .xyz)" in message
    assert ".json" not in message


def test_arrays_that_no_name_asks_for_are_told(tmp_path: pathlib.Path) -> None:
    images, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    images[:, 0, 0] = np.arange(20)
    pairs: dict[str, Any] = {}
    for split in ("train", "val", "extra"):
        pairs |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(tmp_path / "a.npz", **pairs)
    dataset = open_dataset(DataConfig(dataset=f"npz:{tmp_path / 'a.npz'}", batch_size=4))
    assert count_left_out(left_out_of(dataset.source)) == {"array": {"x_extra": 1, "y_extra": 1}}
    assert (dataset.split_method, dataset.count("validation")) == ("official", 20)


def test_joined_sources_keep_what_each_leaves_out(photos: pathlib.Path) -> None:
    (photos / "1" / "a.psb").write_bytes(b"x")
    source = open_dataset(DataConfig(dataset=f"folder:{photos}+digits")).source
    assert left_out_of(source)["key"].tolist() == ["photos/1/a.psb"]


_NAMES = st.text("ab.é 1", min_size=1, max_size=4).filter(lambda name: name.strip(".") and name == name.strip())
_ENDINGS = st.sampled_from([".png", ".PNG", ".psb", ".json", ".q", ""])


@given(st.lists(st.tuples(st.lists(_NAMES, max_size=3), _NAMES, _ENDINGS), max_size=12))
def test_every_file_is_an_example_or_damaged_or_left_out_once(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[str], str, str]]
) -> None:
    root = write_digits_folder(tmp_path_factory.mktemp("any"), 20)
    image, written = next(root.rglob("*.png")).read_bytes(), set(root.rglob("*.png"))
    for folders, name, ending in files:
        path = root.joinpath(*folders, name + ending)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        except OSError:  # one of the names is taken by a file or a folder
            continue
        written.add(path)
    visible = {
        key
        for key in (path.relative_to(root).as_posix() for path in written)
        if not any(part.startswith(".") for part in key.split("/"))
    }
    dataset = open_folder(root, trainable=False)
    left_out = left_out_of(dataset.source)
    of_files = left_out[~left_out["kind"].isin(["hidden", "empty_folder", "imageless_class"])]
    keys = dataset.manifest["key"].tolist() + of_files["key"].tolist()
    assert sorted(keys) == sorted(visible)
    assert dataset.manifest["key"].str.lower().str.endswith(IMAGE_ENDINGS).all()
    assert dataset.manifest["key"].is_monotonic_increasing


def test_text_names_the_gravest_first_and_shortens_long_lists() -> None:
    table = left_out_table([(f"f/{n}", "other_ending", f".e{n}") for n in range(9)] + [("c", "class_link", "")])
    text = left_out_text(count_left_out(table))
    assert text.startswith("1 link in place of a class or split folder (c), 9 files with other endings (1 .e0, ")
    assert text.endswith("and 3 more)")
    assert left_out_text(count_left_out(table), severities=("note",)) == ""
    assert all(kind.severity in ("error", "warning", "note") for kind in KINDS.values())


def test_kind_that_is_not_known_is_refused() -> None:
    source = open_dataset(DataConfig()).source
    source.left_out = left_out_table([("a", "strange", "")])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"leaves out \['strange'\]: kinds are class_link"):
        check_source(source)
