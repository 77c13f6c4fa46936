"""`dlexp checkpoints`: lists the checkpoint files of a store, verifies them, and removes superseded ones."""

import sys

from dlexp.commands.tables import LISTING_FLAGS, SORT_HELP, print_listing
from dlexp.config.command import Command, CommandLine

_COLUMNS = ("kind", "run_id", "epoch", "monitor", "score", "test_accuracy", "megabytes", "name", "damaged")


def _list_checkpoints(line: CommandLine) -> int:
    from dlexp.checkpoints.search import list_checkpoints

    options = line.options
    if options["prune"]:
        return _prune_checkpoints(options["store"])
    chosen = {name: options[name] for name in ("kind", "where", "sort_by", "verify")}
    table = list_checkpoints(options["store"], **chosen)
    print_listing(table, options, columns=_COLUMNS, nothing="no checkpoints", hint="dlexp runs lists its runs")
    return int(options["verify"] and not table.empty and bool((table["damaged"] != "").any()))


def _prune_checkpoints(store: str) -> int:
    from dlexp.checkpoints.search import find_superseded

    paths = find_superseded(store)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    for path in paths:
        print(path)
    for path in paths:
        path.unlink(missing_ok=True)
    print(f"removed {len(paths)} superseded files, {megabytes:.1f} MB", file=sys.stderr)
    return 0


COMMAND = Command(
    run=_list_checkpoints,
    example="--kind=best --where=\"model == 'resnet20'\" --sort_by=-score",
    flags={
        **LISTING_FLAGS,
        "kind": ("", "Kind of checkpoint, best or last; empty: both."),
        "sort_by": ("-written", SORT_HELP),
        "verify": (False, "Read every byte of every file; exit with 1 if one is damaged."),
        "prune": (False, "List the checkpoints of ended runs that newer ones have replaced, then remove them."),
    },
)
