"""The trials of a sweep while it is driven: what there is, what waits, and which are equal."""

import dataclasses
from collections.abc import Mapping

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Run, SweepTrial
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.plan import Point, SweepPlan
from dlexp.sweeps.ranking import group_by_point, mean_values


class TrialQueue:
    """Keeps the trials of a sweep, and writes each to the sweep's folder when it changes.

    Args:
        folder: of the sweep, with the trials of former drivers.
        plan: what the sweep is.

    Attributes:
        trials: by number.
    """

    def __init__(self, folder: SweepFolder, plan: SweepPlan) -> None:
        self._folder, self._plan = folder, plan
        self._parent_run_id = folder.record().get("parent_run_id", "")
        self._digests: dict[int, str] = {}
        self._first_of_config: dict[str, int] = {}
        self.trials = {trial.number: trial for trial in folder.trials()}
        for trial in self.trials.values():
            self._first_of_config.setdefault(self._digest_of(trial), trial.number)

    def write(self, trial: Trial) -> None:
        """Takes a trial as it is now, on disk first."""
        self._folder.write_trial(trial)
        self.trials[trial.number] = trial

    def run_of(self, trial: Trial) -> Run:
        """The run of a trial, whether it has begun or not."""
        return self._folder.run_of(trial)

    def identity_of(self, trial: Trial) -> SweepTrial:
        """What the run of a trial is told of its sweep."""
        return SweepTrial(self._folder.name, trial.number, self.run_of(trial).id, self._parent_run_id)

    def config_of(self, trial: Trial) -> ExperimentConfig:
        """The config of a trial."""
        return self._plan.candidates.config(trial.point).replace(seed=trial.seed)

    def points(self) -> dict[int, list[Trial]]:
        """The trials of each point, by its number; those of one differ in their seeds."""
        return group_by_point(self.trials.values())

    def add_trials(self, point_number: int, point: Point) -> list[Trial]:
        """Adds the trials of a point that it lacks: all, or those that a killed driver did not come to."""
        known = {trial.seed for trial in self.points().get(point_number, ())}
        added = []
        for config in self._plan.configs(point):
            if config.seed not in known:
                added.append(Trial(len(self.trials), point_number, point, config.seed))
                self.write(added[-1])
        return added

    def next_waiting(self) -> Trial | None:
        """The first trial that waits for a slot, and for no other trial."""
        for trial in self.trials.values():
            if trial.state is TrialState.WAITING:
                twin, leader = self.equal_trial(trial), self.leader_of(trial)
                if all(other is None or other.state.has_ended for other in (twin, leader)):
                    return trial
        return None

    def equal_trial(self, trial: Trial) -> Trial | None:
        """An earlier trial of the same config, unless it has failed."""
        number = self._first_of_config.setdefault(self._digest_of(trial), trial.number)
        twin = self.trials[number]
        return None if number >= trial.number or twin.state is TrialState.FAILED else twin

    def leader_of(self, trial: Trial) -> Trial | None:
        """With a pruner, the first trial of the point, which is compared with others for all of its seeds."""
        if self._plan.pruner == "none":
            return None
        first = self.points()[trial.point_number][0]
        return first if first.number != trial.number else None

    def without_a_run(self, trial: Trial) -> Trial | None:
        """How a trial ends that need not be run: as the equal one did, or given up with the first of its point."""
        twin, leader = self.equal_trial(trial), self.leader_of(trial)
        if twin is not None:
            shared = f"equal to trial {twin.number}, whose run it shares"
            own = {name: getattr(trial, name) for name in ("number", "point_number", "attempts", "seconds")}
            return dataclasses.replace(twin, **own, reused_from=twin.number, reason=shared)
        if leader is not None and leader.state is TrialState.PRUNED:
            given_up = f"not run, as trial {leader.number} of the same point was given up"
            return dataclasses.replace(trial, state=TrialState.PRUNED, reason=given_up)
        return None

    def values_of_point(self, number: int) -> Mapping[str, float] | None:
        """Means over the seeds of a point; of one that was given up, what it had reached; None if there is neither."""
        trials = self.points()[number]
        pruned = [trial for trial in trials if trial.state is TrialState.PRUNED and trial.values]
        return mean_values(trials, self._plan) or (pruned[0].values if pruned else None)

    def _digest_of(self, trial: Trial) -> str:
        if trial.number not in self._digests:
            self._digests[trial.number] = self.config_of(trial).digest()
        return self._digests[trial.number]
