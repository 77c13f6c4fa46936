"""`dlexp predict` and `predict_images`: what is written agrees with the evaluation, and nothing is left half-made."""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from dlexp import ExperimentConfig, find_images, load_checkpoint, predict_images, run_experiment
from dlexp.checkpoints.files import LoadedCheckpoint
from dlexp.commands.cli import main
from dlexp.errors import ConfigError, DataError, StoreError
from dlexp.evaluation.prediction_file import (
    PredictionFile,
    check_prediction_file,
    probability_columns,
    tabulate_predictions,
    write_predictions,
)
from tests.support.image_folders import write_digits_folder

CLASSES = [str(digit) for digit in range(10)]
PROBABILITIES = [f"probability_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with photos/ and the store of one run that was trained on them; never written to."""
    root = tmp_path_factory.mktemp("trained")
    write_digits_folder(root / "photos", 200)
    values: dict[str, Any] = {"model": "mlp", "epochs": 2, "batch_size": 16, "verbose": 0, "tensorboard": False}
    run_experiment(ExperimentConfig.of(dataset=f"folder:{root / 'photos'}", store=str(root / "store"), **values))
    return root


@pytest.fixture
def store(trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store of the run; the working directory is a new one with a copy of photos/."""
    shutil.copytree(trained / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return str(trained / "store")


@pytest.fixture(scope="module")
def checkpoint(trained: pathlib.Path) -> LoadedCheckpoint:
    return load_checkpoint("latest", store=trained / "store")


def predict(store: str, *words: str) -> int:
    return main(["dlexp", "predict", "latest", f"--store={store}", *words])


def names_in(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_probabilities_are_those_of_the_evaluation_bit_for_bit(
    trained: pathlib.Path, checkpoint: LoadedCheckpoint
) -> None:
    [file] = (trained / "store").rglob("evaluation/test/predictions.parquet")
    evaluated = pd.read_parquet(file)
    paths = [trained / "photos" / key for key in evaluated["key"]]
    predicted = pd.concat(predict_images(checkpoint, paths), ignore_index=True)
    assert predicted["path"].tolist() == list(map(str, paths))
    assert predicted["prediction"].tolist() == [CLASSES[label] for label in evaluated["prediction"]]
    columns = ["confidence", *PROBABILITIES]
    pd.testing.assert_frame_equal(predicted[columns], evaluated[columns], check_exact=True)


class OwnPredictStep(keras.Model):
    """Returns classes from `predict`."""

    def predict_step(self, data: Any) -> Any:
        return {"classes": keras.ops.argmax(self(data), axis=-1)}


def test_model_with_its_own_predict_step_predicts_what_the_evaluation_says(
    trained: pathlib.Path, checkpoint: LoadedCheckpoint
) -> None:
    own = dataclasses.replace(checkpoint, model=OwnPredictStep(checkpoint.model.inputs, checkpoint.model.outputs))
    paths = list(find_images([str(trained / "photos")]))
    pd.testing.assert_frame_equal(*(pd.concat(predict_images(loaded, paths)) for loaded in (own, checkpoint)))


def test_another_batch_size_gives_nearly_the_same(trained: pathlib.Path, checkpoint: LoadedCheckpoint) -> None:
    paths = list(find_images([str(trained / "photos")]))
    one, other = (pd.concat(predict_images(checkpoint, paths, batch_size=size)) for size in (16, 7))
    assert one["prediction"].tolist() == other["prediction"].tolist()
    np.testing.assert_allclose(one[PROBABILITIES], other[PROBABILITIES], atol=1e-6)


def test_command_writes_csv_to_the_working_directory_and_names_it_last(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(store, "photos") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "predictions.csv"
    assert "200 image(s) predicted\n" in captured.err
    table = pd.read_csv("predictions.csv", dtype={"prediction": "str"})
    assert list(table.columns) == ["path", "prediction", "confidence", *PROBABILITIES]
    assert table["path"].tolist() == sorted(map(str, pathlib.Path("photos").rglob("*.png")))
    assert names_in(pathlib.Path.cwd()) == {"photos", "predictions.csv"}


def test_other_files_of_a_folder_are_counted_and_an_image_that_is_not_read_is_strict(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("photos/1/notes.txt").touch()
    assert predict(store, "photos", "--strict") == 0
    pathlib.Path("photos/1/scan.dcm").touch()
    pathlib.Path("list").write_text("photos/1\nphotos/2\n")
    for words in (["photos"], ["--from_file=list"], ["photos/*"]):
        capsys.readouterr()
        assert predict(store, "--strict", *words) == 1
        assert (
            "left out: 1 image in a format that is not read (1 .dcm), 1 file that accompanies images (1 .txt)\n"
            in capsys.readouterr().err
        )


def test_folder_without_an_image_names_what_it_holds(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("scans").mkdir()
    pathlib.Path("scans/1.dcm").touch()
    assert predict(store, "scans") == 1
    assert "there is no image in 'scans', only 1 image in a format that is not read (1 .dcm)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--top_k=3",), ("--probabilities=false",)])
def test_csv_and_parquet_hold_the_same(store: str, options: tuple[str, ...]) -> None:
    assert predict(store, "photos/1", "photos/2", "--output=out/p.csv", *options) == 0
    assert predict(store, "photos/1", "photos/2", "--output=out/p.parquet", *options) == 0
    parquet = pd.read_parquet("out/p.parquet")
    csv = pd.read_csv("out/p.csv", dtype=parquet.dtypes.to_dict(), keep_default_na=False)
    pd.testing.assert_frame_equal(csv, parquet, check_exact=True)


def test_top_k_names_the_most_probable_classes(store: str) -> None:
    assert predict(store, "photos/3", "--output=all.parquet") == 0
    assert predict(store, "photos/3", "--output=top.parquet", "--top_k=3") == 0
    everything, top = pd.read_parquet("all.parquet"), pd.read_parquet("top.parquet")
    assert list(top.columns) == [
        "path", "prediction", "confidence", "prediction_2", "confidence_2", "prediction_3", "confidence_3",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(top.iloc[:, :3], everything.iloc[:, :3])
    ranked = np.sort(everything[PROBABILITIES].to_numpy(), axis=1)[:, ::-1]
    assert (top[["confidence", "confidence_2", "confidence_3"]].to_numpy() == ranked[:, :3]).all()
    second = everything[PROBABILITIES].to_numpy().argsort(axis=1)[:, -2]
    assert top["prediction_2"].tolist() == [CLASSES[label] for label in second]


def test_files_that_cannot_be_read_are_told_and_left_out(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("photos/1/cut.png").write_bytes(pathlib.Path("photos/1/0001.png").read_bytes()[:-20])
    pathlib.Path("notes.txt").write_text("no image")
    for strict, exit_code in (("--strict=false", 0), ("--strict", 1)):
        assert predict(store, "photos", "notes.txt", strict) == exit_code
        err = capsys.readouterr().err
        assert "'photos/1/cut.png' cannot be read: it is a PNG that ends before its IEND chunk\n" in err
        assert "'notes.txt' cannot be read: it is not an image in a format that is read\n" in err
        assert "200 image(s) predicted, 2 file(s) could not be read" in err
        assert len(pd.read_csv("predictions.csv")) == 200
        pathlib.Path("predictions.csv").unlink()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_odd_and_equal_names_are_kept(store: str, ending: str) -> None:
    names = ["a,b.png", 'quote".png', "new\nline.png", "größe 数.png", "-dash.png", "x[1].png", "tab\t.png"]
    for folder in ("odd", "odd/more"):
        pathlib.Path(folder).mkdir()
        for name in names:
            shutil.copy("photos/0/0000.png", f"{folder}/{name}")
    assert predict(store, f"--output=p.{ending}", "odd", "--", "odd/a,b.png") == 0
    table = pd.read_csv("p.csv") if ending == "csv" else pd.read_parquet("p.parquet")
    expected = [f"{folder}/{name}" for folder in ("odd", "odd/more") for name in sorted(names)]
    assert table["path"].tolist() == [*expected, "odd/a,b.png"]


def test_lists_come_from_a_file_and_from_stdin(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pathlib.Path("list.txt").write_text("photos/0/0000.png\nphotos/5\n")
    stdin = io.TextIOWrapper(io.BytesIO(b"photos/1/0001.png\0photos/2/0002.png\0"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert predict(store, "-", "photos/3/00*3.png", "--from_file=list.txt") == 0
    paths = pd.read_csv("predictions.csv")["path"].tolist()
    assert paths[:3] == ["photos/1/0001.png", "photos/2/0002.png", "photos/3/0003.png"]
    assert paths[-1].startswith("photos/5/")
    assert "photos/0/0000.png" in paths


def test_last_checkpoint_and_a_checkpoint_file_are_taken(store: str, trained: pathlib.Path) -> None:
    [last] = trained.rglob("*__last__*.keras")
    assert predict(store, "photos/1", "--kind=last", "--output=last.parquet") == 0
    assert main(["dlexp", "predict", str(last), "photos/1", "--output=file.parquet"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet("last.parquet"), pd.read_parquet("file.parquet"))


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ((), 2, "needs a run or a checkpoint, and images"),
        (("empty",), 1, "there is no image in 'empty'"),
        (("nowhere.png",), 1, "no file or folder 'nowhere.png'"),
        (("photos/*.gif",), 1, "matches nothing"),
        (("list.txt",), 1, "no image could be read, so there is no prediction to write: check the paths"),
        (("--from_file=nowhere.txt",), 1, "from_file='nowhere.txt' cannot be read"),
        (("photos", "--output=p.json"), 2, "must end with .csv or .parquet"),
        (("photos", "--top_k=11"), 2, "top_k=11 must be from 1 to 10"),
        (("photos", "--kind=first"), 2, "unknown kind 'first'"),
        (("photos", "--batch_size=-1"), 2, "batch_size=-1"),
        (("photos", "--plugins=nowhere.py"), 2, "'nowhere.py' does not exist"),
    ],
)
def test_wrong_words_are_told_in_one_sentence_and_leave_nothing(
    store: str, words: tuple[str, ...], exit_code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("empty").mkdir()
    pathlib.Path("list.txt").write_text("no image")
    before = names_in(pathlib.Path.cwd())
    assert predict(store, *words) == exit_code
    assert message in capsys.readouterr().err
    assert names_in(pathlib.Path.cwd()) == before


def test_former_output_stands_if_a_prediction_fails(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("the disk is full")

    pathlib.Path("predictions.csv").write_text("previous")
    monkeypatch.setattr(PredictionFile, "write", fail)
    assert predict(store, "photos") == 1
    assert pathlib.Path("predictions.csv").read_text() == "previous"
    assert names_in(pathlib.Path.cwd()) == {"photos", "predictions.csv"}


def test_ctrl_c_leaves_nothing_half_made(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: PredictionFile, table: pd.DataFrame) -> None:
        original(file, table)
        halves.update(names_in(pathlib.Path.cwd()) - {"photos"})
        if halves:
            raise KeyboardInterrupt

    original, halves = PredictionFile.write, set[str]()
    monkeypatch.setattr("dlexp.evaluation.prediction_file._MOST_ROWS", 20)
    monkeypatch.setattr(PredictionFile, "write", write)
    assert predict(store, "photos") == 1
    assert len(halves) == 1
    assert names_in(pathlib.Path.cwd()) == {"photos"}


def test_signal_that_comes_while_a_library_catches_everything_is_not_lost(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Keras does while it traces: predictions then went on after Ctrl-C as if nothing had happened."""

    def trace(*_: Any, **__: Any) -> Iterator[pd.DataFrame]:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        yield pd.DataFrame({"path": ["a.png"], "prediction": ["0"], "confidence": [1.0]})

    monkeypatch.setattr("dlexp.evaluation.image_prediction.predict_images", trace)
    assert predict(store, "photos") == 1
    assert names_in(pathlib.Path.cwd()) == {"photos"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_process_in_one_sentence(store: str, tmp_path: pathlib.Path, number: signal.Signals) -> None:
    (tmp_path / "list").write_text("nowhere.png\n" + "photos\n" * 100_000)
    command = [sys.executable, "-m", "dlexp.commands.cli", "predict", "latest", f"--store={store}", "--from_file=list"]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert "'nowhere.png' cannot be read" in process.stderr.readline()
        process.send_signal(number)
        assert process.stderr.read() == "dlexp: stopped by Ctrl-C\n"
    assert process.returncode == 1
    assert names_in(tmp_path) == {"photos", "list"}


def test_memory_does_not_grow_with_the_number_of_images(
    trained: pathlib.Path, checkpoint: LoadedCheckpoint, tmp_path: pathlib.Path
) -> None:
    """Every seventh file cannot be read; peaks are of Python's memory, in which paths, reasons and tables are."""
    sound, broken = str(trained / "photos" / "0" / "0000.png"), str(trained / "nowhere.png")

    def peak_of(count: int) -> float:
        paths = (broken if number % 7 == 0 else sound for number in range(count))
        tracemalloc.start()
        with write_predictions(tmp_path / "p.csv") as file:
            tables = predict_images(checkpoint, paths, batch_size=256, top_k=1, on_unreadable=lambda *_: None)
            for table in tables:
                file.write(table)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 1e6

    peak_of(500)
    few, many = peak_of(2_000), peak_of(20_000)
    assert many < few + 4  # MB; what is held for a part of the file, at most 65,536 rows, is among them


# The table and the file.


def table_of(count: int, first: int = 0) -> pd.DataFrame:
    probabilities = np.random.default_rng(first).dirichlet([1, 1, 1], count).astype(np.float32)
    paths = [f"{number}.png" for number in range(first, first + count)]
    return tabulate_predictions(paths, probabilities, ["a", "b", "c"], top_k=0, probabilities=True)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_parts_of_a_file_follow_each_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr("dlexp.evaluation.prediction_file._MOST_ROWS", 5)
    tables = [table_of(3, first) for first in range(0, 30, 3)]
    with write_predictions(tmp_path / f"p.{ending}") as file:
        for table in tables:
            file.write(table)
            assert file._rows < 5
    read = pd.read_csv(tmp_path / "p.csv") if ending == "csv" else pd.read_parquet(tmp_path / "p.parquet")
    expected = pd.concat(tables, ignore_index=True)
    pd.testing.assert_frame_equal(read.astype(expected.dtypes.to_dict()), expected, check_exact=True)


def test_equal_probabilities_name_the_first_class() -> None:
    table = tabulate_predictions(
        ["x"], np.full((1, 3), 1 / 3, np.float32), ["a", "b", "c"], top_k=3, probabilities=True
    )
    assert table[["prediction", "prediction_2", "prediction_3"]].to_numpy().tolist() == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("class_names", "endings"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["a,b", "path", ""], ["a,b", "path", ""]),
        (["a", "a", "b"], ["a_0", "a_1", "b"]),
        (["a", "a", "a_1"], ["a_0", "a_1_1", "a_1"]),
    ],
)
def test_columns_of_classes_are_told_apart(class_names: list[str], endings: list[str]) -> None:
    assert probability_columns(class_names) == [f"probability_{ending}" for ending in endings]


def test_output_is_checked_in_good_time(tmp_path: pathlib.Path) -> None:
    check_prediction_file(tmp_path / "new" / "p.CSV")
    (tmp_path / "p.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a folder"):
        check_prediction_file(tmp_path / "p.csv")
    with pytest.raises(StoreError, match="cannot be written"):
        check_prediction_file(tmp_path / "file" / "p.csv")
    with pytest.raises(ConfigError, match="must end with"):
        check_prediction_file(tmp_path / "p")
    assert names_in(tmp_path) == {"p.csv", "file"}


def test_file_without_a_prediction_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="no image could be read"), write_predictions(tmp_path / "p.csv"):
        pass
    assert names_in(tmp_path) == set()
