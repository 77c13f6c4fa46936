"""A run on disk: its folder, its record and its lock, with JSON and pandas only.

A run folder holds all information about one training run; trackers such as MLflow get copies of it. With the default
store it is `<store>/artifacts/<run_id>/artifacts`, which is also where MLflow looks for the run's artifacts.
"""

import contextlib
import dataclasses
import enum
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import StoreError
from dlexp.machine.atomic import write_text_atomically
from dlexp.machine.json_files import read_json, write_json
from dlexp.machine.lock import hold_lock, is_held
from dlexp.machine.timestamps import now
from dlexp.runs.points import Point, PointLog, read_points

if TYPE_CHECKING:
    import pandas as pd

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


class Status(enum.StrEnum):
    """Status of a run."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    DIVERGED = "DIVERGED"
    PRUNED = "PRUNED"


@dataclass(frozen=True)
class SweepTrial:
    """The trial of a sweep that a run belongs to; its fields are stored in the record of the run.

    Attributes:
        sweep: name of the sweep.
        trial: number of the trial, counted from 0.
        run_id: ID of the run, chosen before it begins, so that a trial never has two runs.
        parent_run_id: ID of the MLflow run of the sweep; empty if there is none.
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
        """Returns the fields for the record of the run, without the ID of the run."""
        return {"sweep": self.sweep, "trial": self.trial, "parent_run_id": self.parent_run_id}


@dataclass(frozen=True)
class Run:
    """A run, given by its folder.

    Attributes:
        id: 32 hex digits, the same in MLflow.
        path: absolute path of the run folder.
    """

    id: str
    path: pathlib.Path

    @property
    def checkpoints_folder(self) -> pathlib.Path:
        """Folder of the run's checkpoints."""
        return self.path / CHECKPOINTS_FOLDER

    @property
    def lock_path(self) -> pathlib.Path:
        """Lock file, held by the process that trains the run; outside the folder that MLflow shows as artifacts."""
        return self.path.parent / "run.lock"

    def config(self) -> ExperimentConfig:
        """Reads the config that the run was started with."""
        return ExperimentConfig.from_json((self.path / CONFIG_FILE).read_text(encoding="utf-8"))

    def config_values(self) -> dict[str, Any]:
        """Reads the fields of the config as they were recorded, which takes less time than `config`."""
        return read_json(self.path / CONFIG_FILE)

    def record(self) -> dict[str, Any]:
        """Reads `run.json`: name, status, times, dataset, best epoch, results."""
        return read_json(self.path / RECORD_FILE)

    def update(self, **values: Any) -> None:
        """Changes fields of `run.json` atomically."""
        write_json(self.path / RECORD_FILE, self.record() | values)

    def cautions(self) -> dict[str, str]:
        """Returns why the run must be used with caution: a sentence by name, see `caution`."""
        return dict(self.record().get("cautions", {}))

    def caution(self, name: str, text: str | None) -> None:
        """Notes in `run.json` why the run must be used with caution, or removes the note.

        Args:
            name: the reason in a few words, for lists and tags.
            text: the reason in a sentence, for reports; None removes it.
        """
        cautions = self.cautions()
        changed = {key: value for key, value in (cautions | {name: text}).items() if value is not None}
        if changed != cautions:
            self.update(cautions=changed, caution="; ".join(changed))

    def status(self) -> Status:
        """Returns the status; KILLED if the run is marked as running but no process holds its lock."""
        return self._status(self.record())

    def _status(self, record: Mapping[str, Any]) -> Status:
        status = Status(record["status"])
        return Status.KILLED if status == Status.RUNNING and not is_held(self.lock_path) else status

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock of the run during the block, and records process and host in `run.json`.

        Raises:
            StoreError: another process trains the run.
        """
        with hold_lock(self.lock_path, self._describe_holder):
            self.update(holder={"pid": os.getpid(), "host": socket.gethostname()})
            yield

    def _describe_holder(self) -> str:
        holder = self.record().get("holder", {})
        return (
            f"run {self.id[:8]} is being trained by process {holder.get('pid', '?')} on "
            f"{holder.get('host', '?')}: wait until that process has ended, or stop it"
        )

    def manifest(self) -> "pd.DataFrame":
        """Reads the manifest of the dataset, as recorded by the run.

        Raises:
            StoreError: the run has no manifest.
        """
        path = self.path / MANIFEST_FILE
        if not path.is_file():
            raise StoreError(
                f"run {self.id[:8]} has no {MANIFEST_FILE}, so its data cannot be compared: choose another run"
            )
        import pandas as pd

        return pd.read_parquet(path)

    def point_log(self) -> PointLog:
        """Opens `metrics.jsonl` for appending."""
        return PointLog(self.path / POINTS_FILE)

    def points(self) -> "pd.DataFrame":
        """Reads all points as a table with the columns key, step, epoch, value, time, in the order of writing."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(Point)]
        return pd.DataFrame(read_points(self.path / POINTS_FILE), columns=columns)


def artifacts_root(store: str | pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds the store's run folders."""
    return pathlib.Path(store).resolve() / "artifacts"


def run_folder(store: str | pathlib.Path, run_id: str) -> pathlib.Path:
    """Returns the path of a run's folder, which may not exist."""
    return artifacts_root(store) / run_id / "artifacts"


def create_run(store: str | pathlib.Path, run_id: str, *, name: str, config: ExperimentConfig, **record: Any) -> Run:
    """Creates a run folder with its config and a record with status RUNNING.

    Args:
        store: folder of the store.
        run_id: 32 hex digits.
        name: name of the run in tables.
        config: written to `config.json`.
        record: additional fields of `run.json`.

    Raises:
        StoreError: the folder cannot be written.
    """
    run = Run(run_id, run_folder(store, run_id))
    fields = {"run_id": run_id, "name": name, "status": Status.RUNNING, "started": now()} | record
    try:
        run.checkpoints_folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(run.path / CONFIG_FILE, config.to_json())
        write_json(run.path / RECORD_FILE, fields)
    except OSError as err:
        raise StoreError(
            f"run folder {str(run.path)!r} cannot be written: {err.strerror}: choose another --store"
        ) from err
    return run
