"""Warns at the first step if a resume of this training cannot be exact, and notes it in the record."""

import logging
from collections.abc import Mapping
from typing import Any

import keras

from dlexp.runs.run import Run
from dlexp.training.untracked_state import UntrackedState

_log = logging.getLogger(__name__)


class ResumeNotice(keras.callbacks.Callback):
    """Warns once and notes a caution if the training has state that is in no checkpoint.

    Args:
        run: whose record gets the note.
        state: of the model.
    """

    def __init__(self, run: Run, state: UntrackedState) -> None:
        super().__init__()
        self._run, self._state, self._is_done = run, state, False

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
            _log.warning("%s", text)
            self._run.caution("resume not exact", text)
