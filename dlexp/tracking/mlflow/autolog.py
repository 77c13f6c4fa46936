"""What MLflow's Keras autolog writes at the start of a training: the optimizer and the summary of the model."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import keras

from dlexp.errors import one_line

_log = logging.getLogger(__name__)


class Autolog(keras.callbacks.Callback):
    """Writes `optimizer_*` params and `model_summary.txt`, with the names of `mlflow.keras.MlflowCallback`.

    That callback writes to the active run, which belongs to the caller. It also counts steps in epochs, and writes
    `validation_*` at step 0 after every epoch; the tracker writes the metrics.

    Args:
        write: receives the params and the summary.
    """

    def __init__(self, write: Callable[[Mapping[str, Any], str], None]) -> None:
        super().__init__()
        self._write = write

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Writes optimizer and model; an exception, such as of a custom optimizer, is only a warning."""
        lines: list[str] = []
        try:
            self.model.summary(print_fn=lambda line, *_, **__: lines.append(line))
            config = self.model.optimizer.get_config()
            self._write({f"optimizer_{name}": str(value) for name, value in config.items()}, "\n".join(lines))
        except Exception as err:  # noqa: BLE001
            _log.warning("MLflow lacks optimizer and summary of the model: %s: %s", type(err).__name__, one_line(err))
