"""Lists the checkpoint files of a store, and finds them by any field of their metadata; needs no TensorFlow."""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dlexp.checkpoints.metadata import age_of, read_metadata
from dlexp.checkpoints.names import KINDS, SUFFIX, parse_name
from dlexp.checkpoints.seal import check_seal
from dlexp.errors import CheckpointError, unknown_name
from dlexp.machine.atomic import TEMPORARY_PREFIX
from dlexp.machine.lock import is_held
from dlexp.runs.query import select_rows
from dlexp.runs.run import Run
from dlexp.runs.store import find_run, iterate_runs

if TYPE_CHECKING:
    import pandas as pd


def list_checkpoints(
    store: str | pathlib.Path = "mlruns",
    *,
    kind: str = "",
    where: str = "",
    sort_by: str = "-written",
    verify: bool = False,
) -> "pd.DataFrame":
    """The checkpoint files of a store as a table, one row per file.

    Args:
        store: folder of the store.
        kind: `best`, `last`, or empty for both.
        where: a pandas query over the columns, such as `"learning_rate < 0.01 and val_accuracy > 0.9"`.
        sort_by: a column; with `-` in front the largest come first.
        verify: check the seal of every file, for which all its bytes are read.

    Returns:
        Columns path, name, kind, run_id, run_name, epoch, step, monitor, score, dataset_name, dataset_id,
        weights_digest, megabytes, damaged, every config field, every metric of the epoch, and `test_*` for the best
        of a finished run. Of a file that cannot be read there is only its path, and the reason in `damaged`.

    Raises:
        ConfigError: the kind, the query or the column is wrong.
    """
    if kind and kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    import pandas as pd

    table = pd.DataFrame([row for run in iterate_runs(store) for row in _describe_checkpoints(run, verify=verify)])
    if table.empty:
        return table
    if kind:
        table = table[table["kind"] == kind]
    return select_rows(table, where=where, sort_by=sort_by)


def _describe_checkpoints(run: Run, *, verify: bool) -> Iterator[dict[str, Any]]:
    results = {key: value for key, value in run.record().get("metrics", {}).items() if key.startswith("test_")}
    for path in checkpoint_files(run):
        row = {"path": str(path), "name": path.name, "megabytes": round(path.stat().st_size / 1e6, 3)}
        try:
            metadata = read_metadata(path)
            if verify:
                check_seal(path)
        except CheckpointError as err:
            yield row | {"kind": "", "run_id": run.id, "written": "", "damaged": str(err)}
            continue
        fields = metadata.pop("config") | metadata.pop("metrics") | metadata
        flat = {key: json.dumps(value) if type(value) in (list, dict) else value for key, value in fields.items()}
        yield row | flat | {"damaged": "", **(results if metadata["kind"] == "best" else {})}


def checkpoint_files(run: Run) -> list[pathlib.Path]:
    """The complete checkpoints of a run, sorted by name."""
    with os.scandir(run.checkpoints_folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
    return [run.checkpoints_folder / name for name in sorted(names) if not name.startswith(TEMPORARY_PREFIX)]


def temporary_files(run: Run) -> list[pathlib.Path]:
    """Checkpoints that are being written; if nobody holds the run's lock, leftovers of a killed process."""
    return sorted(run.checkpoints_folder.glob(f"{TEMPORARY_PREFIX}*{SUFFIX}"))


def find_checkpoint(path_or_run: str | pathlib.Path, store: str | pathlib.Path, *, kind: str = "best") -> pathlib.Path:
    """The path of a checkpoint, from its path or its run.

    Raises:
        CheckpointError: the run has none of this kind.
        RunNotFoundError: there is no such run.
    """
    path = pathlib.Path(path_or_run)
    if path.is_file() or path.suffix == SUFFIX:
        return path
    return newest_checkpoint(find_run(path_or_run, store), kind)


def find_referenced(reference: str, store: str | pathlib.Path) -> pathlib.Path:
    """The path of a checkpoint, from `RUN`, `RUN:best`, `RUN:last` or its path; raises as `find_checkpoint` does."""
    run, _, kind = reference.rpartition(":")
    return find_checkpoint(run, store, kind=kind) if kind in KINDS else find_checkpoint(reference, store)


def newest_checkpoint(run: Run, kind: str) -> pathlib.Path:
    """The path of the `best` that the record of a run names, or of its newest `last`.

    Raises:
        CheckpointError: the run has none.
    """
    best = run.record().get("best_checkpoint")
    found = [(name.epoch, path) for path in checkpoint_files(run) if (name := parse_name(path.name)).kind == kind]
    if kind == "best" and best is not None:
        return run.path / best
    if kind == "best" or not found:
        raise CheckpointError(f"run {run.id[:8]} has no {kind} checkpoint: choose another run, or resume this one")
    return max(found)[1]


def find_superseded(store: str | pathlib.Path) -> list[pathlib.Path]:
    """Superseded files: what a killed process had no time to remove. Runs that are being trained are left out.

    These are every `last` but the newest of its run, every `best` that the newest checkpoint does not list, and
    temporary files. A file that is damaged, or that dlexp did not write, is never among them.
    """
    return [path for run in iterate_runs(store) if not is_held(run.lock_path) for path in _find_in_run(run)]


def _find_in_run(run: Run) -> list[pathlib.Path]:
    known = {}
    for path in checkpoint_files(run):
        try:
            known[path] = read_metadata(path)
        except CheckpointError:
            continue
    own = {path: metadata for path, metadata in known.items() if metadata["run_id"] == run.id}
    by_age = sorted(own, key=lambda path: age_of(own[path]))
    if not by_age:
        return temporary_files(run)
    kept = own[by_age[-1]]["training"]["callbacks"]["BestCheckpoint"]["kept"]
    lasts = [path for path in by_age if own[path]["kind"] == "last"]
    bests = [path for path in by_age if own[path]["kind"] == "best"]
    best_names = {epoch["file"] for epoch in kept} | {pathlib.Path(run.record().get("best_checkpoint", "")).name}
    return temporary_files(run) + lasts[:-1] + [path for path in bests if path.name not in best_names]
