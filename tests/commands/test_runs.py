"""`dlexp runs`: formats, short IDs, and what an empty store gives."""

import json
import pathlib

import pytest

from dlexp.commands.cli import main
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Status, create_run
from dlexp.runs.store import iterate_runs

RUN = "a1b2c3d4" + "0" * 24


@pytest.fixture
def store(tmp_path: pathlib.Path) -> pathlib.Path:
    create_run(tmp_path, RUN, name="first", config=ExperimentConfig()).update(
        status=Status.FINISHED, metrics={"test_accuracy": 0.9, "val_loss": float("nan")}
    )
    return tmp_path


def call(*words: str) -> int:
    return main(["dlexp", *words])


def test_runs_as_json_are_flat_objects_with_null_for_nan(
    store: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("runs", f"--store={store}", "--format=json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run_id"], row["model"], row["test_accuracy"], row["val_loss"]) == (RUN, "small_cnn", 0.9, None)


def test_runs_as_csv_have_a_header(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={store}", "--format=csv") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith("run_id,")
    assert row.startswith(RUN)


def test_runs_as_table_show_the_short_id(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={store}") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["run_id", "name", "status"]
    assert row.split()[:3] == [RUN[:8], "first", "FINISHED"]


def test_runs_as_table_show_the_peak_memory_in_words(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = iterate_runs(store)
    run.update(peak_memory_bytes=5 * 2**28, peak_memory_of="process")
    create_run(store, "b" * 32, name="of an earlier version", config=ExperimentConfig())
    assert call("runs", f"--store={store}", "--sort_by=name") == 0
    header, first, earlier = capsys.readouterr().out.splitlines()
    column = header.index("peak_memory")
    assert first[column:].strip() == "1.25 GiB"
    assert not earlier[column:].strip()


def test_runs_as_json_have_the_peak_memory_in_bytes(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = iterate_runs(store)
    run.update(peak_memory_bytes=5 * 2**28, peak_memory_of="GPU")
    assert call("runs", f"--store={store}", "--format=json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["peak_memory_bytes"], row["peak_memory_of"]) == (5 * 2**28, "GPU")
    assert "peak_memory" not in row


def test_empty_store_is_no_error_and_says_what_to_do(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("runs", f"--store={tmp_path}", "--format=json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == []
    assert "train one with dlexp train" in shown.err


def test_unknown_format_is_refused_in_one_sentence_for_an_empty_store_too(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("runs", f"--store={tmp_path}", "--format=tabel") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_unknown_format_is_refused(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={store}", "--format=tabel") == 2
    assert "did you mean table" in capsys.readouterr().err
