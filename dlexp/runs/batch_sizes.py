"""The one batch size that the runs of an experiment, and the trials of a sweep, have in common.

The store remembers it in `batch_sizes.json`. The first run sets it. If all runs with it have failed, diverged, or were
killed before their first checkpoint, as with a batch that does not fit into memory, the next run sets another. A run
that has trained to its end confirms it for good.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError, StoreError
from dlexp.machine.json_files import read_json_if_there, write_json
from dlexp.machine.lock import hold_lock
from dlexp.runs.run import RECORD_FILE, Run, Status, run_folder

FILE = "batch_sizes.json"
CAUTION = "batch size differs"
_LOCK_FILE = "batch_sizes.lock"
_LOCK_SECONDS = 60.0  # it is held for milliseconds, but perhaps by many processes in turn
_TRAINED = (Status.FINISHED, Status.PRUNED)
_GAVE_NOTHING = (Status.FAILED, Status.DIVERGED)
WHY = "an epoch has another number of steps then, and a learning rate another meaning"


@dataclass(frozen=True)
class _Group:
    """Runs that are compared with each other: an "experiment" or a "sweep", and the flag that names it."""

    kind: str
    name: str
    flag: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True)
class _Entry:
    """What is remembered of a group.

    Attributes:
        batch_size: of its runs.
        is_confirmed: one of them has trained to its end.
        runs: IDs of those that have begun, until it is confirmed.
    """

    batch_size: int
    is_confirmed: bool = False
    runs: Sequence[str] = field(default=())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        return cls(int(values["batch_size"]), bool(values["is_confirmed"]), tuple(map(str, values["runs"])))

    def now(self, store: pathlib.Path) -> Self | None:
        """The entry by the present status of its runs; None if none of them holds it any longer."""
        if self.is_confirmed:
            return self
        statuses = {run_id: _status(store, run_id) for run_id in self.runs}
        if any(status in _TRAINED for status in statuses.values()):
            return replace(self, is_confirmed=True, runs=())
        holding = tuple(run_id for run_id, status in statuses.items() if status not in (None, *_GAVE_NOTHING))
        return replace(self, runs=holding) if holding else None


def check_batch_size(config: ExperimentConfig, *, sweep: str = "") -> None:
    """Checks the batch size of a new run against that of its experiment and its sweep; writes nothing.

    A batch size of `auto` is not checked: the number is, once it is chosen.

    Args:
        config: of the new run.
        sweep: name of the sweep that it is a trial of, if any.

    Raises:
        ConfigError: they have another batch size, and `allow_batch_size_change` is off.
        StoreError: the file of the store is damaged.
    """
    if config.data.batch_size != AUTO:
        _refuse(_find_others(_read(config.tracking.store), config, sweep), config)


def claim_batch_size(run: Run, config: ExperimentConfig, *, sweep: str = "") -> None:
    """Remembers the batch size of a new run for its experiment and its sweep.

    Of two runs that start at the same instant with different sizes, one is refused. A run with another batch size that
    is allowed gets a caution, and `batch_size_change` in its record: "64 -> 128".

    Args:
        run: the new run, whose lock this process holds.
        config: of the run.
        sweep: name of the sweep that it is a trial of, if any.

    Raises:
        ConfigError: see `check_batch_size`.
        StoreError: the file of the store is damaged, or cannot be written.
    """
    with _changing(config.tracking.store) as entries:
        others = _find_others(entries, config, sweep)
        _refuse(others, config)
        for group in _groups_of(config, sweep):
            if group not in others:
                entry = entries.get(group, _Entry(config.data.batch_size))
                entries[group] = entry if entry.is_confirmed else replace(entry, runs=(*entry.runs, run.id))
    _mark(run, others, config)


def mark_batch_size(run: Run, config: ExperimentConfig, *, sweep: str = "") -> None:
    """Marks a run that is resumed, as `claim_batch_size` does, if others have set another batch size since it began."""
    _mark(run, _find_others(_read(config.tracking.store), config, sweep), config)


def remembered_batch_size(store: str | pathlib.Path, experiment: str) -> int | None:
    """Returns the batch size that all runs of an experiment have; None if the next run sets it.

    Raises:
        StoreError: the file of the store is damaged.
    """
    entry = _read(store).get(_experiment(experiment))
    return entry.batch_size if entry else None


def _experiment(name: str) -> _Group:
    return _Group("experiment", name, "--experiment")


def _sweep(name: str) -> _Group:
    return _Group("sweep", name, "--sweep_name")


_KINDS = {"experiments": _experiment, "sweeps": _sweep}


def _groups_of(config: ExperimentConfig, sweep: str) -> list[_Group]:
    return [_experiment(config.tracking.experiment), *([_sweep(sweep)] if sweep else [])]


def _find_others(entries: Mapping[_Group, _Entry], config: ExperimentConfig, sweep: str) -> dict[_Group, int]:
    """Returns the batch sizes of those groups of a run that have another one than it."""
    sizes = {group: entries[group].batch_size for group in _groups_of(config, sweep) if group in entries}
    return {group: size for group, size in sizes.items() if size != config.data.batch_size}


def _refuse(others: Mapping[_Group, int], config: ExperimentConfig) -> None:
    if not others or config.tracking.allow_batch_size_change:
        return
    group, size = next(iter(others.items()))
    raise ConfigError(
        f"{group} trains with batch_size={size}, and runs with batch_size={config.data.batch_size} cannot be compared "
        f"with it: {WHY}; give --batch_size={size}, another {group.flag}, or --allow_batch_size_change"
    )


def _mark(run: Run, others: Mapping[_Group, int], config: ExperimentConfig) -> None:
    """Notes in the record of a run that its groups have another batch size."""
    if not others:
        return
    own, first = config.data.batch_size, next(iter(others.values()))
    groups = " and ".join(f"{group} with batch_size={size}" for group, size in others.items())
    run.update(batch_size_change=f"{first} -> {own}")
    run.caution(
        CAUTION,
        f"this run trains with batch_size={own}, but {groups}: {WHY}, so its results are not comparable with theirs",
    )


@contextlib.contextmanager
def _changing(store: str) -> Iterator[dict[_Group, _Entry]]:
    """Yields what holds in a store, and writes it back if it is not what is written; one process at a time."""
    path = pathlib.Path(store, FILE)

    def refusal() -> str:
        return f"{str(path)!r} was in use by another process for a minute: stop that process, or try again"

    try:
        with hold_lock(path.with_name(_LOCK_FILE), refusal, wait_s=_LOCK_SECONDS):
            written = _read_file(path)
            entries = _holding(written, path.parent)
            yield entries
            if entries != written:
                write_json(path, _as_json(entries))
    except OSError as err:
        raise StoreError(f"{str(path)!r} cannot be written: {err.strerror}: choose another --store") from err


def _read(store: str | pathlib.Path) -> dict[_Group, _Entry]:
    """Reads what holds in a store."""
    return _holding(_read_file(pathlib.Path(store, FILE)), pathlib.Path(store))


def _holding(entries: Mapping[_Group, _Entry], store: pathlib.Path) -> dict[_Group, _Entry]:
    """The entries by the present status of their runs, without those that no run holds any longer."""
    present = {group: entry.now(store) for group, entry in entries.items()}
    return {group: entry for group, entry in present.items() if entry is not None}


def _read_file(path: pathlib.Path) -> dict[_Group, _Entry]:
    """Reads a file; nothing in a store that has none, as of an earlier version."""
    entries = dict[_Group, _Entry]()
    try:
        if kinds := read_json_if_there(path):
            for kind, group_of in _KINDS.items():
                entries |= {group_of(name): _Entry.of(values) for name, values in kinds[kind].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise StoreError(
            f"{str(path)!r} is damaged: restore it, or remove it, and the next run of each experiment sets its batch "
            "size"
        ) from err
    return entries


def _as_json(entries: Mapping[_Group, _Entry]) -> dict[str, dict[str, Any]]:
    return {
        kind: {group.name: asdict(entry) for group, entry in entries.items() if group == group_of(group.name)}
        for kind, group_of in _KINDS.items()
    }


def _status(store: pathlib.Path, run_id: str) -> Status | None:
    """The status of a run; None if nothing is left of it.

    Its folder is gone, or it was killed before its first checkpoint, as a system that is short of memory does.
    """
    run = Run(run_id, run_folder(store, run_id))
    if not (run.path / RECORD_FILE).is_file():
        return None
    status, has_checkpoint = run.status(), any(run.checkpoints_folder.glob("*.keras"))
    return status if status is not Status.KILLED or has_checkpoint else None
