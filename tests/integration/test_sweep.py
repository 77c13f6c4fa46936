"""`dlexp sweep` with real trainings and real kills."""

import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from dlexp.runs.run import Run
from dlexp.runs.store import find_run, iterate_runs
from dlexp.sweeps.folder import SweepFolder, TrialState, find_sweep
from tests.support.image_folders import write_digits_folder
from tests.support.waiting import wait_for

SPACE = "learning_rate=choice(0.001,0.003,0.01,0.03); model=choice(mlp,small_cnn); seed=range(3)"
TRIALS = 24


def start(folder: pathlib.Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dlexp.commands.cli", *words]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(folder: pathlib.Path, *words: str, expect: int = 0) -> str:
    process = start(folder, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == expect, (out, err)
    return out


def descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def are_gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def query(store: pathlib.Path, text: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(store / "mlflow.db") as connection:
        return connection.execute(text).fetchall()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, SweepFolder]:
    """A sweep whose driver was killed twice at random instants, and which was then resumed to its end."""
    folder, generator = tmp_path_factory.mktemp("killed"), random.Random(0)
    words = ["--dataset=digits", "--epochs=3", f"--space={SPACE}", "--sweep_name=kills", "--model_args={}"]
    commands = [["sweep", *words], ["sweep", "--resume=kills"]]
    for command in commands:
        _kill_driver(start(folder, *command), folder, seconds=generator.uniform(0.2, 2.0))
    run(folder, "sweep", "--resume=kills")
    return folder, find_sweep(folder / "mlruns", "kills")


def _kill_driver(process: "subprocess.Popen[str]", folder: pathlib.Path, *, seconds: float) -> None:
    """Kills a driver some time after it has recorded the end of a trial; its processes must end with it."""
    before = _count_ended(folder)
    wait_for(lambda: _count_ended(folder) > before or process.poll() is not None, seconds=120)
    time.sleep(seconds)
    children = descendants(process)
    assert process.poll() is None, process.communicate()
    assert len(children) >= 3  # the server, and two workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: are_gone(children))


def _count_ended(folder: pathlib.Path) -> int:
    try:
        return sum(trial.state.has_ended for trial in find_sweep(folder / "mlruns", "kills").trials())
    except LookupError:
        return 0


def test_every_trial_of_a_killed_sweep_is_finished_and_none_is_there_twice(
    killed: tuple[pathlib.Path, SweepFolder],
) -> None:
    folder, sweep = killed
    trials = sweep.trials()
    assert {trial.state for trial in trials} == {TrialState.FINISHED}
    assert len({tuple(trial.point.items()) for trial in trials}) == len(trials) == TRIALS
    runs = list(iterate_runs(folder / "mlruns"))
    assert sorted(run.record()["trial"] for run in runs) == list(range(TRIALS))
    assert {str(run.status()) for run in runs} == {"FINISHED"}


def test_mlflow_has_all_trials_of_a_killed_sweep_below_one_parent(killed: tuple[pathlib.Path, SweepFolder]) -> None:
    folder, sweep = killed
    store = folder / "mlruns"
    parents = query(store, "select value, count(*) from tags where key = 'mlflow.parentRunId' group by value")
    assert parents == [(sweep.record()["parent_run_id"], TRIALS)]
    assert query(store, "select status, count(*) from runs group by status") == [("FINISHED", TRIALS + 1)]
    points = "select run_uuid, key, step, count(*) from metrics group by 1, 2, 3 having count(*) > 1"
    assert query(store, points) == []


def test_mlflow_has_every_point_of_every_trial(killed: tuple[pathlib.Path, SweepFolder]) -> None:
    folder, _ = killed
    for trial in iterate_runs(folder / "mlruns"):
        (count,) = query(folder / "mlruns", f"select count(*) from metrics where run_uuid = '{trial.id}'")[0]
        assert count >= len(trial.points()) > 0


@pytest.mark.parametrize("number", [0, 5, TRIALS - 1])
def test_a_trial_is_repeated_by_hand_from_its_flags(killed: tuple[pathlib.Path, SweepFolder], number: int) -> None:
    folder, sweep = killed
    trial = sweep.run_of(sweep.trials()[number])
    out = run(folder, "train", f"--flagfile={trial.path}/run.flags", "--store=again", "--verbose=0")
    again = Run(pathlib.Path(out.splitlines()[-1]).parent.name, pathlib.Path(out.splitlines()[-1]))
    assert again.record()["weights_digest"] == trial.record()["weights_digest"]
    assert again.record()["metrics"] == trial.record()["metrics"]


def test_ctrl_c_lets_trials_save_and_a_resume_continues_them(tmp_path: pathlib.Path) -> None:
    process = start(
        tmp_path, "sweep", "--dataset=digits", "--epochs=400", "--space=seed=range(2)", "--sweep_name=stopped"
    )
    store = tmp_path / "mlruns"
    wait_for(lambda: len(list(store.glob("artifacts/*/artifacts/checkpoints/*__last__*"))) == 2, seconds=120)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "resume it with: dlexp sweep --resume=stopped" in err
    sweep = find_sweep(store, "stopped")
    assert {trial.state for trial in sweep.trials()} == {TrialState.WAITING}
    runs = [sweep.run_of(trial) for trial in sweep.trials()]
    before = [len(run.points()) for run in runs]
    assert {str(run.status()) for run in runs} == {"KILLED"}
    again = start(tmp_path, "sweep", "--resume=stopped")
    wait_for(lambda: all(len(run.points()) > count for run, count in zip(runs, before, strict=True)), seconds=120)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    steps = find_run(runs[0].id, store).points().query("key == 'loss'")["step"]
    assert steps.is_unique
    assert steps.is_monotonic_increasing


@pytest.mark.parametrize("word", ["--workers=1", "--fresh_process"])
def test_a_trial_that_is_killed_is_resumed_from_its_checkpoint(tmp_path: pathlib.Path, word: str) -> None:
    words = ["--dataset=digits", "--epochs=60", "--space=learning_rate=choice(0.001,0.01)", "--sweep_name=w", word]
    process = start(tmp_path, "sweep", *words)
    store = tmp_path / "mlruns"
    wait_for(lambda: any(store.glob("artifacts/*/artifacts/checkpoints/*__last__*")), seconds=120)
    victim = next(
        child for child in descendants(process) if any("run.lock" in opened.path for opened in child.open_files())
    )
    victim.kill()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "was ended by SIGKILL: it will be started again from its checkpoint" in err
    trials = find_sweep(store, "w").trials()
    assert sorted(trial.attempts for trial in trials) == [1, 2]
    assert {trial.state for trial in trials} == {TrialState.FINISHED}
    assert len(list(iterate_runs(store))) == 2
    assert "2 of 2 trials: 2 finished" in out


PLUGIN = """
import os, time
import keras, numpy as np
from dlexp import register_model

def register(name, act):
    @register_model(name)
    def build(input_shape, num_classes):
        act()
        return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])

def raise_error():
    raise RuntimeError("no such luck")

held = []
def allocate():
    held.append(np.ones(600_000_000))
    time.sleep(1000)

register("fine", lambda: None)
register("raises", raise_error)
register("aborts", os.abort)
register("hangs", lambda: time.sleep(1000))
register("greedy", allocate)
"""


def test_trials_that_fail_in_any_way_are_listed_with_their_reason_and_the_others_finish(tmp_path: pathlib.Path) -> None:
    (tmp_path / "models.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "runs.txt").write_text(
        "--model=raises\n--model=aborts\n--model=hangs\n--model=greedy\n"
        "--model=mlp --learning_rate=1e30  # diverges\n--model=fine\n--model=fine --seed=1\n",
        encoding="utf-8",
    )
    words = ["--plugins=models.py", "--runs_file=runs.txt", "--dataset=digits", "--epochs=2", "--sweep_name=f"]
    limits = ["--trial_time_limit=20s", "--trial_memory_limit=3GB", "--retries=1"]
    out = run(tmp_path, "sweep", *words, *limits)
    trials = {trial.number: trial for trial in find_sweep(tmp_path / "mlruns", "f").trials()}
    reasons = {number: trial.reason.splitlines()[0] for number, trial in trials.items() if trial.reason}
    assert reasons == {
        0: reasons[0],
        1: "its process was ended by SIGABRT, 2 times",
        2: "it took longer than 20 s, the limit of a trial",
        3: reasons[3],
        4: reasons[4],
    }
    assert "GB of memory, the limit is 3.00 GB" in reasons[3]
    assert "the loss is not finite" in reasons[4]
    assert reasons[0].startswith("model raises cannot be built")
    assert "RuntimeError: no such luck" in reasons[0]
    assert f"{tmp_path / 'models.py'}, line" in reasons[0]
    assert trials[5].state is trials[6].state is TrialState.FINISHED
    assert "2 finished, 5 failed" in out


def test_a_resume_keeps_as_many_checkpoints_as_the_sweep_was_begun_with(tmp_path: pathlib.Path) -> None:
    run(tmp_path, "sweep", "--dataset=digits", "--model=mlp", "--epochs=1", "--space=seed=range(4)", "--sweep_name=k",
        "--trials=2", "--keep_checkpoints=1")  # fmt: skip
    run(tmp_path, "sweep", "--resume=k", "--trials=4")
    kept = (tmp_path / "mlruns" / "artifacts").rglob("checkpoints/*.keras")
    assert len({path.parent for path in kept}) == 1


def test_a_sweep_whose_trials_all_fail_exits_with_1(tmp_path: pathlib.Path) -> None:
    words = ["--dataset=digits", "--epochs=1", "--space=learning_rate=choice(1e30,1e31)", "--sweep_name=f"]
    process = start(tmp_path, "sweep", *words)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "all 2 trials of sweep f have failed: the loss is not finite" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space=learning_rat=0.1"], "unknown"),
        (["--space=learning_rate=uniform(0.2,0.1)"], "0.2"),
        (["--space=learning_rate=log(0,0.1)"], "0"),
        (["--space=model=choice()"], "choice"),
        (["--space=model=choice(mlp,resnet2)"], "did you mean resnet"),
        (["--space=learning_rate=log(1e-4,1e-1)"], "learning_rate"),
        (["--space=learning_rate=log(1e-4,1e-1)", "--search=tpe"], "--trials=N"),
        (["--space=seed=range(3)", "--search=tp"], "did you mean tpe"),
        (["--space=seed=range(3)", "--pruner=half"], "did you mean halving"),
        (["--space=seed=range(3)", "--seeds=0"], "--seeds=0"),
        (["--space=seed=range(3)", "--seeds=2"], "leave one out"),
        (["--space=seed=range(3)", "--launcher=ray", "--gpus_per_trial=3"], "no node of the Ray cluster"),
        (["--space=seed=range(3)", "--time_budget=2"], "with a unit"),
        (["--space=seed=range(3)", "--keep_checkpoints=none"], "--keep_checkpoints=none"),
        (["--space=seed=range(3)", "--sweep_name=a/b"], "--sweep_name=a/b"),
        (["--space=seed=range(3)", "--objective=val_accuracy,val_accuracy"], "different ones"),
        ([], "needs one of --space"),
        (["--runs_file=missing.txt"], "cannot be read"),
        (["--status=missing"], "no sweep 'missing'"),
        (["--resume=missing"], "no sweep 'missing'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path: pathlib.Path, words: Sequence[str], message: str
) -> None:
    process = start(tmp_path, "sweep", "--dataset=digits", *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "mlruns").exists()


def test_trials_and_their_verification_keep_the_official_splits(tmp_path: pathlib.Path) -> None:
    for name in ("train", "val", "test"):
        write_digits_folder(tmp_path / "photos" / name, {"train": 90, "val": 30, "test": 40}[name])
    words = ("--dataset=folder:photos", "--model=mlp", "--epochs=1", "--batch_size=8", "--tensorboard=false")
    run(tmp_path, "sweep", *words, "--space=learning_rate=choice(0.001,0.01)", "--sweep_name=splits")
    trials = list(iterate_runs(str(tmp_path / "mlruns")))
    assert len(trials) == 2
    for trial in trials:
        counts = trial.manifest().groupby("split").size().to_dict()
        assert counts == {"train": 90, "validation": 30, "test": 40}
        assert "every byte was read" in run(tmp_path, "data", "verify", trial.id)
