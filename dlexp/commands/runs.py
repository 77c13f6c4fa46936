"""`dlexp runs`: lists the runs of a store as a table."""

from dlexp.commands.tables import LISTING_FLAGS, SORT_HELP, print_listing
from dlexp.config.command import Command, CommandLine
from dlexp.machine.units import format_bytes

_COLUMNS = (
    "run_id", "name", "status", "started", "model", "dataset_name", "epochs", "learning_rate", "best_epoch",
    "val_accuracy", "test_accuracy", "peak_memory", "caution",
)  # fmt: skip


def _list_runs(line: CommandLine) -> int:
    from dlexp.runs.store import list_runs

    table = list_runs(line.options["store"], where=line.options["where"], sort_by=line.options["sort_by"])
    if "peak_memory_bytes" in table and line.options["format"] == "table":
        table["peak_memory"] = table["peak_memory_bytes"].map(lambda peak: format_bytes(int(peak)), na_action="ignore")
    print_listing(table, line.options, columns=_COLUMNS, nothing="no runs", hint="train one with dlexp train")
    return 0


COMMAND = Command(
    run=_list_runs,
    example="--where=\"model == 'resnet20'\" --sort_by=-test_accuracy",
    flags={**LISTING_FLAGS, "sort_by": ("-started", SORT_HELP)},
)
