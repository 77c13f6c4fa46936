"""Loads and traces a network once, to evaluate the checkpoints of several training runs one after the other."""

import pathlib
import zipfile

from dlexp.checkpoints.files import LOAD_ERRORS, LoadedCheckpoint, load_checkpoint
from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.seal import check_seal
from dlexp.datasets import Datasets
from dlexp.errors import CheckpointError
from dlexp.evaluation.split_prediction import Forward, compile_forward
from dlexp.models.keras_internals import NETWORK_MEMBER


class EvaluationNetwork:
    """Loads checkpoints: the first completely, later ones of the same network by their weights only."""

    def __init__(self) -> None:
        self._checkpoint: LoadedCheckpoint | None = None
        self._network = b""
        self._forward: Forward | None = None

    def load(self, path: pathlib.Path) -> LoadedCheckpoint:
        """Loads a checkpoint like `load_checkpoint`, but reuses the previous model if the network is the same.

        Raises:
            CheckpointError: the file is damaged.
        """
        network = _read_network(path)
        if self._checkpoint is None or network != self._network:
            self._checkpoint, self._network, self._forward = load_checkpoint(path), network, None
            return self._checkpoint
        metadata = read_metadata(path)
        check_seal(path)
        try:
            self._checkpoint.model.load_weights(path)
        except LOAD_ERRORS as err:
            raise CheckpointError(f"the weights of checkpoint {str(path)!r} cannot be loaded: {err}") from err
        self._checkpoint = LoadedCheckpoint.of(self._checkpoint.model, metadata, path)
        return self._checkpoint

    def forward(self, datasets: Datasets) -> Forward:
        """Returns the function from batches to logits for the last loaded model and the datasets of its run."""
        assert self._checkpoint is not None  # load() has to be called first
        if self._forward is None:
            self._forward = compile_forward(self._checkpoint, datasets.dataset.image_shape)
        return self._forward


def _read_network(path: pathlib.Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(NETWORK_MEMBER)
    except LOAD_ERRORS as err:
        raise CheckpointError(f"checkpoint {str(path)!r} cannot be read: {err}") from err
