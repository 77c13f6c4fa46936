"""A run that earlier code has trained, before the modules moved, is listed, evaluated and resumed by this code."""

import json
import pathlib
import subprocess
import sys
import zipfile
from typing import Any

import pandas as pd
import pytest

from dlexp import evaluate_checkpoint, list_checkpoints, list_runs, load_checkpoint
from dlexp.commands.cli import main
from dlexp.runs.run import Run
from dlexp.runs.store import find_run
from tests.support.store_run import STORED_RUN, processor


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """The stored run, put into a store."""
    with zipfile.ZipFile(STORED_RUN) as archive:
        run_id = json.loads(archive.read("run/run.json"))["run_id"]
        folder = tmp_path / "artifacts" / run_id
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("run/")])
    (folder / "run").rename(folder / "artifacts")
    return find_run(run_id, tmp_path)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """What the earlier code gives for the same training over three epochs."""
    with zipfile.ZipFile(STORED_RUN) as archive:
        points = [json.loads(line) for line in archive.read("points.jsonl").splitlines()]
        return dict(json.loads(archive.read("reference.json"))) | {"points": points}


def test_it_is_listed_with_its_checkpoints(run: Run, tmp_path: pathlib.Path) -> None:
    assert list_runs(tmp_path)["run_id"].tolist() == [run.id]
    checkpoints = list_checkpoints(tmp_path, verify=True)
    assert sorted(checkpoints["kind"]) == ["best", "last"]
    assert checkpoints["damaged"].tolist() == ["", ""]


def test_its_data_is_verified(run: Run, tmp_path: pathlib.Path) -> None:
    assert main(["dlexp", "data", "verify", run.id, f"--store={tmp_path}"]) == 0


def test_its_best_checkpoint_is_evaluated_to_the_recorded_metrics(run: Run) -> None:
    recorded = run.record()["metrics"]
    written = evaluate_checkpoint(run.path, splits=("validation", "test"))
    for split, prefix in (("validation", "val_"), ("test", "test_")):
        for name, value in written[split].metrics.items():
            assert value == pytest.approx(recorded[prefix + name], rel=1e-5), (split, name)


def test_it_names_no_module_of_dlexp(run: Run) -> None:
    for path in run.checkpoints_folder.iterdir():
        with zipfile.ZipFile(path) as archive:
            assert b"dlexp." not in archive.read("config.json")


def test_it_is_resumed_as_if_it_had_never_stopped(run: Run, reference: dict[str, Any]) -> None:
    """Bit for bit where the processor has the same instruction sets; elsewhere up to other rounding."""
    # In a separate process, as the run was trained with one thread.
    command = [sys.executable, "-m", "dlexp.commands.cli", "train", f"--resume={run.path}", "--epochs=3", "--verbose=0"]
    subprocess.run([*command, "--noevaluation_report"], check=True, capture_output=True)
    record = run.record()
    is_same = processor() == reference["processor"]
    tolerance = 1e-6 if is_same else 1e-3  # earlier code computed metrics in float32
    assert record["best_epoch"] == reference["best_epoch"]
    for name, value in reference["metrics"].items():
        assert record["metrics"][name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    assert _measured(run.points()) == pytest.approx(_measured(pd.DataFrame(reference["points"])), rel=tolerance)
    if is_same:
        assert load_checkpoint(run.path).metadata["weights_digest"] == reference["weights_digest"]


def _measured(points: pd.DataFrame) -> dict[tuple[str, int], float]:
    """What training and validation measure, by key and step; without times, and without what the end adds."""
    measured = r"^(?!test_|best).*(?:loss|accuracy|f1_score|norm|learning_rate)"
    chosen = points[points["key"].str.contains(measured, regex=True)]
    return dict(zip(zip(chosen["key"], chosen["step"], strict=True), chosen["value"], strict=True))
