"""Finds the runs that are compared, and reads what is compared of them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dlexp.comparison.groups import Entry
from dlexp.config.experiment_config import config_fields
from dlexp.errors import RunNotFoundError
from dlexp.machine.json_files import read_json_if_there
from dlexp.runs.run import DESCRIPTION_FILE, Run
from dlexp.runs.store import describe_run, find_run, flatten, list_runs


def find_entries(references: Sequence[str | pathlib.Path], *, where: str, store: str | pathlib.Path) -> list[Entry]:
    """Finds runs by their references, or by a query; a run that is named twice is found once.

    Raises:
        RunNotFoundError: no run matches.
        ConfigError: the query cannot be understood.
    """
    if references:
        runs = {run.id: run for run in (find_run(reference, store) for reference in references)}
        return [_entry(run, describe_run(run)) for run in runs.values()]
    table = list_runs(store, where=where, sort_by="started")
    if table.empty:
        matching = f" matches {where!r}" if where else ""
        raise RunNotFoundError(f"no run of store {str(store)!r}{matching}: list the runs with dlexp runs")
    rows = [{str(name): value for name, value in row.items() if value == value} for row in table.to_dict("records")]
    return [_entry(Run(row["run_id"], pathlib.Path(row["path"])), row) for row in rows]


def class_names(run: Run) -> list[str]:
    """Returns the names of the classes of a run's dataset, in the order of their labels; empty if not recorded."""
    return list(read_json_if_there(run.path / DESCRIPTION_FILE).get("counts_by_class", {}))


def _entry(run: Run, columns: Mapping[str, Any]) -> Entry:
    recorded = run.config_values()
    config = {name: recorded.get(name, field.metadata["before"]) for name, field in config_fields().items()}
    return Entry(run, columns, flatten(config))
