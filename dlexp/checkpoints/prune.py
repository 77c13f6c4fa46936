"""Checkpoint files that nothing needs any more."""

import pathlib

from dlexp.checkpoints.metadata import age_of, read_metadata
from dlexp.checkpoints.search import checkpoint_files, temporary_files
from dlexp.errors import CheckpointError
from dlexp.machine.lock import is_held
from dlexp.runs.run import Run, iterate_runs


def find_superseded(store: str | pathlib.Path) -> list[pathlib.Path]:
    """Files of ended runs that a newer one stands for: what a killed process had no time to remove.

    These are each `last` but the newest of its run, each `best` that the newest checkpoint does not know, and
    temporary files. A file that is damaged, or that dlexp did not write, is never among them; nor is any of a run that
    is being trained.
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
    best_names = {each["file"] for each in kept} | {pathlib.Path(run.record().get("best_checkpoint", "")).name}
    return temporary_files(run) + lasts[:-1] + [path for path in bests if path.name not in best_names]
