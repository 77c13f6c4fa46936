"""Warns at the first step of what it found in the traced step, and notes it in the record."""

import logging
from collections.abc import Mapping
from typing import Any

import keras

from dlexp.runs.run import Run
from dlexp.training.trace_draws import TraceDraws
from dlexp.training.untracked_state import UntrackedState

_log = logging.getLogger(__name__)


class ResumeNotice(keras.callbacks.Callback):
    """Warns once and notes a caution if the training has state that is in no checkpoint, or draws while it is traced.

    Args:
        run: whose record gets the notes.
        state: of the model.
        draws: of the model.
    """

    def __init__(self, run: Run, state: UntrackedState, draws: TraceDraws) -> None:
        super().__init__()
        self._run, self._state, self._draws, self._is_done = run, state, draws, False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks into the step after it was traced."""
        if self._is_done:
            return
        self._is_done = True
        if found := self._state.find():
            text = (
                f"a resume of this training will not be bit for bit the same: {'; '.join(found)}: draw with "
                "keras.random and a SeedGenerator of the layer, and create variables with add_weight"
            )
            self._caution("resume not exact", text)
        if owner := self._draws.find():
            text = (
                f"{owner} draws random numbers from Python or NumPy, but only once, when its call is traced: they are "
                "the same in every step: draw with keras.random and a SeedGenerator of the layer"
            )
            self._caution("random numbers stay the same", text)

    def _caution(self, name: str, text: str) -> None:
        _log.warning("%s", text)
        self._run.caution(name, text)
