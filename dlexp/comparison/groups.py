"""Groups runs by their settings: the runs of a group are repeats that differ in their seeds, folds or split seeds."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlexp.comparison.fairness import spelled
from dlexp.config.experiment_config import field_names
from dlexp.config.sections import ModelConfig, OptimizationConfig
from dlexp.errors import ConfigError, unknown_name
from dlexp.runs.run import Run, Status

REPEATED = ("seed", "split_seed", "fold")
# What changes at most the last bits of a result.
LAST_BITS = ("num_threads", "steps_per_execution", "deterministic", "jit_compile")
_RESAMPLED = ("split_seed", "fold")
_FIRST = [{field.name for field in dataclasses.fields(section)} for section in (ModelConfig, OptimizationConfig)]


@dataclass(frozen=True)
class Entry:
    """A run that is compared.

    Attributes:
        run: the run.
        columns: its row of `list_runs`; a metric hides a config field of the same name, such as `loss`.
        settings: the fields of its config, with arguments as `model_args.width`.
    """

    run: Run
    columns: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The runs of one setting.

    Attributes:
        name: the values by which it was grouped, `model=resnet20, learning_rate=0.01`; or the name of its only run.
        entries: its runs, in the order of their repeats.
        finished: the run of each repeat (the seed, or what else its runs differ in) that has the metric; of several
            runs of a repeat, the last one.
        values: the metric of each finished run by its repeat.
        settings: the values by which it was grouped, by column.
        repeated: the columns in which its runs differ, of `REPEATED`.
    """

    name: str
    entries: Sequence[Entry]
    finished: Mapping[tuple[int, ...], Entry]
    values: Mapping[tuple[int, ...], float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    repeated: Sequence[str] = ("seed",)

    @property
    def is_resampled(self) -> bool:
        """Whether its runs have different training examples, which overlap."""
        return any(name in _RESAMPLED for name in self.repeated)


def group_runs(entries: Sequence[Entry], *, group_by: Sequence[str], metric: str) -> list[Group]:
    """Groups runs; runs of one group differ only in seeds, folds or split seeds, and in what is not asked for.

    Args:
        entries: at least one.
        group_by: columns or settings; empty: all settings that change the result and differ, but for `REPEATED`.
        metric: that is compared.

    Returns:
        The groups, in the order of their first runs.

    Raises:
        UnknownNameError: a column of `group_by` does not exist.
        ConfigError: no finished run has the metric.
    """
    known = sorted({name for entry in entries for name in (*entry.columns, *entry.settings)})
    for name in group_by:
        if name not in known:
            raise unknown_name("column", name, known)
    columns = list(group_by) or differing_settings(entries)
    by_key: dict[str, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(_key(_value(entry, name) for name in columns), []).append(entry)
    repeated = [name for name in REPEATED if any(_differs(name, of_group) for of_group in by_key.values())] or ["seed"]
    groups = [_group(of_group, columns, repeated, metric) for of_group in by_key.values()]
    if not any(group.values for group in groups):
        measured = sorted({name for entry in entries for name, value in entry.columns.items() if _is_finite(value)})
        raise ConfigError(f"no finished run has a finite {metric}: give one of {', '.join(measured)} as --metric")
    return groups


def differing_settings(entries: Sequence[Entry]) -> list[str]:
    """Returns the settings that change more than the last bits and differ, but for the repeats; the model first."""
    fields = [name for name in field_names("changes_result") if name not in (*REPEATED, *LAST_BITS)]
    names = {name for entry in entries for name in entry.settings if name.partition(".")[0] in fields}
    found = [name for name in names if _differs(name, entries)]
    return sorted(found, key=lambda name: (_rank(name), fields.index(name.partition(".")[0]), name))


def _rank(name: str) -> int:
    """The model comes first, then how it is trained, then all else."""
    return next((number for number, section in enumerate(_FIRST) if name.partition(".")[0] in section), len(_FIRST))


def _group(entries: Sequence[Entry], columns: Sequence[str], repeated: Sequence[str], metric: str) -> Group:
    def repeat_of(entry: Entry) -> tuple[int, ...]:
        return tuple(int(entry.settings[name]) for name in repeated)

    ordered = sorted(entries, key=lambda entry: (repeat_of(entry), str(entry.columns.get("started", ""))))
    settings = {name: _value(entries[0], name) for name in columns}
    name = ", ".join(f"{column}={spelled(value)}" for column, value in settings.items())
    finished = {
        repeat_of(entry): entry
        for entry in ordered
        if entry.columns["status"] == Status.FINISHED and _is_finite(entry.columns.get(metric))
    }
    values = {repeat: float(entry.columns[metric]) for repeat, entry in finished.items()}
    return Group(name or str(entries[0].columns["name"]), ordered, finished, values, settings, repeated)


def _value(entry: Entry, name: str) -> Any:
    return entry.settings[name] if name in entry.settings else entry.columns.get(name)


def _differs(name: str, entries: Iterable[Entry]) -> bool:
    return len({_key([_value(entry, name)]) for entry in entries}) > 1


def _key(values: Iterable[Any]) -> str:
    return json.dumps(list(values), sort_keys=True, default=str)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
