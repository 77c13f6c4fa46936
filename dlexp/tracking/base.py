"""The contract of a tracker, and several trackers as one."""

import abc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config import ExperimentConfig
from dlexp.points import Point
from dlexp.runs import Run, Status

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunDescription:
    """What a tracker is told of a run when it starts.

    Attributes:
        run: the run and its folder; the folder is the truth, a tracker only copies it.
        name: name of the run.
        config: its config, whose flat fields are the params.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset.
        dataset_profile: what the dataset consists of, from `describe_dataset`.
        facts: further params that the config does not hold, such as the number of parameters of the model.
    """

    run: Run
    name: str
    config: ExperimentConfig
    dataset_name: str
    dataset_id: str
    dataset_profile: Mapping[str, Any]
    facts: Mapping[str, Any]


class Tracker(abc.ABC):
    """Copies a run to where people look at it.

    `start` is called once, then `log_points` any number of times with points in the order they were measured and no
    (key, step) twice, then `finish` once, also where nothing went before it. In a process that goes on with a run,
    `resume` is called in place of `start`. A method may raise: the caller reports it once and goes on without it.
    None may block training for longer than it takes to queue the work.
    """

    name: str

    @abc.abstractmethod
    def start(self, description: RunDescription) -> None:
        """Makes the run known, with its params and its dataset."""

    @abc.abstractmethod
    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Goes on with a run that another process started.

        Args:
            description: as it was at the start.
            points: all that have been measured so far; those that never came through are filled in.
        """

    @abc.abstractmethod
    def log_points(self, points: Sequence[Point]) -> None:
        """Copies measured values."""

    @abc.abstractmethod
    def finish(self, status: Status) -> None:
        """Waits until everything is written, and closes the run."""


class CompositeTracker(Tracker):
    """Several trackers as one; a tracker that fails is named once in a warning and then left alone.

    Args:
        trackers: in the order they are called.
    """

    name = "trackers"

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._active = list(trackers)

    def start(self, description: RunDescription) -> None:
        """Starts each."""
        self._each(lambda tracker: tracker.start(description))

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Has each go on."""
        self._each(lambda tracker: tracker.resume(description, points))

    def log_points(self, points: Sequence[Point]) -> None:
        """Gives the points to each."""
        self._each(lambda tracker: tracker.log_points(points))

    def finish(self, status: Status) -> None:
        """Finishes each."""
        self._each(lambda tracker: tracker.finish(status))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self._active):
            try:
                act(tracker)
            except Exception as err:  # noqa: BLE001
                # Whatever a tracking library raises, the training is worth more: the run folder holds every point.
                self._active.remove(tracker)
                _log.warning(
                    "%s failed (%s: %s): the run goes on without it, and its folder stays complete",
                    tracker.name, type(err).__name__, str(err).strip().split("\n")[0][:300],
                )  # fmt: skip
