"""The queue of trials while a sweep is driven: all trials, the next waiting one, and which have equal configs."""

import dataclasses
from collections.abc import Mapping

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Run, SweepTrial
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.plan import Point, SweepPlan
from dlexp.sweeps.ranking import group_by_point, mean_values


class TrialQueue:
    """Keeps the trials of a sweep, and writes each one to the folder of the sweep when it changes.

    Args:
        folder: folder of the sweep, which may hold trials of earlier starts.
        plan: the plan of the sweep.

    Attributes:
        trials: all trials by number.
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
        """Stores a changed trial, first on disk."""
        self._folder.write_trial(trial)
        self.trials[trial.number] = trial

    def run_of(self, trial: Trial) -> Run:
        """Returns the run of a trial, whether it has begun or not."""
        return self._folder.run_of(trial)

    def identity_of(self, trial: Trial) -> SweepTrial:
        """Returns what the run of a trial records about its sweep."""
        return SweepTrial(self._folder.name, trial.number, self.run_of(trial).id, self._parent_run_id)

    def config_of(self, trial: Trial) -> ExperimentConfig:
        """Returns the config of a trial."""
        return self._plan.candidates.config(trial.point).replace(seed=trial.seed)

    def points(self) -> dict[int, list[Trial]]:
        """Groups the trials by the number of their point; the trials of a point differ in their seeds."""
        return group_by_point(self.trials.values())

    def add_trials(self, point_number: int, point: Point) -> list[Trial]:
        """Adds the missing trials of a point: all of them, or the rest if the previous driver was killed meanwhile."""
        known = {trial.seed for trial in self.points().get(point_number, ())}
        added = []
        for config in self._plan.configs(point):
            if config.seed not in known:
                added.append(Trial(len(self.trials), point_number, point, config.seed))
                self.write(added[-1])
        return added

    def next_waiting(self) -> Trial | None:
        """Returns the first waiting trial that need not wait for another trial to end."""
        for trial in self.trials.values():
            if trial.state is TrialState.WAITING:
                twin, leader = self.equal_trial(trial), self.leader_of(trial)
                if all(needed is None or needed.state.has_ended for needed in (twin, leader)):
                    return trial
        return None

    def equal_trial(self, trial: Trial) -> Trial | None:
        """Returns an earlier trial with the same config, unless that trial failed."""
        number = self._first_of_config.setdefault(self._digest_of(trial), trial.number)
        twin = self.trials[number]
        return None if number >= trial.number or twin.state is TrialState.FAILED else twin

    def leader_of(self, trial: Trial) -> Trial | None:
        """With a pruner, returns the first trial of the point: it is judged for all seeds of the point."""
        if self._plan.pruner == "none":
            return None
        first = self.points()[trial.point_number][0]
        return first if first.number != trial.number else None

    def without_a_run(self, trial: Trial) -> Trial | None:
        """Returns how a trial ends that need not run: like an equal trial, or pruned like the first of its point."""
        twin, leader = self.equal_trial(trial), self.leader_of(trial)
        if twin is not None:
            shared = f"equal to trial {twin.number}, whose run it shares"
            own = {name: getattr(trial, name) for name in ("number", "point_number", "attempts", "seconds")}
            return dataclasses.replace(twin, **own, reused_from=twin.number, reason=shared)
        if leader is not None and leader.state is TrialState.PRUNED:
            reason = f"not run, as trial {leader.number} of the same point was pruned"
            return dataclasses.replace(trial, state=TrialState.PRUNED, reason=reason)
        return None

    def values_of_point(self, number: int) -> Mapping[str, float] | None:
        """Returns the means over the seeds of a point; for a pruned point, the values it had reached; else None."""
        trials = self.points()[number]
        pruned = [trial for trial in trials if trial.state is TrialState.PRUNED and trial.values]
        return mean_values(trials, self._plan) or (pruned[0].values if pruned else None)

    def _digest_of(self, trial: Trial) -> str:
        if trial.number not in self._digests:
            self._digests[trial.number] = self.config_of(trial).digest()
        return self._digests[trial.number]
