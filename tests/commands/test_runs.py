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


@pytest.fixture
def varied(tmp_path: pathlib.Path) -> str:
    """Four runs of two models and two seeds, with equal epochs."""
    for number, (model, seed) in enumerate([("mlp", 0), ("mlp", 1), ("resnet20", 0), ("resnet20", 1)]):
        config = ExperimentConfig.of(model=model, seed=seed, model_args={"width": 8} if model == "mlp" else {})
        create_run(tmp_path, f"{number}" * 32, name=f"run-{number}", config=config).update(
            status=Status.FINISHED,
            best_epoch=3,
            metrics={"val_accuracy": 0.9 + number / 1000, "test_accuracy": 0.8 + number / 30},
        )
    return str(tmp_path)


def test_table_shows_the_settings_that_differ_and_no_others(varied: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={varied}") == 0
    header = capsys.readouterr().out.splitlines()[0].split()
    assert {"model", "seed", "model_args.width", "val_accuracy", "test_accuracy"} <= set(header)
    assert not {"epochs", "learning_rate", "batch_size"} & set(header)


def test_results_have_four_decimals(varied: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={varied}", "--columns=run_id,test_accuracy", "--sort_by=test_accuracy") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "0.8000", "0.8333", "0.8667", "0.9000",
    ]  # fmt: skip


def test_narrow_terminal_leaves_out_settings_and_never_results(
    varied: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert call("runs", f"--store={varied}") == 0
    printed = capsys.readouterr()
    assert all(len(line) <= 80 for line in printed.out.splitlines())
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed.out
    assert {"run_id", "val_accuracy", "test_accuracy"} <= set(printed.out.splitlines()[0].split())
    assert printed.err.startswith("left out, as the terminal is narrow: started")


def test_limit_lists_the_first_rows(varied: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={varied}", "--limit=2", "--sort_by=-model,-seed", "--columns=name") == 0
    assert capsys.readouterr().out.split() == ["name", "run-3", "run-2"]


def test_groups_have_number_mean_and_deviation(varied: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={varied}", "--group_by=model", "--format=json", "--sort_by=name") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["model"], first["n"], second["model"]) == ("mlp", 2, "resnet20")
    assert first["val_accuracy_mean"] == pytest.approx(0.9005)
    assert first["val_accuracy_sd"] == pytest.approx(0.001 / 2**0.5)


@pytest.mark.parametrize("flag", ["--columns=modle", "--group_by=modle", "--sort_by=modle", "--limit=-1"])
def test_unknown_columns_and_limits_are_refused(varied: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("runs", f"--store={varied}", flag) == 2
    assert "model" in capsys.readouterr().err or "--limit=-1" in flag
