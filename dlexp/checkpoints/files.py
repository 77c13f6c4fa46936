"""One checkpoint file: written atomically, and loaded.

Plain `keras.saving.load_model` opens it too; the model is then compiled for evaluation on integer labels.
"""

import hashlib
import json
import pathlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from dlexp.checkpoints.archive import NetworkArchive
from dlexp.checkpoints.metadata import METADATA_MEMBER, STATE_MEMBER, read_metadata
from dlexp.checkpoints.seal import UNSEALED, check_seal, seal
from dlexp.checkpoints.search import find_checkpoint
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import CheckpointError, one_line
from dlexp.machine.atomic import atomic_file
from dlexp.models.keras_internals import NETWORK_MEMBER, compile_as_saved, rebuilding
from dlexp.models.settings import use_settings

LOAD_ERRORS = (TypeError, ValueError, OSError, zipfile.BadZipFile, KeyError)  # of Keras, if it cannot load a file


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A loaded model and all that is needed to use it.

    Attributes:
        model: takes raw pixels `(batch, height, width, channels)` in [0, 255], returns logits `(batch, num_classes)`;
            compiled for evaluation on integer labels `(batch,)`.
        class_names: name of each label.
        image_size: (height, width) in pixels.
        config: of the run that trained it.
        metrics: of the epoch it was saved after, by name.
        metadata: all of them, see `read_metadata`.
        path: of the file.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    config: ExperimentConfig
    metrics: Mapping[str, float]
    metadata: Mapping[str, Any]
    path: pathlib.Path

    @classmethod
    def of(cls, model: keras.Model, metadata: Mapping[str, Any], path: pathlib.Path) -> "LoadedCheckpoint":
        """Combines a loaded model with the metadata of its file."""
        return cls(
            model=model,
            class_names=tuple(metadata["class_names"]),
            image_size=(metadata["input_shape"][0], metadata["input_shape"][1]),
            config=ExperimentConfig.of(**metadata["config"]),
            metrics=metadata["metrics"],
            metadata=metadata,
            path=path,
        )


def write_checkpoint(
    path: pathlib.Path,
    network: NetworkArchive,
    weights: Sequence[np.ndarray],
    *,
    metadata: Mapping[str, Any],
    state: Mapping[str, np.ndarray],
) -> None:
    """Writes a checkpoint, and seals it with a digest of all its bytes.

    Args:
        path: of the checkpoint.
        network: writes the members of the `.keras` file.
        weights: of the network, in order.
        metadata: of the checkpoint, see `read_metadata`.
        state: arrays that a resume needs in addition to the weights.
    """
    with atomic_file(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as file:
            network.write(file, weights, scratch=path.parent)
            file.writestr(METADATA_MEMBER, json.dumps(metadata, indent=1))
            with file.open(STATE_MEMBER, "w", force_zip64=True) as member:
                np.savez(member, allow_pickle=False, **state)
            file.comment = UNSEALED
        seal(temporary)


def drop_state(path: pathlib.Path) -> None:
    """Removes from a checkpoint what only a resume needs: with Adam, two thirds of the file."""
    with zipfile.ZipFile(path) as file, atomic_file(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as slim:
            for member in file.namelist():
                if member != STATE_MEMBER:
                    with file.open(member) as source, slim.open(member, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target)
            slim.comment = UNSEALED
        seal(temporary)


def load_checkpoint(path_or_run: str | pathlib.Path, *, store: str | pathlib.Path = "mlruns") -> LoadedCheckpoint:
    """Loads a checkpoint, in Keras' safe mode.

    Args:
        path_or_run: path of a checkpoint file; or a run by ID, prefix, name, folder or `latest`, for its best one.
        store: folder of the store where runs are looked up.

    Raises:
        CheckpointError: the file is damaged, or needs classes of a plug-in that is not loaded.
        RunNotFoundError: there is no such run.

    Example:
        >>> checkpoint = load_checkpoint("latest")
        >>> logits = checkpoint.model.predict(images)
        >>> names = [checkpoint.class_names[label] for label in logits.argmax(axis=-1)]
    """
    path = find_checkpoint(path_or_run, store)
    metadata = read_metadata(path)
    check_seal(path)
    try:
        model = _load_model(path, metadata["config"].get("dtype_policy", "float32"))
    except LOAD_ERRORS as err:
        custom = metadata["custom_layers"]
        if custom:
            plugins = ", ".join(ExperimentConfig.of(**metadata["config"]).plugins) or "the module that defines them"
            raise CheckpointError(
                f"checkpoint {str(path)!r} needs {', '.join(custom)}: load them first, with "
                f"dlexp.load_plugins of {plugins}, and register them with keras.saving.register_keras_serializable"
            ) from err
        raise CheckpointError(f"checkpoint {str(path)!r} cannot be loaded: {one_line(err)}") from err
    return LoadedCheckpoint.of(model, metadata, path)


def _load_model(path: pathlib.Path, dtype_policy: str) -> keras.Model:
    with rebuilding(), use_settings(dtype_policy):
        model = keras.saving.load_model(path, safe_mode=True, compile=False)
    with zipfile.ZipFile(path) as file:
        compile_as_saved(model, file.read(NETWORK_MEMBER))
    return model


def weights_digest(weights: Iterable[np.ndarray]) -> str:
    """Digest of the shapes, types and bytes of all weights in order, as 32 hex digits; equal digests, equal models."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in weights:
        digest.update(f"{weight.shape}{weight.dtype.name}".encode())
        digest.update(np.ascontiguousarray(weight).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
