"""`dlexp sweep --batch_size=auto`: one batch size is chosen for all trials, before anything is written."""

import pathlib
from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest

from dlexp.commands import sweep as module
from dlexp.commands.cli import main
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory import budget, choice
from dlexp.memory.budget import Budget
from dlexp.sweeps.folder import create_sweep, find_sweep
from dlexp.sweeps.launchers.choice import LauncherChoice
from dlexp.sweeps.plan import SweepPlan
from tests.support.found_batches import BUDGET
from tests.support.small_sweeps import ended, plan_of

CHOSEN = {"batch_size": 32, "micro_batch_size": 8}


class FakeSweep:
    """Chooses batch sizes without measurements, and drives no trial.

    Attributes:
        configs: what a batch size was chosen for; None if none was.
        budget: within which.
        plan: of the sweep that was begun; None if none was.
    """

    def __init__(self, store: pathlib.Path) -> None:
        self.store = store
        self.configs: list[ExperimentConfig] | None = None
        self.budget: Budget | None = None
        self.plan: SweepPlan | None = None

    def choose(self, configs: Iterable[ExperimentConfig], *, budget: Budget, report: Any) -> dict[str, int]:
        assert not list(self.store.glob("**/*"))
        self.configs, self.budget = list(configs), budget
        asked = self.configs[0].data
        return {name: value for name, value in CHOSEN.items() if getattr(asked, name) == -1}

    def drive(self, folder: Any, plan: SweepPlan, *_: Any, **__: Any) -> Any:
        self.plan = plan


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> FakeSweep:
    store = tmp_path / "store"
    fake = FakeSweep(store)
    monkeypatch.setattr(choice, "choose_batch_size", fake.choose)
    monkeypatch.setattr(budget, "find_budget", lambda: BUDGET)
    monkeypatch.setattr(module, "drive", fake.drive)
    monkeypatch.setattr(module, "conclude", lambda *_: 0)
    monkeypatch.setattr(LauncherChoice, "open", lambda self, runner: mock.Mock())
    monkeypatch.chdir(tmp_path)
    return fake


def call(*words: str) -> int:
    return main(["dlexp", "sweep", "--sweep_name=s", "--store=store", "--workers=2", *words])


@pytest.mark.parametrize("name", CHOSEN)
def test_auto_is_replaced_before_the_folder_of_the_sweep_is_made(fake: FakeSweep, name: str) -> None:
    assert call(f"--{name}=auto", "--space=model=choice(mlp,resnet20); seed=range(3)") == 0
    assert fake.configs is not None
    assert [config.model.model for config in fake.configs] == ["mlp", "resnet20"]
    assert fake.plan is not None
    assert {config.flat()[name] for config in fake.plan.candidates.corner_configs()} == {CHOSEN[name]}
    assert find_sweep(fake.store, "s").record()["plan"]["base"][name] == CHOSEN[name]


def test_auto_is_replaced_in_the_lines_of_a_runs_file(fake: FakeSweep, tmp_path: pathlib.Path) -> None:
    (tmp_path / "runs.txt").write_text("--model=mlp\n--model=resnet20\n--model=vit_tiny --batch_size=4\n")
    assert call("--batch_size=auto", "--runs_file=runs.txt", "--allow_batch_size_change") == 0
    assert fake.configs is not None
    assert [config.model.model for config in fake.configs] == ["mlp", "resnet20"]
    assert fake.plan is not None
    assert [config.data.batch_size for config in fake.plan.candidates.corner_configs()] == [32, 32, 4]


def test_micro_batch_is_chosen_for_every_batch_size_of_a_space(fake: FakeSweep) -> None:
    assert call("--micro_batch_size=auto", "--space=batch_size=choice(256,64)", "--allow_batch_size_change") == 0
    assert fake.configs is not None
    assert [config.data.batch_size for config in fake.configs] == [256, 64]


def test_trials_at_once_share_the_memory(fake: FakeSweep) -> None:
    assert call("--batch_size=auto", "--space=seed=range(3)") == 0
    assert fake.budget is not None
    assert fake.budget.total_bytes == BUDGET.total_bytes // 2


def test_trial_on_a_gpu_has_all_its_memory(fake: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Budget(device="gpu:0", total_bytes=2**34, margin=0.1, origin="the memory of gpu:0")
    monkeypatch.setattr(budget, "find_budget", lambda: whole)
    assert call("--batch_size=auto", "--space=seed=range(3)") == 0
    assert fake.budget == whole


def test_nothing_is_chosen_for_a_batch_size_that_is_given(fake: FakeSweep) -> None:
    assert call("--batch_size=16", "--space=seed=range(3)") == 0
    assert fake.configs is None
    assert fake.plan is not None
    assert fake.plan.base.data.batch_size == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size=auto", "--launcher=ray"], "batch_size=auto measures on this machine"),
        (["--space=batch_size=choice(auto,64)"], "auto is one batch size for all trials of a sweep"),
        (["--space=", "--runs_file=runs.txt"], "auto is one batch size for all trials of a sweep"),
    ],
)
def test_auto_that_cannot_be_chosen_is_refused_before_anything_is_written(
    fake: FakeSweep,
    words: list[str],
    message: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "runs.txt").write_text("--seed=1\n--batch_size=auto\n")
    assert call("--space=seed=range(3)", *words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert fake.configs is None
    assert not fake.store.exists()


def finished_sweep(store: pathlib.Path) -> None:
    """A sweep named tuned, with three learning rates; the largest is the best."""
    plan = plan_of(store, "learning_rate=choice(0.001,0.01,0.1)")
    folder = create_sweep(store, "tuned", plan.to_dict())
    for number, rate in enumerate((0.001, 0.01, 0.1)):
        folder.write_trial(ended(number, 0.5 + rate, point={"learning_rate": rate}, seed=2))


def test_confirmation_trains_the_best_points_with_fresh_seeds(fake: FakeSweep) -> None:
    finished_sweep(fake.store)
    assert main(["dlexp", "sweep", "--store=store", "--workers=2", "--confirm=tuned", "--confirm_top=2"]) == 0
    assert fake.plan is not None
    assert (fake.plan.name, fake.plan.seeds) == ("tuned-confirmed", 5)
    configs = [config for point in fake.plan.grid() for config in fake.plan.configs(point)]
    assert [config.optimization.learning_rate for config in configs] == [0.1] * 5 + [0.01] * 5
    assert [config.seed for config in configs] == [3, 4, 5, 6, 7] * 2


def test_confirmation_keeps_the_settings_of_the_sweep_but_for_those_that_are_given(fake: FakeSweep) -> None:
    finished_sweep(fake.store)
    words = ["--store=store", "--workers=2", "--confirm=latest", "--epochs=7", "--seeds=3", "--sweep_name=again"]
    assert main(["dlexp", "sweep", *words]) == 0
    assert fake.plan is not None
    assert (fake.plan.name, fake.plan.seeds) == ("again", 3)
    assert (fake.plan.base.optimization.epochs, fake.plan.base.tracking.tensorboard) == (7, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--confirm=tuned", "--space=seed=range(3)"], "--space cannot be used with --confirm=tuned"),
        (["--confirm=tuned", "--confirm_top=0"], "--confirm_top=0 must be 1 or more"),
        (["--confirm=other"], "no sweep 'other'"),
    ],
)
def test_confirmation_that_cannot_be_is_refused(
    fake: FakeSweep, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_sweep(fake.store)
    assert main(["dlexp", "sweep", "--store=store", *words]) == 2
    assert message in capsys.readouterr().err
    assert fake.plan is None
