"""`dlexp sync`: adds to MLflow and other trackers what they lack of runs that have ended."""

import sys
from typing import TYPE_CHECKING

from dlexp.config.command import Command, CommandLine, Positionals
from dlexp.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from dlexp.runs.run import Run


def _sync(line: CommandLine) -> int:
    from dlexp.runs.store import find_run
    from dlexp.tracking.sync import find_unsynced

    store, named, every = line.options["store"], line.positionals, line.options["all"]
    if named and every:
        raise ConfigError(f"{line.program} {named[0]} --all: give either a run or --all, and not both")
    if named:
        _sync_run(find_run(named[0], store), line)
        return 0
    runs = find_unsynced(store, every=every)
    if not runs:
        print(f"no tracker failed in a run of store {store!r}; --all syncs every run", file=sys.stderr)
    failed = 0
    for run in runs:
        try:
            _sync_run(run, line)
        except StoreError as err:
            print(f"dlexp: {err}", file=sys.stderr)
            failed = 1
    return failed


def _sync_run(run: "Run", line: CommandLine) -> None:
    from dlexp.tracking.sync import sync_run

    for name, filled in sync_run(run, tracking_uri=line.options["tracking_uri"]).items():
        print(f"{name}: {filled or 'up to date'}")
    print(run.path)


COMMAND = Command(
    run=_sync,
    example="latest",
    positionals=Positionals(usage="[RUN]", meaning="a run"),
    flags={
        "store": ("mlruns", "Folder of the runs."),
        "all": (False, "Sync all runs of the store; without RUN and --all, only the runs in which a tracker failed."),
        "tracking_uri": ("", "MLflow server to update, in place of the server of the run."),
    },
)
