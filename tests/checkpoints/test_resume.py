"""Trainings that are killed, stopped or damaged, and resumed: the result is that of one that was never stopped."""

import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dlexp import ExperimentConfig, resume_experiment, run_experiment
from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.resume import find_resume_point
from dlexp.checkpoints.search import checkpoint_files, find_superseded
from dlexp.commands.cli import main
from dlexp.errors import CheckpointError, ConfigError, DataError, StoreError
from dlexp.machine.lock import is_held
from dlexp.runs.run import Run
from dlexp.runs.store import iterate_runs, list_runs
from dlexp.tracking.mlflow.database import close_dead_runs, database_path, make_database
from tests.integration.soak import TRAININGS
from tests.support import killing
from tests.support.killing import (
    differences,
    finish,
    history,
    only_run,
    start_training,
    train,
    train_under_kills,
)
from tests.support.mlflow_store import client_of
from tests.support.waiting import wait_for

SHORT: dict[str, Any] = {
    "model": "small_cnn", "model_args": {"dropout": 0.3}, "augment": ("crop", "mixup"), "epochs": 3, "verbose": 0,
    "lr_schedule": "cosine", "save_every_steps": 4, "steps_per_execution": "1", "tensorboard": False,
}  # fmt: skip
STEPS_PER_EPOCH = 20


@pytest.fixture(scope="module", autouse=True)
def blank_figures() -> Iterator[None]:
    """Trainings in processes draw nothing: `make soak` kills them while they draw, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killing, "draws_figures", False)
        yield


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`SHORT`, never stopped."""
    return train(short(tmp_path_factory.mktemp("reference")))


def short(store: pathlib.Path, **values: Any) -> dict[str, Any]:
    return {**SHORT, **values, "store": str(store)}


@pytest.mark.parametrize("name", TRAININGS)
def test_run_that_is_killed_at_random_instants_is_equal_to_one_that_was_not(tmp_path: pathlib.Path, name: str) -> None:
    values = {**TRAININGS[name], "verbose": 0}
    undisturbed = train(values | {"store": str(tmp_path / "reference")})
    delays = np.random.default_rng(list(name.encode())).uniform(0, 3, 4).tolist()
    run = train_under_kills(values | {"store": str(tmp_path / "killed")}, delays=delays)
    assert differences(run, undisturbed) == []


@pytest.mark.parametrize(
    "instant", ["write:2", "write:5", "flush:16", "flush:21", "replace:12", "replace:15", "unlink:9"]
)
def test_kill_inside_a_save_loses_nothing(tmp_path: pathlib.Path, reference: Run, instant: str) -> None:
    values = short(tmp_path)
    assert finish(start_training(values, crash_at=instant)) == -signal.SIGKILL
    assert differences(train(values), reference) == []
    assert not [path for path in only_run(values).checkpoints_folder.iterdir() if path.name.startswith(".")]


def test_kill_between_the_best_and_the_last_of_the_last_epoch_leaves_a_last_of_the_end(
    tmp_path: pathlib.Path,
) -> None:
    values = short(tmp_path / "killed", save_every_steps=0, epochs=1)
    assert finish(start_training(values, crash_at="write:2")) == -signal.SIGKILL
    assert find_resume_point(only_run(values)).is_last is False
    undisturbed = train(values | {"store": str(tmp_path / "undisturbed")})
    assert differences(train(values), undisturbed) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signal_saves_within_a_step_and_leaves_with_75(
    tmp_path: pathlib.Path, reference: Run, number: signal.Signals
) -> None:
    values = short(tmp_path, save_every_steps=0)
    process = start_training(values)
    wait_for(lambda: any("epoch001" in path.name for run in iterate_runs(tmp_path) for path in checkpoint_files(run)))
    assert process.pid is not None
    os.kill(process.pid, number)
    assert finish(process) == 75
    assert only_run(values).record()["status"] == "KILLED"
    assert find_resume_point(only_run(values)).position.step >= STEPS_PER_EPOCH
    assert differences(train(values), reference) == []


def test_signal_in_every_phase_leaves_with_75_and_loses_nothing(tmp_path: pathlib.Path, reference: Run) -> None:
    values = short(tmp_path, save_every_steps=0)
    codes = []
    for delay in (0.0, 0.3, 0.6, 0.9, 1.2):
        process = start_training(values)
        wait_for(lambda: any(is_held(run.lock_path) for run in iterate_runs(tmp_path)))
        time.sleep(delay)
        process.terminate()
        codes.append(finish(process))
        if codes[-1] == 0:
            break
    assert set(codes) <= {75, 0}
    assert 75 in codes
    assert differences(train(values), reference) == []


def test_signal_before_there_is_a_run_loses_nothing(tmp_path: pathlib.Path, reference: Run) -> None:
    values = short(tmp_path)
    process = start_training(values)
    time.sleep(0.1)
    process.terminate()
    assert finish(process) in (75, -signal.SIGTERM)  # which one depends on whether it catches signals already
    assert differences(train(values), reference) == []


def test_second_signal_leaves_at_once(tmp_path: pathlib.Path, reference: Run) -> None:
    values = short(tmp_path)
    process = start_training(values)
    wait_for(lambda: any(map(checkpoint_files, iterate_runs(tmp_path))))
    process.terminate()
    process.terminate()
    assert finish(process) in (75, -signal.SIGTERM)
    assert differences(train(values), reference) == []


def test_resume_of_a_finished_run_changes_no_file(reference: Run) -> None:
    files = {path: path.read_bytes() for path in reference.path.rglob("*") if path.is_file()}
    result = resume_experiment(reference.path)
    assert result.weights_digest == reference.record()["weights_digest"]
    assert {path: path.read_bytes() for path in reference.path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.5},
        {"model": "mlp"},
        {"image_size": (4, 4)},
        {"batch_size": 3},
        {"micro_batch_size": 3},
        {"seed": 7},
        {"epochs": 1},
    ],
)
def test_resume_with_another_value_is_refused_with_the_difference(reference: Run, changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ConfigError, match=rf"{name}=.* \(the run has .*--init_checkpoint={reference.id[:8]}:best"):
        resume_experiment(reference.path, **changes)


def test_more_epochs_go_on_with_a_finished_run(tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(**short(tmp_path, lr_schedule="constant", epochs=1))
    run = run_experiment(config).run
    resume_experiment(run.path, epochs=2)
    whole = run_experiment(config.replace(epochs=2, store=str(tmp_path / "whole"))).run
    of_end = ("test_", "best")  # measured at the end of the first training, too
    trained = [point for point in history(run) if not point[0].startswith(of_end)]
    assert trained == [point for point in history(whole) if not point[0].startswith(of_end)]
    assert run.record()["weights_digest"] == whole.record()["weights_digest"]


def test_second_process_is_told_who_trains_the_run_and_a_third_need_not_wait(
    tmp_path: pathlib.Path, reference: Run
) -> None:
    values = short(tmp_path)
    first = start_training(values)
    wait_for(lambda: any(map(checkpoint_files, iterate_runs(tmp_path))))
    with pytest.raises(StoreError, match=rf"is being trained by process {first.pid} on "):
        resume_experiment(only_run(values).path)
    assert list_runs(tmp_path)["status"].tolist() == ["RUNNING"]
    first.kill()
    finish(first)
    assert list_runs(tmp_path)["status"].tolist() == ["KILLED"]
    assert differences(train(values), reference) == []


@pytest.fixture
def stopped(tmp_path: pathlib.Path) -> Run:
    """A run that was killed after its first epoch, with a best and a last checkpoint."""
    values = short(tmp_path)
    process = start_training(values)
    wait_for(lambda: any(len(checkpoint_files(run)) == 2 for run in iterate_runs(tmp_path)))
    process.kill()
    finish(process)
    return only_run(values)


@pytest.mark.parametrize("length", [0, 1, 0.5, -1])
def test_truncated_checkpoint_falls_back_to_the_other(
    stopped: Run, reference: Run, length: float, caplog: pytest.LogCaptureFixture
) -> None:
    last = next(path for path in checkpoint_files(stopped) if "__last__" in path.name)
    contents = last.read_bytes()
    last.write_bytes(contents[: int(len(contents) * length) if length == 0.5 else int(length)])
    point = find_resume_point(stopped)
    assert point.path is not None
    assert "__best__" in point.path.name
    assert caplog.text.count("is damaged: resuming from") == 1
    assert differences(train(short(stopped.path.parents[2])), reference) == []


def test_one_flipped_byte_is_always_detected(stopped: Run, caplog: pytest.LogCaptureFixture) -> None:
    path = next(path for path in checkpoint_files(stopped) if "__last__" in path.name)
    next(other for other in checkpoint_files(stopped) if other != path).unlink()
    contents = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(contents), 200).tolist():
        path.write_bytes(contents[:position] + bytes([contents[position] ^ 0x40]) + contents[position + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            find_resume_point(stopped)


def test_run_whose_data_has_changed_is_not_resumed(stopped: Run) -> None:
    stopped.update(dataset_id="0" * 16)
    with pytest.raises(DataError, match="started with dataset 0000000000000000, and the data is now dataset"):
        resume_experiment(stopped.path)


def test_disk_that_is_full_leaves_the_former_checkpoint(stopped: Run, reference: Run) -> None:
    before, values = find_resume_point(stopped), short(stopped.path.parents[2])
    limit = min(path.stat().st_size for path in checkpoint_files(stopped)) // 2
    assert finish(start_training(values, crash_at=f"limit:{limit}")) == 1
    assert stopped.record()["status"] == "FAILED"
    assert "cannot be written" in stopped.record()["error"]
    assert find_resume_point(stopped).position == before.position
    assert not [path for path in stopped.checkpoints_folder.iterdir() if path.name.startswith(".")]
    assert differences(train(values), reference) == []


def test_files_of_a_run_stay_bounded_over_many_saves(tmp_path: pathlib.Path) -> None:
    run = train(short(tmp_path, epochs=10, save_every_steps=1, model="mlp", model_args={"hidden_sizes": [8]}))
    assert [read_metadata(path)["kind"] for path in checkpoint_files(run)] == ["best", "last"]
    assert json.loads((run.path / "run.json").read_text())["status"] == "FINISHED"


def test_superseded_files_are_found_and_nothing_else(stopped: Run) -> None:
    store = stopped.path.parents[2]
    assert not {*find_superseded(store)} & {*checkpoint_files(stopped)}
    old = next(path for path in checkpoint_files(stopped) if "__last__" in path.name)
    train(short(store))
    newest = set(checkpoint_files(stopped))
    stray, foreign = old.with_name(".tmp-1234.keras"), old.with_name("mine__last__.keras")
    shutil.copy(next(path for path in newest if "__last__" in path.name), stray)
    foreign.write_bytes(b"not ours")
    assert find_superseded(store) == [stray]
    with stopped.hold():
        assert find_superseded(store) == []


def test_checkpoints_verify_exits_with_1_for_a_damaged_file(
    reference: Run, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "copy"
    shutil.copytree(reference.path.parents[2], store)
    assert main(["dlexp", "checkpoints", "--verify", f"--store={store}"]) == 0
    path = next(store.rglob("*__last__*.keras"))
    contents = path.read_bytes()
    path.write_bytes(contents[:1000] + bytes([contents[1000] ^ 1]) + contents[1001:])
    capsys.readouterr()
    assert main(["dlexp", "checkpoints", "--verify", "--format=json", f"--store={store}"]) == 1
    assert "are not those that were written" in capsys.readouterr().out


def test_checkpoints_prune_lists_what_it_removes(
    reference: Run, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "copy"
    shutil.copytree(reference.path.parents[2], store)
    before = set(store.rglob("*.keras"))
    leftover = next(store.rglob("checkpoints/*.keras")).with_name(".tmp-0123.keras")
    leftover.write_bytes(b"half a file")
    assert main(["dlexp", "checkpoints", "--prune", f"--store={store}"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(leftover)]
    assert "removed 1 superseded files" in err
    assert set(store.rglob("*.keras")) == before


def test_run_of_a_killed_process_is_closed_in_mlflow(stopped: Run) -> None:
    client = client_of(stopped.path.parents[2])
    assert client.get_run(stopped.id).info.status == "RUNNING"
    with stopped.hold():
        close_dead_runs(stopped.path.parents[2])
    assert client.get_run(stopped.id).info.status == "RUNNING"
    close_dead_runs(stopped.path.parents[2])
    assert client.get_run(stopped.id).info.status == "KILLED"


def test_database_that_could_not_be_finished_is_never_seen(tmp_path: pathlib.Path) -> None:
    process = start_training(short(tmp_path), crash_at="replace:1")
    assert finish(process) == -signal.SIGKILL
    assert not database_path(tmp_path).exists()
    make_database(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["mlflow.db", "mlflow.lock"]


def test_other_workers_and_cache_give_the_same_weights(stopped: Run, reference: Run) -> None:
    result = resume_experiment(stopped.path, num_workers=3, cache="memory")
    assert result.weights_digest == reference.record()["weights_digest"]
    assert history(stopped) == history(reference)
