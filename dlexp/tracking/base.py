"""The contract of a tracker, and several trackers as one."""

import abc
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import TrackingConfig
from dlexp.errors import one_line
from dlexp.registry import TRACKERS
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunDescription:
    """What a tracker receives when a run starts.

    Attributes:
        run: the run and its folder. The folder holds everything; a tracker only copies it.
        name: name of the run.
        config: config of the run; its flat fields are the params.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset.
        dataset_profile: counts and shapes of the dataset, from `describe_dataset`.
        facts: params that are not in the config, such as the number of parameters of the model.
    """

    run: Run
    name: str
    config: ExperimentConfig
    dataset_name: str
    dataset_id: str
    dataset_profile: Mapping[str, Any]
    facts: Mapping[str, Any]

    def params(self) -> dict[str, Any]:
        """All params by name: the flat config, the dataset, and the facts."""
        dataset = {"dataset_id": self.dataset_id, "dataset_name": self.dataset_name}
        return self.config.flat() | dataset | dict(self.facts)


@dataclass(frozen=True)
class BestModel:
    """The best checkpoint of a finished run.

    Attributes:
        checkpoint: path of the `.keras` file.
        epoch: counted from 1.
        step: optimizer steps of the whole training.
        metrics: metrics of that epoch, and `test_*`, by name.
        image_shape: (height, width, channels) of the input of the model: raw pixels in [0, 255].
        class_names: one name per logit, in order.
        weights_digest: digest of the weights; equal digests mean equal weights.
        caution: what is wrong with the run, in a few words; empty if nothing is.
    """

    checkpoint: pathlib.Path
    epoch: int
    step: int
    metrics: Mapping[str, float]
    image_shape: tuple[int, int, int]
    class_names: Sequence[str]
    weights_digest: str
    caution: str = ""


@dataclass(frozen=True)
class RunContents:
    """A run that has ended, read from its folder.

    Attributes:
        description: the same as at the start of the run.
        points: all measured points.
        pictures: PNG files that the tracker does not have yet, by their key: the path in the run folder without its
            ending.
        step: optimizer step of the last point.
        best: the best model; None if the training did not finish.
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
    """Copies a run to a place where people look at it, such as a server.

    The run folder holds everything that a tracker gets. A tracker that fails therefore loses nothing.

    **Who calls what, in which order.** Every process that works on a run builds new trackers from the config. The
    session of the run (`dlexp.tracking.session`) then calls, always from one thread:

    1. `claim_run`, only for a new run without an ID, before its folder exists. The session asks the trackers in the
       order of the config until one returns an ID, which becomes the ID of the run. The other trackers get it with
       `start`, and so do all trackers of a trial of a sweep, which has its ID from the driver.
    2. `start` for a new run, or `resume` for a run that another process started.
    3. `keras_callbacks`, when the callbacks of the training are built.
    4. `log_points`, `log_image` and `log_histograms`, any number of times. Points come in the order in which they were
       measured. No (key, step) comes twice.
    5. `log_best`, at most once.
    6. `finish`, once, however the run ends. It may be the only call, if the run fails early.

    `dlexp sync` and the driver of a sweep call only `sync`, on a run that has ended.

    **What may raise.** The builder may raise a DlexpError, for example if a library is not installed. Then the run does
    not start. Every method may raise any exception. The caller then warns once, adds the tracker to `unsynced` in the
    record of the run, never calls it again, and continues.

    **How long a call may take.** The `log_*` methods only queue the work. `claim_run`, `start` and `resume` may wait a
    few seconds for a server. `finish` and `sync` may wait until everything is written.

    **What a tracker may ignore.** Methods that are not abstract do nothing by default, as pictures and the model are in
    the run folder anyway.

    **Sweeps.** A trial of a sweep does not call trackers whose class sets `copied_by_driver`. The driver of the sweep
    calls their `sync` when the trial has ended, so that parallel trials do not wait for each other's database locks.

    Attributes:
        name: for messages.
        copied_by_driver: the driver of a sweep copies the trials to this tracker. It is read before a tracker is built,
            so only a tracker that is registered as a class can set it.
    """

    name: str
    copied_by_driver: ClassVar[bool] = False

    def claim_run(self, name: str) -> str | None:
        """Creates a new run in the tracker and returns its ID.

        Args:
            name: name of the run.

        Returns:
            32 hex digits that no other run has. None if the tracker accepts any ID, as most do.
        """
        return None

    @abc.abstractmethod
    def start(self, description: RunDescription) -> None:
        """Records a new run with its params and its dataset."""

    @abc.abstractmethod
    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Resumes a run that another process started.

        Args:
            description: the same as at the start.
            points: all points measured so far. The tracker adds those that it lacks.
        """

    def keras_callbacks(self) -> Sequence["keras.callbacks.Callback"]:
        """Returns Keras callbacks that observe the training for this tracker and do not change it."""
        return ()

    @abc.abstractmethod
    def log_points(self, points: Sequence[Point]) -> None:
        """Copies measured points."""

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:  # noqa: B027
        """Copies a picture.

        Args:
            key: path in the run folder without its ending: `history`, `evaluation/test/confusion`.
            path: a PNG file in the run folder; it may be overwritten later.
            step: optimizer step at which the picture was drawn. No (key, step) comes twice.
        """

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:  # noqa: B027
        """Copies the distributions of arrays, by name; must not change the arrays. No (name, step) comes twice."""

    def log_best(self, best: BestModel) -> None:  # noqa: B027
        """Records the best model. Called at most once, after the last point and before `finish`."""

    @abc.abstractmethod
    def finish(self, status: Status) -> None:
        """Waits until everything is written, then closes the run."""

    def sync(self, contents: RunContents) -> str:
        """Adds what the tracker lacks of a run that has ended. No other method is called before or after it.

        Returns:
            A few words on what was added; empty if nothing was missing.
        """
        self.resume(contents.description, contents.points)
        for key, path in contents.pictures.items():
            self.log_image(key, path, step=contents.step)
        if contents.best is not None:
            self.log_best(contents.best)
        self.finish(contents.status)
        return ", ".join([f"{len(contents.points)} points", *contents.pictures])


def tracker_builders(tracking: TrackingConfig) -> list[Callable[[TrackingConfig], Tracker]]:
    """Returns what is registered under the tracker names of a config, in their order."""
    return [TRACKERS.get(name) for name in tracking.tracker_names()]


def is_copied_by_driver(builder: Callable[[TrackingConfig], Tracker]) -> bool:
    """Whether the driver of a sweep, and not the trial, copies a trial to this tracker."""
    return bool(getattr(builder, "copied_by_driver", False))


def build_trackers(tracking: TrackingConfig) -> list[Tracker]:
    """Builds all trackers of a config.

    Raises:
        DlexpError: a tracker cannot be built, for example because a library is not installed.
    """
    return [build(tracking) for build in tracker_builders(tracking)]


class CompositeTracker(Tracker):
    """Several trackers as one. A tracker that fails is reported in one warning and never called again.

    Args:
        trackers: called in this order.
        on_failure: called with the name of a tracker that has failed.
    """

    name = "trackers"

    def __init__(self, trackers: Sequence[Tracker], on_failure: Callable[[str], None] = lambda name: None) -> None:
        self._active, self._on_failure = list(trackers), on_failure

    def start(self, description: RunDescription) -> None:
        """Starts all trackers."""
        self._for_all(lambda tracker: tracker.start(description))

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Resumes the run in all trackers."""
        self._for_all(lambda tracker: tracker.resume(description, points))

    def keras_callbacks(self) -> Sequence["keras.callbacks.Callback"]:
        """Returns the callbacks of all trackers, in their order."""
        found: list[keras.callbacks.Callback] = []
        self._for_all(lambda tracker: found.extend(tracker.keras_callbacks()))
        return found

    def log_points(self, points: Sequence[Point]) -> None:
        """Passes the points to all trackers."""
        self._for_all(lambda tracker: tracker.log_points(points))

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        """Passes the picture to all trackers."""
        self._for_all(lambda tracker: tracker.log_image(key, path, step=step))

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:
        """Passes the arrays to all trackers."""
        self._for_all(lambda tracker: tracker.log_histograms(values, step=step))

    def log_best(self, best: BestModel) -> None:
        """Passes the best model to all trackers."""
        self._for_all(lambda tracker: tracker.log_best(best))

    def finish(self, status: Status) -> None:
        """Finishes all trackers."""
        self._for_all(lambda tracker: tracker.finish(status))

    def _for_all(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self._active):
            try:
                act(tracker)
            except Exception as err:  # noqa: BLE001
                # A tracking library may raise anything. The training continues: the run folder holds every point.
                self._active.remove(tracker)
                self._on_failure(tracker.name)
                _log.warning(
                    "%s failed (%s: %s): the run continues without it, and the run folder stays complete",
                    tracker.name, type(err).__name__, one_line(err),
                )  # fmt: skip
