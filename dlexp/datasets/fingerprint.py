"""The dataset ID: equal IDs mean the same examples, with the same labels, in the same splits."""

import hashlib
import json
from collections.abc import Sequence

import pandas as pd


def dataset_id(manifest: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Digest of what is learned from: content, labels, class names, split and weight of every example.

    The split itself enters, not the recipe that made it, so the ID holds when a recipe changes its meaning. Which
    examples share a source enters too, but not how the sources are called: neither paths, file times, names of folders
    nor the order of rows or sources matter.

    Args:
        manifest: with the columns `digest`, `label`, `source`, the final `split` and, where weights differ, `weight`.
        class_names: name of class 0, 1, ...

    Returns:
        16 hex digits.
    """
    examples = manifest["digest"] + " " + manifest["label"].astype("str") + " " + manifest["split"]
    if "weight" in manifest:
        examples += " " + manifest["weight"].astype("str")
    sources = sorted(_digest("\n".join(part.sort_values())) for _, part in examples.groupby(manifest["source"]))
    return _digest(json.dumps([list(class_names), sources]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
