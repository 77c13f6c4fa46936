"""Names in what else groups of runs differ than in what is compared: a fair comparison changes one thing."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.machine.json_files import read_json_if_there
from dlexp.runs.environment import FOLDER
from dlexp.runs.run import Run


@dataclass(frozen=True)
class Disagreement:
    """Something in which compared groups differ although they should not.

    Attributes:
        what: name of the column, such as `batch_size`.
        values: the values of each group, in the order of the groups.
        why: why that makes a comparison unfair, as a clause.
    """

    what: str
    values: Mapping[str, Sequence[Any]]
    why: str

    def __str__(self) -> str:
        groups = "; ".join(f"{group}: {', '.join(map(spelled, values))}" for group, values in self.values.items())
        return f"{self.what} differs ({groups}): {self.why}"


# What must agree, the most important first.
_RULES: Mapping[str, str] = {
    "dataset_id": "the groups have other examples, or other splits of them",
    "test_time_augmentation": "a prediction is a mean over several views in one group only",
    "batch_size": "an epoch has another number of steps then, and a learning rate another meaning",
    "micro_batch_size": "batch normalisation sees another number of examples",
    "epochs": "one group may train longer",
    "status": "some trainings ended early",
    "image_size": "one group sees more detail",
    "dtype_policy": "one group computes in another precision",
    "early_stopping_patience": "one group may stop earlier",
    "monitor": "the best epoch is chosen by another metric",
    "monitor_mode": "the best epoch is chosen in the opposite direction",
    "tuning_trials": "the best of more trials is better by luck alone",
    "commit": "the code may differ",
    "uncommitted_changes": "the code may differ",
    "dlexp_version": "dlexp itself may train differently",
    "tensorflow_version": "results of versions of TensorFlow may differ",
    "caution": "a run is marked",
}


def find_disagreements(
    groups: Mapping[str, Sequence[Mapping[str, Any]]], *, compared: Collection[str]
) -> list[Disagreement]:
    """Finds what differs between groups, or within one, and should not; the most important first.

    Args:
        groups: rows of `describe_run` by the name of their group, with the columns of `read_environment`.
        compared: columns that are compared on purpose, which may differ.
    """
    return [
        Disagreement(name, values, why)
        for name, why in _RULES.items()
        if name not in compared and _differ(values := _values_of(name, groups))
    ]


def read_environment(run: Run) -> dict[str, Any]:
    """Reads what code a run was trained with; what is not known is left out.

    Columns: `commit`, `uncommitted_changes` (digest of the difference to the commit; `none`), `dlexp_version`,
    `tensorflow_version`.
    """
    folder, found = run.path / FOLDER, dict[str, Any]()
    if commit := read_json_if_there(folder / "git.json").get("commit"):
        found["commit"] = str(commit)[:12]
        diff = folder / "git.diff"
        text = diff.read_bytes() if diff.exists() else b""
        found["uncommitted_changes"] = hashlib.blake2b(text, digest_size=4).hexdigest() if text.strip() else "none"
    packages = folder / "packages.txt"
    lines = packages.read_text(encoding="utf-8", errors="replace").splitlines() if packages.exists() else []
    for package in ("dlexp", "tensorflow"):
        version = next((line.partition("==")[2] for line in lines if line.partition("==")[0] == package), "")
        if version:
            found[f"{package}_version"] = version
    return found


def spelled(value: Any) -> str:
    """Returns the text of a value for people: `32,32` for a list."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return json.dumps(value)
    return "none" if value in ("", None) else str(value)


def _values_of(name: str, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Any]]:
    """The values of each group; what a run did not record is not known, but for a caution."""
    known = {"caution": ""}.get(name)
    return {
        group: _distinct(row.get(name, known) for row in rows if name in row or known is not None)
        for group, rows in groups.items()
    }


def _differ(values: Mapping[str, Sequence[Any]]) -> bool:
    return len(_distinct(value for of_group in values.values() for value in of_group)) > 1


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The different values, in a fixed order that does not depend on that of the runs."""
    by_text = {json.dumps(value, sort_keys=True, default=str): value for value in values}
    return [by_text[text] for text in sorted(by_text)]
