"""The folder of a sweep: its plan, and one file per trial. Its files are complete: a killed driver loses nothing.

<store>/sweeps/<name>/   sweep.json  trials/00007.json  logs/00007.log  trials.csv  pictures
"""

import contextlib
import dataclasses
import datetime
import enum
import functools
import hashlib
import pathlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlexp.errors import ConfigError, RunNotFoundError, StoreError
from dlexp.machine.atomic import atomic_file
from dlexp.machine.json_files import read_json, write_json
from dlexp.machine.lock import hold_lock, is_held
from dlexp.machine.timestamps import now
from dlexp.runs.run import Run, run_folder

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("trial", "state", "seed")
_LAST = ("run_id", "attempts", "epochs", "seconds", "started", "ended", "reused_from", "reason")

SWEEPS_FOLDER = "sweeps"
TABLE_FILE = "trials.csv"
LATEST = "latest"
_SWEEP_FILE = "sweep.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TrialState(enum.StrEnum):
    """State of a trial."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"

    @property
    def has_ended(self) -> bool:
        """Whether the trial has a result or has failed, and will not run again by itself."""
        return self in (TrialState.FINISHED, TrialState.PRUNED, TrialState.FAILED)


@dataclass(frozen=True)
class Trial:
    """One trial, as stored in its file.

    Attributes:
        number: counted from 0.
        point_number: number of its point; trials of the same point differ only in their seed.
        point: values by parameter name.
        seed: seed of its config.
        state: current state.
        attempts: how often it was started.
        reason: why it failed or was pruned, and the last lines of its log.
        values: values of the objectives; for a pruned trial, those it had reached.
        reused_from: number of an earlier trial with the same config, whose run this trial shares.
        started: time of the first attempt.
        ended: time of the end.
        seconds: total time of its attempts.
        epochs: number of trained epochs.
    """

    number: int
    point_number: int
    point: Mapping[str, Any]
    seed: int
    state: TrialState = TrialState.WAITING
    attempts: int = 0
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    reused_from: int | None = None
    started: str = ""
    ended: str = ""
    seconds: float = 0.0
    epochs: int = 0


@dataclass(frozen=True)
class SweepFolder:
    """A sweep by its folder.

    Attributes:
        path: absolute.
    """

    path: pathlib.Path

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return self.path.name

    @property
    def store(self) -> pathlib.Path:
        """The store that its runs are in."""
        return self.path.parents[1]

    def record(self) -> dict[str, Any]:
        """What `sweep.json` says."""
        return read_json(self.path / _SWEEP_FILE)

    def update(self, **values: Any) -> None:
        """Changes fields of `sweep.json` atomically."""
        write_json(self.path / _SWEEP_FILE, self.record() | values)

    def trials(self) -> list[Trial]:
        """Reads all trials, ordered by number."""
        found = map(_read_trial, (self.path / "trials").glob("[0-9]*.json"))
        return sorted(found, key=lambda trial: trial.number)

    def write_trial(self, trial: Trial) -> None:
        """Writes the file of a trial atomically."""
        write_json(self.path / "trials" / f"{trial.number:05d}.json", dataclasses.asdict(trial))

    def log_path(self, trial: int) -> pathlib.Path:
        """Returns the path of the file that a trial prints to."""
        return self.path / "logs" / f"{trial:05d}.log"

    @functools.cached_property
    def _id(self) -> str:
        """The ID of the sweep, 32 hex digits that never change; the run IDs of its trials are derived from it."""
        return str(self.record()["sweep_id"])

    def run_of(self, trial: Trial) -> Run:
        """Returns the run of a trial, whether it has begun or not; for a reused trial, the run that it shares."""
        number = trial.number if trial.reused_from is None else trial.reused_from
        run_id = trial_run_id(self._id, number)
        return Run(run_id, run_folder(self.store, run_id))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock of the sweep inside the block: one driver at a time.

        Raises:
            StoreError: another process is running the sweep.
        """
        refusal = (
            f"sweep {self.name} is being run by another process: look at it with "
            f"dlexp sweep --status={self.name}, or stop that process"
        )
        with hold_lock(self._lock_path, lambda: refusal):
            yield

    def is_driven(self) -> bool:
        """Whether a process is running the sweep now."""
        return is_held(self._lock_path)

    @property
    def _lock_path(self) -> pathlib.Path:
        return self.path / "sweep.lock"


def trial_run_id(sweep_id: str, trial: int) -> str:
    """Returns the run ID of a trial, 32 hex digits: fixed before its run begins, so that a trial never has two runs."""
    return hashlib.blake2b(f"{sweep_id}/{trial}".encode(), digest_size=16).hexdigest()


def check_new_name(store: str | pathlib.Path, name: str) -> None:
    """Raises ConfigError if a name is not valid for a sweep, or if a sweep of that name exists."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--sweep_name={name} cannot name a folder: use letters, digits, '.', '_' and '-', at most 100 of them"
        )
    if name == LATEST:
        raise ConfigError(
            f"--sweep_name={name} cannot name a sweep: --resume={name} means the newest one; choose another name"
        )
    if (_sweeps_folder(store) / name / _SWEEP_FILE).exists():
        raise ConfigError(f"sweep {name} already exists: continue it with --resume={name}, or choose another name")


def create_sweep(store: str | pathlib.Path, name: str, plan: Mapping[str, Any]) -> SweepFolder:
    """Creates the folder of a new sweep.

    Args:
        store: folder of the store.
        name: name of the sweep; if empty, made from the time.
        plan: the plan of the sweep, as JSON values.

    Raises:
        ConfigError: the name is not valid, or a sweep of that name exists.
        StoreError: the folder cannot be written.
    """
    name = name or default_name()
    check_new_name(store, name)
    folder = SweepFolder(_sweeps_folder(store) / name)
    record = {"sweep_id": uuid.uuid4().hex, "created": now(), "plan": dict(plan)}
    try:
        for subfolder in ("trials", "logs"):
            (folder.path / subfolder).mkdir(parents=True, exist_ok=True)
        write_json(folder.path / _SWEEP_FILE, record)
    except OSError as err:
        raise StoreError(
            f"sweep folder {str(folder.path)!r} cannot be written: {err.strerror}: choose another --store"
        ) from err
    return folder


def default_name() -> str:
    """Returns a name made from the current time: `sweep-20261126-013000`."""
    return f"sweep-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def find_sweep(store: str | pathlib.Path, name: str) -> SweepFolder:
    """Finds a sweep by its name; `latest` is the newest one.

    Raises:
        RunNotFoundError: no sweep has that name; the message lists the existing ones.
    """
    root = _sweeps_folder(store)
    known = {path.parent.name: SweepFolder(path.parent) for path in root.glob(f"*/{_SWEEP_FILE}")}
    if name == LATEST and known:
        return max(known.values(), key=lambda folder: str(folder.record()["created"]))
    if name not in known:
        raise RunNotFoundError(
            f"no sweep {name!r} in store {str(store)!r}: it has {', '.join(sorted(known)) or 'none'}"
        )
    return known[name]


def _sweeps_folder(store: str | pathlib.Path) -> pathlib.Path:
    return pathlib.Path(store).resolve() / SWEEPS_FOLDER


def _read_trial(path: pathlib.Path) -> Trial:
    values = read_json(path)
    return Trial(**values | {"state": TrialState(values["state"])})


def tabulate_trials(folder: SweepFolder, trials: Iterable[Trial]) -> "pd.DataFrame":
    """Makes a table with one row per trial, by number: state, point, seed, objectives, run ID, and the other fields."""
    import pandas as pd

    rows = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        row = {"trial": trial.number, "state": str(trial.state), **trial.point, "seed": trial.seed}
        last = {name: getattr(trial, name) for name in _LAST if name != "run_id"}
        run_id = folder.run_of(trial).id if trial.started else ""
        last |= {"run_id": run_id, "reason": trial.reason.partition("\n")[0]}
        rows.append(row | dict(trial.values) | {name: last[name] for name in _LAST})
    return pd.DataFrame(rows, columns=None if rows else [*_FIRST, *_LAST])


def write_table(folder: SweepFolder, trials: Iterable[Trial]) -> None:
    """Writes `trials.csv` in the folder of the sweep."""
    with atomic_file(folder.path / TABLE_FILE) as temporary:
        tabulate_trials(folder, trials).to_csv(temporary, index=False)
