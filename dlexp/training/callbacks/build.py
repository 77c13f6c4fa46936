"""Builds the callbacks of a training. Their order matters:

1. `AveragedValidation` swaps in the averaged weights before any other callback sees a validation.
2. `PointLogger` records the epoch before any checkpoint of it is saved: no checkpoint is ahead of the record.
3. `ResumeNotice` looks into the first step, then `DivergenceGuard` raises before any checkpoint could take the weights.
4. What changes the course of the training: callbacks of plug-ins, `ReduceLROnPlateau`, `EarlyStopping`. They come
   before the checkpoints, which save their state.
5. `BestCheckpoint` comes before `LastCheckpoint`, which lists the best files.
6. `LastCheckpoint`, then callbacks of the caller, which may end the training: its state is saved by then.
7. `InterruptionGuard` saves and ends the training after a signal.
8. `TrainingBatchPicture`, `ValidationExamples`, `HistogramLogger`, `GraphWriter` and callbacks of trackers only
   observe.
9. The progress display shows an epoch when everything else is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from dlexp.checkpoints.manager import BestCheckpoint, LastCheckpoint
from dlexp.checkpoints.writer import CheckpointWriter
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.monitor import monitor_mode
from dlexp.machine.signals import StopRequests
from dlexp.registry import CALLBACKS
from dlexp.tracking.session import RunSession
from dlexp.tracking.tensorboard import FOLDER, GraphWriter
from dlexp.training.callbacks.averaged_validation import AveragedValidation
from dlexp.training.callbacks.divergence import DivergenceGuard
from dlexp.training.callbacks.histograms import HistogramLogger
from dlexp.training.callbacks.interruption import InterruptionGuard
from dlexp.training.callbacks.point_logger import PointLogger
from dlexp.training.callbacks.resume_notice import ResumeNotice
from dlexp.training.callbacks.training_batch import TrainingBatchPicture
from dlexp.training.callbacks.validation_examples import ValidationExamples
from dlexp.training.preparation import Setup

_PLATEAU_FACTOR = 0.1


@dataclass(frozen=True)
class TrainingCallbacks:
    """The callbacks of a training.

    Attributes:
        in_order: all of them, in the order of this module.
        best_checkpoint: the one that keeps the best checkpoints.
        last_checkpoint: the one that keeps the newest checkpoint.
    """

    in_order: Sequence[keras.callbacks.Callback]
    best_checkpoint: BestCheckpoint
    last_checkpoint: LastCheckpoint


def build_callbacks(
    setup: Setup,
    *,
    session: RunSession,
    writer: CheckpointWriter,
    progress: keras.callbacks.Callback,
    requests: StopRequests,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingCallbacks:
    """Builds the callbacks of a training, in the order of this module.

    Args:
        setup: model, data and meters of the training.
        session: the run, its points and its trackers.
        writer: writes the checkpoints.
        progress: shows the training on the terminal.
        requests: hold the signals that have come.
        extra_callbacks: of the caller; placed between `LastCheckpoint` and `InterruptionGuard`.
    """
    config, run, selection = setup.config, session.run, setup.config.selection
    monitor, mode = selection.monitor, monitor_mode(selection.monitor, selection.monitor_mode)
    best = BestCheckpoint(writer, run=run, monitor=monitor, mode=mode, keep_top=selection.keep_top)
    last = LastCheckpoint(writer, run=run, monitor=monitor, save_every_steps=config.execution.save_every_steps)
    averaging = AveragedValidation() if config.optimization.ema_decay else None
    callbacks: list[keras.callbacks.Callback] = [averaging] if averaging else []
    callbacks.append(
        PointLogger(
            session.log,
            session.tracker,
            images_per_epoch=setup.datasets.examples_per_epoch,
            gradients=setup.meters.gradients,
            clock=setup.meters.clock,
            steps=setup.meters.steps,
            every_steps=config.tracking.log_every_steps,
        )
    )
    callbacks += [
        ResumeNotice(run, setup.meters.untracked_state, setup.meters.trace_draws),
        DivergenceGuard(),
        *_steering(config, mode=mode),
        best,
        last,
        *extra_callbacks,
    ]
    callbacks.append(InterruptionGuard(requests, last=last, averaging=averaging))
    callbacks += _observers(setup, session)
    callbacks.append(progress)
    writer.watch(callbacks)
    return TrainingCallbacks(callbacks, best, last)


def _steering(config: ExperimentConfig, *, mode: str) -> list[keras.callbacks.Callback]:
    """The callbacks that change the course of a training."""
    monitor, patience = config.selection.monitor, config.selection.early_stopping_patience
    steering: list[keras.callbacks.Callback] = [CALLBACKS.get(name)() for name in config.optimization.callbacks]
    if config.optimization.lr_schedule == "plateau":
        steering.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor, mode=mode, factor=_PLATEAU_FACTOR, patience=config.optimization.plateau_patience
            )
        )
    if patience:
        steering.append(keras.callbacks.EarlyStopping(monitor, patience=patience, mode=mode))
    return steering


def _observers(setup: Setup, session: RunSession) -> list[keras.callbacks.Callback]:
    """The callbacks that only observe."""
    run, tracking, datasets, observers = session.run, setup.config.tracking, setup.datasets, list[Any]()
    steps, signature = setup.meters.steps, [tf.TensorSpec((None, *datasets.dataset.image_shape), tf.uint8)]
    forward = tf.function(lambda images: setup.model(images, training=False), input_signature=signature)
    if tracking.sample_pictures:
        observers.append(TrainingBatchPicture(run, session.tracker, datasets))
        observers.append(ValidationExamples(run, session.tracker, datasets, forward, steps))
    if tracking.histograms:
        written = max((point.epoch for point in session.log.points), default=0)
        observers.append(HistogramLogger(session.tracker, setup.meters.gradients, steps, written_epochs=written))
    if tracking.tensorboard:
        observers.append(GraphWriter(str(run.path / FOLDER), forward))
    return [*observers, *session.tracker.keras_callbacks()]
