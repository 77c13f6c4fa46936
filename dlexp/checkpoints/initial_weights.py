"""Initial weights of a new run, taken from the checkpoint of another run or from a file."""

import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from dlexp.checkpoints.files import LOAD_ERRORS, load_checkpoint
from dlexp.checkpoints.metadata import METADATA_MEMBER
from dlexp.checkpoints.search import find_referenced
from dlexp.config.sections import ModelConfig
from dlexp.errors import CheckpointError, joined_lines

_HEAD_VARIABLES = 2  # kernel and bias


def initialize_weights(model: keras.Model, settings: ModelConfig, *, store: str) -> dict[str, Any]:
    """Loads the weights of `settings.init_checkpoint` into a model; a head for other classes keeps its random ones.

    Args:
        model: the built model to train.
        settings: `init_checkpoint` is `RUN`, `RUN:best`, `RUN:last` or the path of a `.keras` file.
        store: folder of the store where runs are looked up.

    Returns:
        `{"parent_run": ID}` if the checkpoint belongs to a run, else nothing.

    Raises:
        CheckpointError: the file is damaged, was not written by dlexp and is not trusted, or holds another model.
        RunNotFoundError: there is no such run.
    """
    path = find_referenced(settings.init_checkpoint, store)
    if _is_foreign(path):
        if not settings.trust_checkpoint:
            raise CheckpointError(
                f"init_checkpoint {str(path)!r} was not written by dlexp: give --trust_checkpoint if you know where it "
                "comes from"
            )
        _assign(model, _load_foreign(path), path)
        return {}
    checkpoint = load_checkpoint(path)
    _assign(model, checkpoint.model, path)
    return {"parent_run": checkpoint.metadata["run_id"]}


def _is_foreign(path: pathlib.Path) -> bool:
    if not path.is_file():
        raise CheckpointError(f"init_checkpoint {str(path)!r} is not there: give a path that exists, or a run")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"init_checkpoint {str(path)!r} is not a .keras file, or is damaged: give another file (pickles, HDF5 "
            "files and SavedModels are never read, as they can run code or hide damage)"
        )
    with zipfile.ZipFile(path) as archive:
        return METADATA_MEMBER not in archive.namelist()


def _load_foreign(path: pathlib.Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except LOAD_ERRORS as err:
        raise CheckpointError(
            f"init_checkpoint {str(path)!r} cannot be loaded: {joined_lines(err)}: give another file"
        ) from err


def _assign(model: keras.Model, source: keras.Model, path: pathlib.Path) -> None:
    weights: Sequence[np.ndarray] = source.get_weights()
    shapes = [tuple(weight.shape) for weight in model.weights]
    kept = {id(variable) for variable in model.trainable_variables[-_HEAD_VARIABLES:]}
    fits = len(shapes) == len(weights) and all(
        shape == array.shape or (id(variable) in kept and shape[:-1] == array.shape[:-1])
        for variable, shape, array in zip(model.weights, shapes, weights, strict=True)
    )
    if not fits:
        raise CheckpointError(
            f"init_checkpoint {str(path)!r} holds {len(weights)} weights of another network than {model.name}, which "
            f"has {len(shapes)}: choose the checkpoint of a run with the same --model and --model_args"
        )
    for variable, array in zip(model.weights, weights, strict=True):
        if tuple(variable.shape) == array.shape:
            variable.assign(array)
