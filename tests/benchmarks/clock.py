"""What one training process reports of itself: the clock of both sides of the training benchmark."""

import time
from collections.abc import Mapping
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Notes when the first step and each epoch ended; goes last in the list, so that it waits for all others."""

    async_safe = True  # otherwise Keras would wait for the device after every step

    def __init__(self) -> None:
        super().__init__()
        self.first_step = 0.0
        self.epochs: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.first_step = self.first_step or time.time()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.epochs.append(time.time())
        self.cpu.append(time.process_time())
