"""`dlexp runs`: lists the runs of a store as a table, or the means of groups of runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlexp.commands.tables import LISTING_FLAGS, print_listing
from dlexp.comparison.groups import LAST_BITS
from dlexp.config.command import Command, CommandLine
from dlexp.config.experiment_config import field_names
from dlexp.config.spelling import parse_names
from dlexp.errors import ConfigError, unknown_name
from dlexp.machine.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import pandas as pd

_IDENTITY = ("run_id", "name")
_STATE = ("status", "started")
_USUAL_SETTINGS = ("model", "dataset_name", "epochs", "learning_rate")
_RESULTS = ("best_epoch", "val_accuracy", "test_accuracy")
_COSTS = ("duration", "peak_memory")
_GROUPED = ("val_accuracy", "test_accuracy")


def _list_runs(line: CommandLine) -> int:
    from dlexp.runs.store import list_runs

    options = line.options
    table = list_runs(options["store"], where=options["where"], sort_by=options["sort_by"])
    if options["limit"] < 0:
        raise ConfigError(f"--limit={options['limit']} must be 0 or more: 0 lists all runs")
    if options["limit"]:
        table = table.head(options["limit"])
    if options["format"] == "table" and not table.empty:
        table = _with_costs(table)
    columns: Sequence[str] = parse_names(options["columns"])
    _check_columns(columns, table)
    if options["group_by"] and not table.empty:
        table = _group(table, parse_names(options["group_by"]))
        columns = columns or table.columns.tolist()
    settings = [] if columns else differing_columns(table)
    print_listing(
        table,
        options,
        columns=columns or [*_IDENTITY, *_STATE, *settings, *_RESULTS, *_COSTS, "caution"],
        dropped_first=[] if columns else ["started", *_COSTS, *reversed(settings), "name", "best_epoch", "status"],
        nothing="no runs",
        hint="train one with dlexp train",
    )
    return 0


def _check_columns(names: Sequence[str], table: "pd.DataFrame") -> None:
    for name in names:
        if name not in table.columns:
            raise unknown_name("column", name, table.columns)


def differing_columns(table: "pd.DataFrame") -> list[str]:
    """Returns the settings, tags and experiments in which runs differ; the usual settings if they differ in none.

    The column `loss` is that of the training, not the setting.
    """
    fields = {*field_names("changes_result"), "experiment", "tags"} - {"dataset", "dataset_id", "loss", *LAST_BITS}
    names = [name for name in table.columns if name == "dataset_name" or name.partition(".")[0] in fields]
    differing = [name for name in names if table[name].map(repr).nunique(dropna=False) > 1]
    return differing or [name for name in _USUAL_SETTINGS if name in table]


def _with_costs(table: "pd.DataFrame") -> "pd.DataFrame":
    table = table.copy()
    if "peak_memory_bytes" in table:
        table["peak_memory"] = table["peak_memory_bytes"].map(lambda peak: format_bytes(int(peak)), na_action="ignore")
    if "seconds" in table:
        table["duration"] = table["seconds"].map(format_seconds, na_action="ignore")
    return table


def _group(table: "pd.DataFrame", group_by: Sequence[str]) -> "pd.DataFrame":
    """One row for each combination of values: number of finished runs, mean and standard deviation of the results."""
    _check_columns(group_by, table)
    finished = table[table["status"] == "FINISHED"]
    grouped = finished.groupby(list(group_by), dropna=False, sort=False)
    found = grouped.size().rename("n").to_frame()
    for name in _GROUPED:
        if name in table:
            found[f"{name}_mean"], found[f"{name}_sd"] = grouped[name].mean(), grouped[name].std()
    return found.reset_index()


COMMAND = Command(
    run=_list_runs,
    example="--where=\"model == 'resnet20'\" --sort_by=-test_accuracy",
    description=(
        "The table shows the settings in which the listed runs differ. On a narrow terminal, costs and settings are "
        "left out first, results never; --format=csv has all columns."
    ),
    flags={
        **LISTING_FLAGS,
        "sort_by": (
            "-started",
            "Columns to sort by, joined by commas; with - in front, the largest value comes first.",
        ),
        "columns": ("", "Columns to show, joined by commas; empty: those in which the runs differ, and the results."),
        "limit": (0, "Number of rows to list; 0: all."),
        "group_by": (
            "",
            "Columns, joined by commas: one row for each combination, with n, mean and standard deviation.",
        ),
    },
)
