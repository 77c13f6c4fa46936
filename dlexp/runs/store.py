"""Lists the runs of a store as a table, and finds a run by ID, name or folder."""

import datetime
import difflib
import logging
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

_log = logging.getLogger(__name__)


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
        sort_by: columns joined by commas: ascending, or descending with `-` in front.

    Returns:
        Columns run_id, name, status, started, ended, seconds, path, dataset_id, best_epoch, every config field, and
        every metric by name: `val_*` of the best epoch, `test_*` of the best checkpoint. Arguments and tags are
        columns such as `model_args.width` and `tags.phase`. A run whose files are damaged is left out, with a warning.

    Raises:
        ConfigError: the query or the column is wrong.
    """
    import pandas as pd

    rows, damaged = [], []
    for run in iterate_runs(store):
        try:
            rows.append(describe_run(run))
        except ValueError:
            damaged.append(run.id[:8])
    if damaged:
        _log.warning(
            "%d of %d runs are left out, as their %s or %s is damaged: %s",
            len(damaged), len(rows) + len(damaged), RECORD_FILE, CONFIG_FILE, ", ".join(sorted(damaged)[:5]),
        )  # fmt: skip
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    return select_rows(table, where=where, sort_by=sort_by)


def describe_run(run: Run) -> dict[str, Any]:
    """Returns one row of `list_runs`: record, config and metrics of a run, flat."""
    record = run.record()
    record["status"] = str(run._status(record))
    metrics: Mapping[str, float] = record.pop("metrics", {})
    record.pop("holder", None)
    config = flatten(read_json(run.path / CONFIG_FILE))
    if record.get("ended"):
        started, ended = (datetime.datetime.fromisoformat(record[name]) for name in ("started", "ended"))
        record["seconds"] = (ended - started).total_seconds()
    # The record comes last: it has the names of run and dataset, which may be empty in the config.
    return {"run_id": run.id, "path": str(run.path), **config, **metrics, **record}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a config with the entries of mappings as fields: `model_args.width`, `tags.phase`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": entry for key, entry in value.items()}
        else:
            flat[name] = value
    return flat


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
    names = {run.id: _field(run, "name") for run in runs}
    matches = _match(reference, runs, names)
    if not matches:
        near = difflib.get_close_matches(reference, sorted({*names.values(), *(run.id[:8] for run in runs)}), n=3)
        hint = f"did you mean {' or '.join(near)}? Otherwise list" if near else "list"
        raise RunNotFoundError(f"no run {reference!r} in store {str(store)!r}: {hint} the runs with dlexp runs")
    if len(matches) > 1:
        ids = ", ".join(sorted(run.id[:8] for run in matches)[:5])
        raise RunNotFoundError(f"{reference!r} means {len(matches)} runs ({ids}): give a longer run ID")
    return matches[0]


def _match(reference: str, runs: list[Run], names: Mapping[str, str]) -> list[Run]:
    if reference == "latest":
        return [max(runs, key=lambda run: _field(run, "started"))]
    if len(reference) >= _MIN_PREFIX:
        by_id = [run for run in runs if run.id.startswith(reference)]
        if by_id:
            return by_id
    return [run for run in runs if names[run.id] == reference]


def _field(run: Run, name: str) -> str:
    """A text of the record; empty if the record is damaged."""
    try:
        return str(run.record().get(name, ""))
    except ValueError:
        return ""
