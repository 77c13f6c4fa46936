"""`dlexp sync`: fills in what MLflow and other trackers lack of runs that have ended."""

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from dlexp.config.flags import define_flags, parse_flags
from dlexp.config.help import HELP_WORDS, command_help
from dlexp.errors import ConfigError, StoreError

_FLAGS: dict[str, tuple[Any, str]] = {
    "store": ("mlruns", "Folder of the runs."),
    "all": (False, "All runs of the store; without RUN and without this: those that a tracker failed for."),
    "tracking_uri": ("", "MLflow server to fill in, in place of the one that the run had."),
}


def sync(argv: Sequence[str], *, summary: str) -> int:
    """Runs `dlexp sync [RUN]`.

    Args:
        argv: how the command is called, then its words.
        summary: for its help.

    Returns:
        0, or 1 if a run could not be synced, which is told on stderr.
    """
    program, *words = argv
    if any(word in HELP_WORDS for word in words):
        print(command_help(f"{program} [RUN]", summary, _FLAGS))
        return 0
    values = flags.FlagValues()
    define_flags(values, _FLAGS)
    named = parse_flags(values, [program, *words], max_positionals=1)
    if named and values["all"].value:
        raise ConfigError(f"{program} {named[0]} --all: give a run, or --all, and not both")
    from dlexp.runs.store import find_run
    from dlexp.tracking.sync import find_unsynced, sync_run

    store = values["store"].value
    if named:
        return _sync(sync_run, find_run(named[0], store), values["tracking_uri"].value)
    runs = find_unsynced(store, every=values["all"].value)
    if not runs:
        print(f"no run of store {store!r} that a tracker failed for; --all syncs every run", file=sys.stderr)
    failed = 0
    for run in runs:
        try:
            _sync(sync_run, run, values["tracking_uri"].value)
        except StoreError as err:
            print(f"dlexp: {err}", file=sys.stderr)
            failed = 1
    return failed


def _sync(sync_run: Any, run: Any, tracking_uri: str) -> int:
    for name, filled in sync_run(run, tracking_uri=tracking_uri).items():
        print(f"{name}: {filled or 'up to date'}")
    print(run.path)
    return 0
