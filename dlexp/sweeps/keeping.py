"""Which trials keep their checkpoints: the best so many; those of the others go when they have ended."""

from typing import TYPE_CHECKING

from dlexp.checkpoints.search import checkpoint_files
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.objective import Objective

if TYPE_CHECKING:
    from dlexp.sweeps.driver import SweepDriver


class CheckpointKeeper:
    """Removes the checkpoints of trials that are not among the best; an observer of the driver.

    Args:
        folder: of the sweep.
        objective: by which trials are ranked.
        keep: how many trials keep theirs.
    """

    def __init__(self, folder: SweepFolder, objective: Objective, keep: int) -> None:
        self._folder, self._objective, self._keep = folder, objective, keep
        self._kept: list[Trial] = []
        for trial in folder.trials():
            self.changed(trial)

    def changed(self, trial: Trial) -> None:
        """Ranks a trial that has ended, and removes what falls off the end."""
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
        """Nothing is shown."""

    def _remove(self, trial: Trial) -> None:
        run = self._folder.run_of(trial)
        if run.checkpoints_folder.is_dir():  # a trial may fail before it has a run
            for path in checkpoint_files(run):
                path.unlink(missing_ok=True)
