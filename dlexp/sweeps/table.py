"""The trials of a sweep as a table, one row a trial."""

from collections.abc import Iterable

import pandas as pd

from dlexp.machine.atomic import atomic_file
from dlexp.sweeps.folder import TABLE_FILE, SweepFolder, Trial

_FIRST = ("trial", "state", "seed")
_LAST = ("run_id", "attempts", "epochs", "seconds", "started", "ended", "reused_from", "reason")


def tabulate_trials(folder: SweepFolder, trials: Iterable[Trial]) -> pd.DataFrame:
    """One row a trial, by number: state, the values of its point, seed, the objectives, its run, and the rest."""
    sweep_id = folder.record()["sweep_id"]
    rows = []
    for trial in sorted(trials, key=lambda each: each.number):
        row = {"trial": trial.number, "state": str(trial.state), **trial.point, "seed": trial.seed}
        last = {name: getattr(trial, name) for name in _LAST if name != "run_id"}
        run_id = folder.run_of(trial, sweep_id).id if trial.started else ""
        last |= {"run_id": run_id, "reason": trial.reason.partition("\n")[0]}
        rows.append(row | dict(trial.values) | {name: last[name] for name in _LAST})
    return pd.DataFrame(rows, columns=None if rows else [*_FIRST, *_LAST])


def write_table(folder: SweepFolder, trials: Iterable[Trial]) -> None:
    """Writes `trials.csv` in the folder of the sweep."""
    with atomic_file(folder.path / TABLE_FILE) as temporary:
        tabulate_trials(folder, trials).to_csv(temporary, index=False)
