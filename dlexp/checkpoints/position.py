"""Where a training is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """A moment between two steps.

    Attributes:
        step: training steps taken, over all epochs.
        epoch: epochs completed, validation included: after the last step of an epoch, and before its validation, one
            less than the steps tell.
    """

    step: int = 0
    epoch: int = 0

    @classmethod
    def at_end(cls, epoch: int, steps_per_epoch: int) -> "Position":
        """The end of an epoch counted from 0."""
        return cls(step=(epoch + 1) * steps_per_epoch, epoch=epoch + 1)
