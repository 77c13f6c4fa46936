"""Sweeps for tests: small plans, trials that have ended, and sweeps driven by a scripted launcher."""

import pathlib
from collections.abc import Sequence
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.sweeps.driver import Observer, SweepDriver, SweepLimits
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState, create_sweep, find_sweep
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space
from tests.support.scripted_launcher import Script, ScriptedLauncher, finish

GRID = "learning_rate=choice(0.001,0.01,0.1); weight_decay=choice(0,0.1)"


def base_of(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    return ExperimentConfig.of(**{"store": str(store), "epochs": 2, "tensorboard": False} | values)


def plan_of(store: pathlib.Path, space: str = GRID, *, epochs: int = 2, **values: Any) -> SweepPlan:
    return SweepPlan(name="s", candidates=Space.parse(space, base_of(store, epochs=epochs)), **values)


def commands_plan(store: pathlib.Path, *points: dict[str, Any], **values: Any) -> SweepPlan:
    return SweepPlan(name="s", candidates=Commands(base_of(store), list(points)), **values)


def begin(plan: SweepPlan) -> SweepFolder:
    """The folder of the sweep; made if it is not there."""
    store = plan.base.tracking.store
    try:
        return find_sweep(store, plan.name)
    except LookupError:
        return create_sweep(store, plan.name, plan.to_dict())


def drive(
    plan: SweepPlan, script: Script = finish, *, slots: int = 2, observers: Sequence[Observer] = (), **limits: Any
) -> tuple[SweepFolder, list[Trial], ScriptedLauncher]:
    """Begins or resumes the sweep, and drives it to its end."""
    folder, launcher = begin(plan), ScriptedLauncher(script, slots=slots)
    SweepDriver(folder, plan, SweepLimits(**limits), launcher, observers).run()
    return folder, folder.trials(), launcher


def ended(number: int, accuracy: float | None = None, **values: Any) -> Trial:
    """A trial that has finished with that accuracy; failed without one. Each has its own point unless given one."""
    state = TrialState.FAILED if accuracy is None else TrialState.FINISHED
    given: dict[str, Any] = {"state": state, "point_number": number, "point": {}, "seed": 0, "attempts": 1}
    if accuracy is not None:
        given["values"] = {"val_accuracy": accuracy}
    return Trial(number=number, **given | values)
