"""A sweep in MLflow: a run of its own with its table and pictures, and the runs of its trials below it.

The trials themselves write their folders alone. The driver copies each to MLflow when it has ended, by one thread: so
many trials at once never wait for each other's database locks, and none pays for importing and opening MLflow.
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
    """Copies a sweep to MLflow; an observer of the driver. What fails is told once, and `dlexp sync` fills it in.

    Args:
        folder: of the sweep.
        plan: what it is.
    """

    def __init__(self, folder: SweepFolder, plan: SweepPlan) -> None:
        self._folder, self._plan = folder, plan
        self._queue: WriteQueue | None = None
        self._parent: SweepRun | None = None
        self._has_told = False
        try:
            self._parent = _open_parent(folder, plan)
        except Exception as err:  # noqa: BLE001
            # sqlalchemy, alembic, requests and MLflow raise classes of their own, with no base in common.
            self._tell(err)
            return
        self._queue = WriteQueue(_will_pass, grace_s=_GRACE_SECONDS)
        for trial in folder.trials():
            self.changed(trial)

    def changed(self, trial: Trial) -> None:
        """Queues the run of a trial that has ended, unless MLflow has it."""
        if trial.state.has_ended and trial.reused_from is None:
            run = self._folder.run_of(trial)
            self._put(lambda parent: self._copy_if_missing(run, parent))

    def refresh(self, driver: SweepDriver) -> None:
        """Nothing is shown."""

    def finish(self, trials: Sequence[Trial], *, status: str) -> None:
        """Writes the table, the pictures and the best point, and closes the sweep's run when all is copied.

        The best checkpoints of the best point become LoggedModels; `dlexp sync RUN` makes those of other trials ones.

        Args:
            trials: all there are.
            status: `FINISHED`, `FAILED` or `KILLED`, of the sweep.
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
                self._tell(err)

    def _copy_if_missing(self, run: Run, parent: SweepRun) -> None:
        """Copies one run, if it has begun, unless MLflow has it below this parent."""
        record = run.record() if (run.path / RECORD_FILE).is_file() else {}
        if record and (record.get("unsynced") or record.get("parent_run_id") != parent.id):
            self._copy(run, parent, registers_best=False)

    def _copy(self, run: Run, parent: SweepRun, *, registers_best: bool) -> None:
        """Copies one run; where that cannot be done, the others go on."""
        try:
            record = run.record()
            if record.get("parent_run_id") != parent.id:
                unsynced = dict.fromkeys([*record.get("unsynced", []), MlflowTracker.name])
                run.update(parent_run_id=parent.id, unsynced=list(unsynced))
            copy_trial(run, registers_best=registers_best)
        except Exception as err:
            if _will_pass(err):
                raise
            self._tell(err, f"run {run.id[:8]}, ")

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
        """Queues a write to the sweep's run, which it is given; nothing if there is none."""
        queue, parent = self._queue, self._parent
        if queue is None or parent is None:
            return
        try:
            queue.raise_failed()
        except Exception as err:  # noqa: BLE001
            self._tell(err)
            self._queue = None
            return
        queue.put(lambda: write(parent))

    def _tell(self, err: Exception, what: str = "") -> None:
        """Warns of the first thing that failed; when a database is lost, every further copy fails as well."""
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "MLflow does not have all of this sweep (%s%s: %s); its runs are complete in their folders: "
                "dlexp sync copies them later", what, type(err).__name__, one_line(err),
            )  # fmt: skip


def _open_parent(folder: SweepFolder, plan: SweepPlan) -> SweepRun:
    """The run of the sweep, which a resumed sweep keeps; its ID is in the record before anything else can fail."""
    known = folder.record().get("parent_run_id")
    parent = SweepRun.open(plan.base.tracking, name=folder.name, known=known)
    if parent.id != known:
        folder.update(parent_run_id=parent.id)
        parent.write_params(_params(plan))
    return parent


def _will_pass(err: Exception) -> bool:
    """Whether another try may help; the error of a library is the cause of ours."""
    return will_pass(err.__cause__ if isinstance(err.__cause__, Exception) else err)


def _params(plan: SweepPlan) -> dict[str, Any]:
    stored = plan.to_dict()
    own = {name: stored[name] for name in ("search", "num_points", "seeds", "objectives", "pruner", "search_seed")}
    return own | {
        "space": stored["candidates"]["text"],
        "model": plan.base.model.model,
        "dataset": plan.base.data.dataset,
    }
