"""Judges the trials of a sweep again by other objectives, from the records of their runs: nothing is trained again."""

import dataclasses
from collections.abc import Iterator

from dlexp.errors import ConfigError
from dlexp.runs.run import RECORD_FILE, Status
from dlexp.runs.store import describe_run
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.objective import values_of_run
from dlexp.sweeps.plan import SweepPlan

_STATES = {Status.FINISHED: TrialState.FINISHED, Status.PRUNED: TrialState.PRUNED}


def judge_again(folder: SweepFolder, plan: SweepPlan) -> Iterator[Trial]:
    """Yields the trials that change because they were judged by other objectives than those of the plan.

    A trial that failed only because its run lacked the previous objective is finished now.

    Raises:
        ConfigError: a finished run has no value for an objective of the plan.
    """
    names = {objective.name for objective in plan.objectives}
    for trial in folder.trials():
        if not trial.state.has_ended or names <= trial.values.keys():
            continue
        run = folder.run_of(trial)
        state = _STATES.get(run.status()) if (run.path / RECORD_FILE).is_file() else None
        if state is None:
            continue
        try:
            values = values_of_run(describe_run(run), plan.objectives)
        except ConfigError as err:
            if trial.state is TrialState.FINISHED:
                raise ConfigError(f"trial {trial.number} of sweep {plan.name} cannot be judged again: {err}") from err
            values = {}
        if trial.state is not TrialState.FAILED or values:
            reason = "" if trial.state is TrialState.FAILED else trial.reason
            yield dataclasses.replace(trial, state=state, values=values, reason=reason)
