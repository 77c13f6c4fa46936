"""What a checkpoint says about itself, read with zipfile and json alone.

A checkpoint is a `.keras` archive with two members of ours: `dlexp.json`, and in `last` also `dlexp_state.npz`.
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
    """Orders the checkpoints of a run, the newest last; of one moment, `last` comes after `best`."""
    return metadata["step"], metadata["epoch"], metadata["kind"] == "last"


def read_metadata(path: str | pathlib.Path) -> dict[str, Any]:
    """The metadata of a checkpoint.

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
        raise CheckpointError(f"checkpoint {str(path)!r} is not there") from err
    except KeyError as err:
        raise CheckpointError(
            f"{str(path)!r} holds no {METADATA_MEMBER}: it is not a checkpoint that dlexp wrote"
        ) from err
    except (zipfile.BadZipFile, json.JSONDecodeError, OSError) as err:
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged: {err}: use another checkpoint of the run") from err
