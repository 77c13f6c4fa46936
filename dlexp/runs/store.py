"""Lists the runs of a store as a table, and finds a run by ID, name or folder."""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dlexp.errors import RunNotFoundError
from dlexp.machine.json_files import read_json
from dlexp.runs.query import select_rows
from dlexp.runs.run import CONFIG_FILE, RECORD_FILE, Run, artifacts_root

if TYPE_CHECKING:
    import pandas as pd

_ID_PATTERN = re.compile(r"[0-9a-f]{32}")
_MIN_PREFIX = 4


def iterate_runs(store: str | pathlib.Path) -> Iterator[Run]:
    """Yields all runs of a store in no particular order; ignores folders without a run record."""
    root = artifacts_root(store)
    if not root.is_dir():
        return
    for folder in root.iterdir():
        run = Run(folder.name, folder / "artifacts")
        if _ID_PATTERN.fullmatch(folder.name) and (run.path / RECORD_FILE).is_file():
            yield run


def list_runs(store: str | pathlib.Path = "mlruns", *, where: str = "", sort_by: str = "-started") -> "pd.DataFrame":
    """Lists the runs of a store as a table, one row per run.

    Args:
        store: folder of the store.
        where: a pandas query over the columns, such as `"test_accuracy > 0.9 and model == 'resnet20'"`.
        sort_by: a column: ascending, or descending with `-` in front.

    Returns:
        Columns run_id, name, status, started, ended, path, dataset_id, best_epoch, every config field, and every
        metric by name: `val_*` of the best epoch, `test_*` of the best checkpoint.

    Raises:
        ConfigError: the query or the column is wrong.
    """
    import pandas as pd

    table = pd.DataFrame([describe_run(run) for run in iterate_runs(store)])
    if table.empty:
        return table
    return select_rows(table, where=where, sort_by=sort_by)


def describe_run(run: Run) -> dict[str, Any]:
    """Returns one row of `list_runs`: record, config and metrics of a run, flat."""
    record = run.record()
    record["status"] = str(run._status(record))
    metrics: Mapping[str, float] = record.pop("metrics", {})
    record.pop("holder", None)
    config = read_json(run.path / CONFIG_FILE)
    # The record comes last: it has the names of run and dataset, which may be empty in the config.
    return {"run_id": run.id, "path": str(run.path), **config, **metrics, **record}


def find_run(reference: str | pathlib.Path, store: str | pathlib.Path = "mlruns") -> Run:
    """Finds the run that a RUN refers to: an ID, an ID prefix (4 or more digits), a name, a folder, or `latest`.

    Raises:
        RunNotFoundError: no run matches, or several do.
    """
    path = pathlib.Path(reference)
    if (path / RECORD_FILE).is_file():
        return Run(read_json(path / RECORD_FILE)["run_id"], path.resolve())
    reference = str(reference)
    runs = list(iterate_runs(store))
    if not runs:
        raise RunNotFoundError(
            f"no run {reference!r}: store {str(store)!r} holds no runs: train one, or give another --store"
        )
    matches = _match(reference, runs)
    if not matches:
        raise RunNotFoundError(f"no run {reference!r} in store {str(store)!r}: list the runs with dlexp runs")
    if len(matches) > 1:
        ids = ", ".join(sorted(run.id[:8] for run in matches)[:5])
        raise RunNotFoundError(f"{reference!r} means {len(matches)} runs ({ids}): give a longer run ID")
    return matches[0]


def _match(reference: str, runs: list[Run]) -> list[Run]:
    if reference == "latest":
        return [max(runs, key=lambda run: run.record()["started"])]
    if len(reference) >= _MIN_PREFIX:
        by_id = [run for run in runs if run.id.startswith(reference)]
        if by_id:
            return by_id
    return [run for run in runs if run.record()["name"] == reference]
