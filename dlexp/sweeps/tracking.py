"""Copies a sweep to MLflow: a parent run with the table and pictures, and the runs of the trials as its children.

Trials only write to their run folders. When a trial has ended, one thread of the driver copies it to MLflow. So trials
that run in parallel never wait for each other's database locks, and do not spend time on importing and opening MLflow.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from dlexp.errors import one_line
from dlexp.runs.run import RECORD_FILE, Run
from dlexp.sweeps.driver import SweepDriver
from dlexp.sweeps.folder import TABLE_FILE, SweepFolder, Trial, TrialState
from dlexp.sweeps.pictures import draw_pictures
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import rank_points
from dlexp.tracking.mlflow.connection import will_pass
from dlexp.tracking.mlflow.sweep_run import SweepRun
from dlexp.tracking.mlflow.tracker import MlflowTracker
from dlexp.tracking.sync import copy_trial
from dlexp.tracking.write_queue import WriteQueue

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 60.0


class SweepTracking:
    """Copies a sweep to MLflow; an observer of the driver. Only the first failure is printed; `dlexp sync` repairs all.

    Args:
        folder: folder of the sweep.
        plan: the plan of the sweep.
    """

    def __init__(self, folder: SweepFolder, plan: SweepPlan) -> None:
        self._folder, self._plan = folder, plan
        self._queue: WriteQueue | None = None
        self._parent: SweepRun | None = None
        self._has_warned = False
        try:
            self._parent = _open_parent(folder, plan)
        except Exception as err:  # noqa: BLE001
            # sqlalchemy, alembic, requests and MLflow raise separate classes without a common base.
            self._warn(err)
            return
        self._queue = WriteQueue(_will_pass, grace_s=_GRACE_SECONDS)
        for trial in folder.trials():
            self.changed(trial)

    def changed(self, trial: Trial) -> None:
        """Queues the copy of a trial that has ended, unless MLflow already has it."""
        if trial.state.has_ended and trial.reused_from is None:
            run = self._folder.run_of(trial)
            self._put(lambda parent: self._copy_if_missing(run, parent))

    def refresh(self, driver: SweepDriver) -> None:
        """Does nothing: this observer shows nothing."""

    def finish(self, trials: Sequence[Trial], *, status: str) -> None:
        """Writes the table, the pictures and the best point, and closes the parent run after everything is copied.

        The best checkpoints of the best point become LoggedModels; `dlexp sync RUN` does the same for another trial.

        Args:
            trials: all trials of the sweep.
            status: status of the sweep: `FINISHED`, `FAILED` or `KILLED`.
        """
        for point in rank_points(trials, self._plan)[:1]:
            for trial in point.trials:
                run = self._folder.run_of(trial)
                self._put(lambda parent, run=run: self._copy(run, parent, registers_best=True))
        self._put(lambda parent: self._close(parent, trials, status))
        if self._queue is not None:
            try:
                self._queue.close()
            except Exception as err:  # noqa: BLE001
                self._warn(err)

    def _copy_if_missing(self, run: Run, parent: SweepRun) -> None:
        """Copies one run, if it has begun, unless MLflow already has it as a child of this parent."""
        record = run.record() if (run.path / RECORD_FILE).is_file() else {}
        if record and (record.get("unsynced") or record.get("parent_run_id") != parent.id):
            self._copy(run, parent, registers_best=False)

    def _copy(self, run: Run, parent: SweepRun, *, registers_best: bool) -> None:
        """Copies one run; a failure does not stop the other copies."""
        try:
            record = run.record()
            if record.get("parent_run_id") != parent.id:
                unsynced = dict.fromkeys([*record.get("unsynced", []), MlflowTracker.name])
                run.update(parent_run_id=parent.id, unsynced=list(unsynced))
            copy_trial(run, registers_best=registers_best)
        except Exception as err:
            if _will_pass(err):
                raise
            self._warn(err, f"run {run.id[:8]}, ")

    def _close(self, parent: SweepRun, trials: Sequence[Trial], status: str) -> None:
        metrics: dict[str, float] = {
            f"trials_{state.lower()}": sum(trial.state is state for trial in trials) for state in TrialState
        }
        tags: dict[str, Any] = {}
        for best in rank_points(trials, self._plan)[:1]:
            metrics |= {f"best_{name}": value for name, value in best.values.items()}
            tags["dlexp.best_trial"] = best.trials[0].number
            tags["dlexp.best_run_id"] = self._folder.run_of(best.trials[0]).id
            tags["dlexp.best_point"] = self._plan.candidates.label(best.trials[0].point)
        files = [self._folder.path / TABLE_FILE, *draw_pictures(self._folder, self._plan, trials)]
        parent.write_results(files=files, metrics=metrics, tags=tags)
        parent.close(status)

    def _put(self, write: Callable[..., object]) -> None:
        """Queues a write, which gets the parent run as its argument; does nothing if there is no parent run."""
        queue, parent = self._queue, self._parent
        if queue is None or parent is None:
            return
        try:
            queue.raise_failed()
        except Exception as err:  # noqa: BLE001
            self._warn(err)
            self._queue = None
            return
        queue.put(lambda: write(parent))

    def _warn(self, err: Exception, what: str = "") -> None:
        """Warns of the first failure only: when a database is lost, every further copy fails as well."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "MLflow does not have all of this sweep (%s%s: %s); its runs are complete in their folders: "
                "dlexp sync copies them later", what, type(err).__name__, one_line(err),
            )  # fmt: skip


def _open_parent(folder: SweepFolder, plan: SweepPlan) -> SweepRun:
    """Opens the parent run, which a resumed sweep keeps; its ID is recorded before anything else can fail."""
    known = folder.record().get("parent_run_id")
    parent = SweepRun.open(plan.base.tracking, name=folder.name, known=known)
    if parent.id != known:
        folder.update(parent_run_id=parent.id)
        parent.write_params(_params(plan))
    return parent


def _will_pass(err: Exception) -> bool:
    """Whether another try may help; a library's error is the `__cause__` of a dlexp error."""
    return will_pass(err.__cause__ if isinstance(err.__cause__, Exception) else err)


def _params(plan: SweepPlan) -> dict[str, Any]:
    stored = plan.to_dict()
    own = {name: stored[name] for name in ("search", "num_points", "seeds", "objectives", "pruner", "search_seed")}
    return own | {
        "space": stored["candidates"]["text"],
        "model": plan.base.model.model,
        "dataset": plan.base.data.dataset,
    }
