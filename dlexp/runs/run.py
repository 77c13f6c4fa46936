"""Run folders: made, listed and found, with JSON and pandas alone.

A run folder holds all there is to know of one training; trackers such as MLflow are copies of it. With the default
store it lies at `<store>/artifacts/<run_id>/artifacts`, which is also where MLflow looks for the run's artifacts.
"""

import contextlib
import dataclasses
import datetime
import enum
import json
import os
import pathlib
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dlexp.commands.tables import select_rows
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import RunNotFoundError, StoreError
from dlexp.machine.atomic import write_text_atomically
from dlexp.machine.lock import hold_lock, is_held
from dlexp.runs.points import Point, PointLog, read_points

CONFIG_FILE = "config.json"
FLAGS_FILE = "run.flags"
RECORD_FILE = "run.json"
POINTS_FILE = "metrics.jsonl"
MANIFEST_FILE = "dataset/manifest.parquet"
RECIPE_FILE = "dataset/recipe.json"
DESCRIPTION_FILE = "dataset/description.json"
FACTS_FILE = "facts.json"
LEFT_OUT_FILE = "dataset/left_out.csv"
CHECKPOINTS_FOLDER = "checkpoints"
_ID_PATTERN = re.compile(r"[0-9a-f]{32}")
_MIN_PREFIX = 4


class Status(enum.StrEnum):
    """What became of a run."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    DIVERGED = "DIVERGED"
    PRUNED = "PRUNED"


@dataclass(frozen=True)
class SweepTrial:
    """Which trial of a sweep a run is; its fields stand in the record of the run.

    Attributes:
        sweep: name of the sweep.
        trial: number of the trial, from 0 on.
        run_id: of the run, known before it begins, so that a trial never has two.
        parent_run_id: the sweep's own run in MLflow; empty if there is none.
    """

    sweep: str
    trial: int
    run_id: str
    parent_run_id: str = ""

    @property
    def name(self) -> str:
        """Name of the run: `first-0042`."""
        return f"{self.sweep}-{self.trial:04d}"

    def record(self) -> dict[str, Any]:
        """What the record of the run says of it, beside the ID of the run."""
        return {"sweep": self.sweep, "trial": self.trial, "parent_run_id": self.parent_run_id}


@dataclass(frozen=True)
class Run:
    """One run by its folder.

    Attributes:
        id: 32 hex digits, the same in MLflow.
        path: absolute path of the run folder.
    """

    id: str
    path: pathlib.Path

    @property
    def checkpoints_folder(self) -> pathlib.Path:
        """Where the run's checkpoints are."""
        return self.path / CHECKPOINTS_FOLDER

    @property
    def lock_path(self) -> pathlib.Path:
        """Held by the process that trains the run; beside the run folder, which MLflow shows as artifacts."""
        return self.path.parent / "run.lock"

    def config(self) -> ExperimentConfig:
        """The config that the run was started with."""
        return ExperimentConfig.from_json((self.path / CONFIG_FILE).read_text(encoding="utf-8"))

    def record(self) -> dict[str, Any]:
        """What `run.json` says: name, status, times, dataset, best epoch, results."""
        return dict(json.loads((self.path / RECORD_FILE).read_text(encoding="utf-8")))

    def update(self, **values: Any) -> None:
        """Changes fields of `run.json`, all or none."""
        write_text_atomically(self.path / RECORD_FILE, json.dumps(self.record() | values, indent=2) + "\n")

    def status(self) -> Status:
        """What became of the run: KILLED if it is said to be running, and nobody holds its lock."""
        return self._status(self.record())

    def _status(self, record: Mapping[str, Any]) -> Status:
        status = Status(record["status"])
        return Status.KILLED if status == Status.RUNNING and not is_held(self.lock_path) else status

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock of the run while the block lasts, and notes in its record who does.

        Raises:
            StoreError: another process trains the run.
        """
        with hold_lock(self.lock_path, self._tell_holder):
            self.update(holder={"pid": os.getpid(), "host": socket.gethostname()})
            yield

    def _tell_holder(self) -> str:
        holder = self.record().get("holder", {})
        return (
            f"run {self.id[:8]} is being trained by process {holder.get('pid', '?')} on "
            f"{holder.get('host', '?')}: wait until that has ended, or stop it"
        )

    def point_log(self) -> PointLog:
        """Writes `metrics.jsonl`."""
        return PointLog(self.path / POINTS_FILE)

    def points(self) -> pd.DataFrame:
        """All points as a table with the columns key, step, epoch, value, time, in the order they were written."""
        columns = [field.name for field in dataclasses.fields(Point)]
        return pd.DataFrame(read_points(self.path / POINTS_FILE), columns=columns)


def now() -> str:
    """The time as ISO 8601 in UTC with milliseconds: `2026-11-23T20:15:00.123Z`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def artifacts_root(store: str | pathlib.Path) -> pathlib.Path:
    """The folder that holds the store's run folders."""
    return pathlib.Path(store).resolve() / "artifacts"


def run_folder(store: str | pathlib.Path, run_id: str) -> pathlib.Path:
    """The path of a run's folder, whether it exists or not."""
    return artifacts_root(store) / run_id / "artifacts"


def create_run(store: str | pathlib.Path, run_id: str, *, name: str, config: ExperimentConfig, **record: Any) -> Run:
    """Makes a run folder with its config and a RUNNING record.

    Args:
        store: folder of the store.
        run_id: 32 hex digits.
        name: name of the run in tables.
        config: written to `config.json`.
        record: further fields of `run.json`.

    Raises:
        StoreError: the folder cannot be written.
    """
    run = Run(run_id, run_folder(store, run_id))
    fields = {"run_id": run_id, "name": name, "status": Status.RUNNING, "started": now()} | record
    try:
        run.checkpoints_folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(run.path / CONFIG_FILE, config.to_json())
        write_text_atomically(run.path / RECORD_FILE, json.dumps(fields, indent=2) + "\n")
    except OSError as err:
        raise StoreError(
            f"run folder {str(run.path)!r} cannot be written: {err.strerror}: choose another --store"
        ) from err
    return run


def check_store(store: str | pathlib.Path) -> None:
    """Raises StoreError if runs cannot be written to `store`; makes nothing.

    An old MLflow file store in the same folder does no harm, as it is neither read nor written.
    """
    path = pathlib.Path(store).resolve()
    existing = next(parent for parent in (path, *path.parents) if _is_seen(parent))
    if not existing.is_dir():
        raise StoreError(f"store {str(store)!r} cannot be used: {str(existing)!r} is a file: choose another --store")
    if not _is_writable(existing):
        raise StoreError(
            f"store {str(store)!r} cannot be written: no permission in {str(existing)!r}: choose another --store"
        )


def _is_seen(path: pathlib.Path) -> bool:
    """Whether a path exists, as far as this user may look."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_writable(folder: pathlib.Path) -> bool:
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def iterate_runs(store: str | pathlib.Path) -> Iterator[Run]:
    """All runs of a store, in no order; folders that hold no run record are passed over."""
    root = artifacts_root(store)
    if not root.is_dir():
        return
    for folder in root.iterdir():
        run = Run(folder.name, folder / "artifacts")
        if _ID_PATTERN.fullmatch(folder.name) and (run.path / RECORD_FILE).is_file():
            yield run


def list_runs(store: str | pathlib.Path = "mlruns", *, where: str = "", sort_by: str = "-started") -> pd.DataFrame:
    """The runs of a store as a table, one row a run.

    Args:
        store: folder of the store.
        where: a pandas query over the columns, such as `"test_accuracy > 0.9 and model == 'resnet20'"`.
        sort_by: a column; with `-` in front the largest come first.

    Returns:
        Columns run_id, name, status, started, ended, path, dataset_id, best_epoch, every config field, and every
        metric by its name: `val_*` of the best epoch, `test_*` of the best checkpoint.

    Raises:
        ConfigError: the query or the column is wrong.
    """
    table = pd.DataFrame([describe_run(run) for run in iterate_runs(store)])
    if table.empty:
        return table
    return select_rows(table, where=where, sort_by=sort_by)


def describe_run(run: Run) -> dict[str, Any]:
    """One row of `list_runs`: record, config and metrics of a run, flat."""
    record = run.record()
    record["status"] = str(run._status(record))
    metrics: Mapping[str, float] = record.pop("metrics", {})
    record.pop("holder", None)
    config = json.loads((run.path / CONFIG_FILE).read_text(encoding="utf-8"))
    # The record comes last: it has the names that the config may leave empty.
    return {"run_id": run.id, "path": str(run.path), **config, **metrics, **record}


def find_run(reference: str | pathlib.Path, store: str | pathlib.Path = "mlruns") -> Run:
    """The run that a RUN reference means: an ID or a prefix of it (4 or more digits), a name, a folder, or `latest`.

    Raises:
        RunNotFoundError: none or several match.
    """
    path = pathlib.Path(reference)
    if (path / RECORD_FILE).is_file():
        return Run(json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))["run_id"], path.resolve())
    reference = str(reference)
    runs = list(iterate_runs(store))
    if not runs:
        raise RunNotFoundError(
            f"no run {reference!r}: store {str(store)!r} holds no runs: train one, or give its --store"
        )
    matches = _match(reference, runs)
    if not matches:
        raise RunNotFoundError(f"no run {reference!r} in store {str(store)!r}: list the runs with dlexp runs")
    if len(matches) > 1:
        ids = ", ".join(sorted(run.id[:8] for run in matches)[:5])
        raise RunNotFoundError(f"{reference!r} means {len(matches)} runs ({ids}): give a longer run ID")
    return matches[0]


def _match(reference: str, runs: list[Run]) -> list[Run]:
    if reference == "latest":
        return [max(runs, key=lambda run: run.record()["started"])]
    if len(reference) >= _MIN_PREFIX:
        by_id = [run for run in runs if run.id.startswith(reference)]
        if by_id:
            return by_id
    return [run for run in runs if run.record()["name"] == reference]
