"""Keeps the checkpoints of the best trials, and removes those of the others when they end."""

from typing import TYPE_CHECKING

from dlexp.checkpoints.search import checkpoint_files
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.objective import Objective

if TYPE_CHECKING:
    from dlexp.sweeps.driver import SweepDriver


class CheckpointKeeper:
    """Removes the checkpoints of trials that are not among the best; an observer of the driver.

    Args:
        folder: folder of the sweep.
        objective: ranks the trials.
        keep: how many trials keep their checkpoints.
    """

    def __init__(self, folder: SweepFolder, objective: Objective, keep: int) -> None:
        self._folder, self._objective, self._keep = folder, objective, keep
        self._kept: list[Trial] = []
        for trial in folder.trials():
            self.changed(trial)

    def changed(self, trial: Trial) -> None:
        """Ranks a trial that has ended, and removes the checkpoints of those that are no longer among the best."""
        if not trial.state.has_ended or trial.reused_from is not None:
            return
        others = [kept for kept in self._kept if kept.number != trial.number]
        if trial.state is not TrialState.FINISHED:
            self._kept = others
            self._remove(trial)
            return
        ranked = sorted([*others, trial], key=lambda ended: self._objective.cost(ended.values[self._objective.name]))
        self._kept = ranked[: self._keep]
        for surplus in ranked[self._keep :]:
            self._remove(surplus)

    def refresh(self, driver: "SweepDriver") -> None:
        """Does nothing: this observer shows nothing."""

    def _remove(self, trial: Trial) -> None:
        run = self._folder.run_of(trial)
        if run.checkpoints_folder.is_dir():  # a trial may fail before it has a run
            for path in checkpoint_files(run):
                path.unlink(missing_ok=True)
