"""A sweep in MLflow: a run of its own with its table and pictures, and the runs of its trials below it.

The trials themselves write their folders alone. The driver copies each to MLflow when it has ended, by one thread: so
many trials at once never wait for each other's database locks, and none pays for importing and opening MLflow.
"""

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import mlflow

from dlexp.errors import one_line
from dlexp.runs.run import RECORD_FILE, Run
from dlexp.sweeps.driver import SweepDriver
from dlexp.sweeps.folder import TABLE_FILE, SweepFolder, Trial, TrialState
from dlexp.sweeps.pictures import draw_pictures
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import rank_points
from dlexp.tracking.mlflow.connection import connect, find_or_create_experiment, will_pass
from dlexp.tracking.mlflow.runs import param_text
from dlexp.tracking.mlflow.tracker import MlflowTracker
from dlexp.tracking.sync import copy_to_mlflow
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
        self._has_told = False
        try:
            self._client = connect(plan.base.tracking)
            self._parent = self._find_or_make_parent()
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
            self._put(lambda: self._copy_if_missing(run))

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
                self._put(lambda run=run: self._copy(run, registers_best=True))
        self._put(lambda: self._close_parent(trials, status))
        if self._queue is not None:
            try:
                self._queue.close()
            except Exception as err:  # noqa: BLE001
                self._tell(err)

    def _find_or_make_parent(self) -> str:
        known = self._folder.record().get("parent_run_id")
        if known:
            with contextlib.suppress(mlflow.MlflowException):
                self._client.get_run(known)
                self._client.update_run(known, status="RUNNING")
                return str(known)
        tracking = self._plan.base.tracking
        tags = {"dlexp.sweep": self._folder.name} | {key: str(value) for key, value in tracking.tags.items()}
        run = self._client.create_run(
            find_or_create_experiment(self._client, tracking), tags=tags, run_name=self._folder.name
        )
        parent = str(run.info.run_id)
        self._folder.update(parent_run_id=parent)
        for name, value in _params(self._plan).items():
            self._client.log_param(parent, name, param_text(value))
        return parent

    def _copy_if_missing(self, run: Run) -> None:
        """Copies one run, if it has begun, unless MLflow has it below this parent."""
        record = run.record() if (run.path / RECORD_FILE).is_file() else {}
        if record and (record.get("unsynced") or record.get("parent_run_id") != self._parent):
            self._copy(run, registers_best=False)

    def _copy(self, run: Run, *, registers_best: bool) -> None:
        """Copies one run; where that cannot be done, the others go on."""
        try:
            record = run.record()
            if record.get("parent_run_id") != self._parent:
                unsynced = dict.fromkeys([*record.get("unsynced", []), MlflowTracker.name])
                run.update(parent_run_id=self._parent, unsynced=list(unsynced))
            copy_to_mlflow(run, registers_best=registers_best)
        except Exception as err:
            if _will_pass(err):
                raise
            self._tell(err, f"run {run.id[:8]}, ")

    def _close_parent(self, trials: Sequence[Trial], status: str) -> None:
        client, parent = self._client, self._parent
        for path in [self._folder.path / TABLE_FILE, *draw_pictures(self._folder, self._plan, trials)]:
            client.log_artifact(parent, str(path))
        for state in TrialState:
            count = sum(trial.state is state for trial in trials)
            client.log_metric(parent, f"trials_{state.lower()}", count)
        ranked = rank_points(trials, self._plan)
        if ranked:
            best = ranked[0]
            for name, value in best.values.items():
                client.log_metric(parent, f"best_{name}", value)
            client.set_tag(parent, "dlexp.best_trial", best.trials[0].number)
            client.set_tag(parent, "dlexp.best_run_id", self._folder.run_of(best.trials[0]).id)
            client.set_tag(parent, "dlexp.best_point", self._plan.candidates.label(best.trials[0].point))
        client.set_terminated(parent, status)

    def _put(self, write: Any) -> None:
        if self._queue is None:
            return
        try:
            self._queue.raise_failed()
        except Exception as err:  # noqa: BLE001
            self._tell(err)
            self._queue = None
            return
        self._queue.put(write)

    def _tell(self, err: Exception, what: str = "") -> None:
        """Warns of the first thing that failed; when a database is lost, every further copy fails as well."""
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "MLflow does not have all of this sweep (%s%s: %s); its runs are complete in their folders: "
                "dlexp sync copies them later", what, type(err).__name__, one_line(err),
            )  # fmt: skip


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
