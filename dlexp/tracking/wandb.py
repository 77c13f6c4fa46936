"""Weights & Biases: params, points, pictures, histograms and the metrics of the best model; offline without a key."""

import hashlib
import itertools
import json
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from dlexp.config.sections import TrackingConfig
from dlexp.errors import ConfigError, StoreError, joined_lines, missing_package, one_line
from dlexp.registry import register_tracker
from dlexp.runs.points import Point
from dlexp.runs.run import Status
from dlexp.tracking.base import BestModel, RunDescription, Tracker

FOLDER = "wandb"
STEP = "global_step"
_JOURNAL = "media.jsonl"
_BINS = 30
_START_TIMEOUT_S = 20
_FINISH_TIMEOUT_S = 60
_MOST_TAG_CHARS, _MOST_PROJECT_CHARS = 64, 128
_NOT_IN_A_PROJECT = re.compile(r"[/\\#?%:]")
# A URI may contain a password, and W&B is a third party.
_NOT_FOR_OTHERS = {"tracking_uri"}

_log = logging.getLogger(__name__)


@register_tracker("wandb")
class WandbTracker(Tracker):
    """Copies a run to W&B, or to `wandb/` of the run folder, which `wandb sync` uploads later.

    The mode is that of WANDB_MODE or of W&B's settings. Without either it is `online` if there is an API key
    (WANDB_API_KEY, or from `wandb login`), and otherwise `offline`. The tracker never asks for a key. If the server
    does not answer, the run is written offline.

    W&B has its own step counter, which restarts in every offline run. Every row therefore contains `global_step`, the
    step of the optimizer, which is the x axis of all charts.

    W&B cannot resume an offline run. A resume therefore writes a new one with all points, pictures and histograms, and
    removes the previous one. An online run is resumed, and gets what is newer than the last step on the server.

    Console output, command line, code, packages and machine are not recorded: the run folder has them in
    `environment/`. Weights are not uploaded.

    Args:
        tracking: experiment and tags.

    Raises:
        ConfigError: the package is not installed, or the user's settings of W&B cannot work.
    """

    name = "W&B"

    def __init__(self, tracking: TrackingConfig) -> None:
        self._tracking = tracking
        self._wandb = _import_wandb()
        self._mode = _choose_mode(self._wandb)
        self._run: Any = None
        self._folder: pathlib.Path | None = None

    def start(self, description: RunDescription) -> None:
        """Opens the run, with config and tags."""
        self._folder = description.run.path / FOLDER
        settings = {
            "root_dir": str(description.run.path),
            "run_id": description.run.id,
            "run_name": description.name,
            "project": _NOT_IN_A_PROJECT.sub("-", self._tracking.experiment)[:_MOST_PROJECT_CHARS],
            "run_tags": _tags(self._tracking.tags),
        }
        params = {key: value for key, value in description.params().items() if key not in _NOT_FOR_OTHERS}
        self._run = self._open(settings, params)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Resumes an online run; writes an offline run again and removes the previous one."""
        folder = description.run.path / FOLDER
        previous = list(folder.glob(f"offline-run-*-{description.run.id}*"))
        self.start(description)
        last, known = -1, set[str]()
        if self._run.resumed:
            last, known = self._run.summary.get(STEP, -1), set(self._run.summary.keys())
        self.log_points([point for point in points if point.step > last or point.key not in known])
        for entry in _read_journal(folder / _JOURNAL):
            if entry["step"] > last or entry["key"] not in known:
                self._log_again(entry, previous)
        for old in previous:
            shutil.rmtree(old)

    def log_points(self, points: Sequence[Point]) -> None:
        """Writes one row per step, with the time of the measurement."""
        for step, of_step in itertools.groupby(points, key=lambda point: point.step):
            row = list(of_step)
            moment = datetime.fromisoformat(row[-1].time).timestamp()
            self._log_row(step, {point.key: point.value for point in row} | {"_timestamp": moment})

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        """Copies a picture."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._log_row(step, {key: self._wandb.Image(str(path))})
        self._keep_in_journal([{"key": key, "step": step, "sha256": digest}])

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:
        """Copies histograms of the finite values, with 30 bins."""
        bins = {}
        for name, array in values.items():
            numbers = array.astype(np.float64)
            if (finite := numbers[np.isfinite(numbers)]).size:
                bins[name] = np.histogram(finite, bins=_BINS)
        if not bins:
            return
        self._log_row(step, {name: self._wandb.Histogram(np_histogram=histogram) for name, histogram in bins.items()})
        self._keep_in_journal(
            {"key": name, "step": step, "counts": counts.tolist(), "edges": edges.tolist()}
            for name, (counts, edges) in bins.items()
        )

    def log_best(self, best: BestModel) -> None:
        """Writes epoch, step, metrics, file name and digest of the best model to the summary."""
        self._require_run().summary["best"] = {
            **best.metrics,
            "epoch": best.epoch,
            "step": best.step,
            "checkpoint": best.checkpoint.name,
            "weights_digest": best.weights_digest,
        }

    def finish(self, status: Status) -> None:
        """Waits up to a minute until everything is written; what the server did not get stays in the run folder."""
        if self._run is None:
            return
        run, self._run = self._run, None
        run.summary["status"] = str(status)
        run.finish(exit_code=0 if status in (Status.FINISHED, Status.PRUNED) else 1)
        self._end_service()

    def _open(self, settings: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        try:
            return self._initialize(self._mode, settings, params)
        except self._wandb.errors.CommError as err:
            _log.warning(
                "W&B cannot be reached (%s): the run is written offline; upload it later with wandb sync",
                one_line(err),
            )
            self._end_service()  # otherwise it refuses the same run ID
            return self._initialize("offline", settings, params)

    def _initialize(self, mode: str, settings: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        # In a notebook the user may have an open run: create_new leaves it and `wandb.run` unchanged.
        return self._wandb.init(
            config=dict(params),
            settings=self._wandb.Settings(
                **settings,
                mode=mode,
                reinit="create_new",
                resume="allow" if mode in ("online", "run") else None,
                init_timeout=_START_TIMEOUT_S,
                finish_timeout=_FINISH_TIMEOUT_S,
                console="off",
                silent=True,
                symlink=False,
                use_dot_wandb=False,
                save_code=False,
                disable_code=True,
                disable_git=True,
                label_disable=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def _end_service(self) -> None:
        """Ends W&B's service, which completes the file of an offline run, unless an open run of the user needs it."""
        if self._wandb.setup().most_recent_active_run is None:
            self._wandb.teardown()

    def _log_row(self, step: int, values: Mapping[str, Any]) -> None:
        self._require_run().log({STEP: step, **values})

    def _keep_in_journal(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Keeps what a resume cannot read from the run folder; an offline run cannot be read back."""
        if self._folder is not None and self._require_run().offline:
            with (self._folder / _JOURNAL).open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(entry) + "\n" for entry in entries))

    def _log_again(self, entry: Mapping[str, Any], previous: Sequence[pathlib.Path]) -> None:
        key, step = entry["key"], entry["step"]
        if "counts" in entry:
            bins = np.array(entry["counts"]), np.array(entry["edges"])
            self._log_row(step, {key: self._wandb.Histogram(np_histogram=bins)})
            return
        # The file names of W&B's copies end with the first digits of the digest.
        copies = [path for old in previous for path in old.rglob(f"*_{entry['sha256'][:20]}.png")]
        if copies:
            self._log_row(step, {key: self._wandb.Image(str(copies[0]))})

    def _require_run(self) -> Any:
        if self._run is None:
            raise StoreError("the W&B run is not open: call start() first")
        return self._run


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as err:
        raise missing_package("--wandb", "wandb>=0.31", extra="wandb") from err
    return wandb


def _choose_mode(wandb: Any) -> str:
    """Returns the mode that the user set, otherwise online if there is a key. Uses no prompt and no network."""
    from wandb.sdk.lib import wbauth

    try:
        settings = wandb.setup().settings
        mode = os.environ.get("WANDB_MODE") or settings.mode
        if mode not in ("online", "run"):
            return mode
        key = wbauth.authenticate_session(
            host=settings.base_url, source="dlexp", prompt=False, update_session=False
        )  # fmt: skip
    except (wandb.errors.Error, ValueError) as err:
        raise ConfigError(
            f"W&B cannot be used ({joined_lines(err)}): correct its settings, or set WANDB_MODE=offline"
        ) from err
    if key is not None:
        return "online"
    if os.environ.get("WANDB_MODE"):
        raise ConfigError(f"WANDB_MODE={mode} needs a key: run wandb login, set WANDB_API_KEY, or unset WANDB_MODE")
    return "offline"


def _tags(tags: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{key}={value}"[:_MOST_TAG_CHARS] for key, value in tags.items()))


def _read_journal(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Reads the entries of a journal; removes an incomplete last line, which a killed process may leave."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]), encoding="utf-8")
    yield from (json.loads(line) for line in lines if line.endswith("\n"))
