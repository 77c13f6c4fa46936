"""The contract of a tracker, and several trackers as one."""

import abc
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import TrackingConfig
from dlexp.errors import one_line
from dlexp.registry import TRACKERS
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status

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

    def params(self) -> dict[str, Any]:
        """What the run was made with, by name: the flat config, the dataset, and the facts."""
        dataset = {"dataset_id": self.dataset_id, "dataset_name": self.dataset_name}
        return self.config.flat() | dataset | dict(self.facts)


@dataclass(frozen=True)
class BestModel:
    """The best checkpoint of a finished run.

    Attributes:
        checkpoint: path of the `.keras` file.
        epoch: counted from 1.
        step: optimizer steps of the whole training.
        metrics: of that epoch, and `test_*`, by name.
        image_shape: (height, width, channels) of the raw pixels in [0, 255] that the model takes.
        class_names: of the logits, in order.
        weights_digest: equal digests, equal models.
    """

    checkpoint: pathlib.Path
    epoch: int
    step: int
    metrics: Mapping[str, float]
    image_shape: tuple[int, int, int]
    class_names: Sequence[str]
    weights_digest: str


@dataclass(frozen=True)
class RunContents:
    """A run that has ended, as its folder tells it.

    Attributes:
        description: as it was at the start.
        points: all that were measured.
        pictures: PNG files that the tracker has not been given, by what they show: their path in the run folder.
        step: optimizer steps of the last point.
        best: the best model; None if the training did not come to its end.
        status: how the run ended.
        ended: when, as ISO 8601 in UTC.
    """

    description: RunDescription
    points: Sequence[Point]
    pictures: Mapping[str, pathlib.Path]
    step: int
    best: BestModel | None
    status: Status
    ended: str


class Tracker(abc.ABC):
    """Copies a run to where people look at it.

    `start` is called once, then the `log_*` methods any number of times, then `finish` once, also where nothing went
    before it. Points come in the order they were measured and no (key, step) twice. In a process that goes on with a
    run, `resume` is called in place of `start`. A method may raise: the caller reports it once and goes on without the
    tracker. None may block training for longer than it takes to queue the work. What a tracker has no use for it
    passes over: pictures and the model are in the run folder anyway.

    Attributes:
        name: for messages.
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

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:  # noqa: B027
        """Copies a picture.

        Args:
            key: its path in the run folder, without the ending: `history`, `evaluation/test/confusion`.
            path: of a PNG file in the run folder, which may be written anew later.
            step: optimizer steps taken when it was drawn; a key has each step once.
        """

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:  # noqa: B027
        """Copies the distributions of arrays, by name; a name has each step once. The arrays never change."""

    def log_best(self, best: BestModel) -> None:  # noqa: B027
        """Makes the best model known; called at most once, after the last point and before `finish`."""

    @abc.abstractmethod
    def finish(self, status: Status) -> None:
        """Waits until everything is written, and closes the run."""

    def sync(self, contents: RunContents) -> str:
        """Fills in what the tracker lacks of a run that has ended; called alone, in place of all other methods.

        Returns:
            What was filled in, in a few words; empty if nothing was.
        """
        self.resume(contents.description, contents.points)
        for key, path in contents.pictures.items():
            self.log_image(key, path, step=contents.step)
        if contents.best is not None:
            self.log_best(contents.best)
        self.finish(contents.status)
        return ", ".join([f"{len(contents.points)} points", *contents.pictures])


def build_trackers(tracking: TrackingConfig) -> list[Tracker]:
    """All trackers of a config but MLflow.

    Raises:
        DlexpError: one cannot be built, as a library that it needs is not installed.
    """
    return [TRACKERS.get(name)(tracking) for name in tracking.tracker_names()]


class CompositeTracker(Tracker):
    """Several trackers as one; a tracker that fails is named once in a warning and then left alone.

    Args:
        trackers: in the order they are called.
        on_failure: is given the name of a tracker that has failed.
    """

    name = "trackers"

    def __init__(self, trackers: Sequence[Tracker], on_failure: Callable[[str], None] = lambda name: None) -> None:
        self._active, self._on_failure = list(trackers), on_failure

    def start(self, description: RunDescription) -> None:
        """Starts each."""
        self._each(lambda tracker: tracker.start(description))

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Has each go on."""
        self._each(lambda tracker: tracker.resume(description, points))

    def log_points(self, points: Sequence[Point]) -> None:
        """Gives the points to each."""
        self._each(lambda tracker: tracker.log_points(points))

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        """Gives the picture to each."""
        self._each(lambda tracker: tracker.log_image(key, path, step=step))

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:
        """Gives the arrays to each."""
        self._each(lambda tracker: tracker.log_histograms(values, step=step))

    def log_best(self, best: BestModel) -> None:
        """Gives the best model to each."""
        self._each(lambda tracker: tracker.log_best(best))

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
                self._on_failure(tracker.name)
                _log.warning(
                    "%s failed (%s: %s): the run goes on without it, and its folder stays complete",
                    tracker.name, type(err).__name__, one_line(err),
                )  # fmt: skip
