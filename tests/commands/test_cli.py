"""The command line: commands, exit codes, stdout and stderr."""

import json
import pathlib
from typing import Any

import pytest

from dlexp.commands.cli import SUMMARIES, main
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Status, create_run

RUN = "a1b2c3d4" + "0" * 24


@pytest.fixture
def store(tmp_path: pathlib.Path) -> pathlib.Path:
    create_run(tmp_path, RUN, name="first", config=ExperimentConfig()).update(
        status=Status.FINISHED, metrics={"test_accuracy": 0.9, "val_loss": float("nan")}
    )
    return tmp_path


def call(*words: str) -> int:
    return main(["dlexp", *words])


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in SUMMARIES)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("dlexp 0.")


@pytest.mark.parametrize("command", SUMMARIES)
def test_help_of_a_command_goes_to_stdout(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert "--store=mlruns" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean train"),
        (["runs", "--sort=x"], "unknown flag '--sort'"),
        (["runs", "latest"], "'latest' is not a flag"),
        (["train", "--model=resnet2"], "did you mean resnet"),
        (["train", "--dataset=digit"], "did you mean digits"),
        (["train", "--optimizer=adamm"], "did you mean adam"),
        (["train", "--augment=flop"], "did you mean flip"),
        (["train", "--plugins=nowhere.py"], "'nowhere.py' is not there"),
        (["train", "--epochs=0"], "epochs=0 is out of range"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("dlexp: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(LookupError):
        call("runs", "--debug", "--where=nothing > 1", "--format=tabel", "--store=.")


def test_store_that_cannot_be_written_fails_before_the_first_step(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert call("train", f"--store={tmp_path / 'file'}") == 1
    assert "is a file: choose another --store" in capsys.readouterr().err


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


def test_empty_store_is_no_error_and_says_what_to_do(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("runs", f"--store={tmp_path}", "--format=json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == []
    assert "train one with dlexp train" in shown.err


def test_unknown_format_is_refused(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={store}", "--format=tabel") == 2
    assert "did you mean table" in capsys.readouterr().err


def test_ui_of_a_store_without_runs_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ui", f"--store={tmp_path}") == 1
    assert "train a run first" in capsys.readouterr().err
