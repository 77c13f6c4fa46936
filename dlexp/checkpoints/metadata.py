"""The metadata of a checkpoint, read with nothing but zipfile and json.

A checkpoint is a `.keras` archive with two more members: `dlexp.json`, the metadata, and `dlexp_state.npz`, which only
a resume needs. When a run is finished, `dlexp_state.npz` is removed from its `best`.
"""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

from dlexp.errors import CheckpointError

METADATA_MEMBER = "dlexp.json"
STATE_MEMBER = "dlexp_state.npz"
FORMAT_VERSION = 1


def age_of(metadata: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Sort key for the checkpoints of a run, oldest first; at the same step, `last` comes after `best`."""
    return metadata["step"], metadata["epoch"], metadata["kind"] == "last"


def read_metadata(path: str | pathlib.Path) -> dict[str, Any]:
    """Reads the metadata of a checkpoint.

    Returns:
        The JSON object of `dlexp.json`: format_version, kind, run_id, run_name, epoch, step, monitor, score, metrics,
        config (flat), dataset_name, dataset_id, class_names, input_shape, weights_digest, custom_layers, versions.

    Raises:
        CheckpointError: there is no such file, it is damaged, or dlexp did not write it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read(METADATA_MEMBER)))
    except FileNotFoundError as err:
        raise CheckpointError(
            f"checkpoint {str(path)!r} is not there: list those of a store with dlexp checkpoints"
        ) from err
    except KeyError as err:
        raise CheckpointError(
            f"{str(path)!r} holds no {METADATA_MEMBER}: it is not a checkpoint that dlexp wrote; open it with "
            "keras.saving.load_model"
        ) from err
    except (zipfile.BadZipFile, json.JSONDecodeError, OSError) as err:
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged: {err}: use another checkpoint of the run") from err
