"""Where a training is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """A moment between two steps.

    Attributes:
        step: training steps taken, over all epochs.
        epoch: epochs completed, validation included.
        train_logs: metrics of an epoch whose steps are all taken and whose validation is not done.
    """

    step: int = 0
    epoch: int = 0
    train_logs: Mapping[str, float] | None = None

    @classmethod
    def at_end(cls, epoch: int, steps_per_epoch: int) -> "Position":
        """The end of an epoch counted from 0."""
        return cls(step=(epoch + 1) * steps_per_epoch, epoch=epoch + 1)
