"""One experiment as a story: data, model, run, callbacks, training, evaluation, record."""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.atomic import atomic_file, write_text_atomically
from dlexp.callbacks import build_callbacks, make_points
from dlexp.checkpoints.files import load_checkpoint
from dlexp.checkpoints.twin import build_twin
from dlexp.checkpoints.writer import CheckpointWriter, Subject
from dlexp.checks import check_names
from dlexp.config import ExperimentConfig, SelectionConfig
from dlexp.datasets import Dataset, Datasets, build_datasets
from dlexp.environment import write_environment
from dlexp.errors import StoreError, TrainingError, unknown_name
from dlexp.evaluation import evaluate_model, write_evaluation, write_samples
from dlexp.flags import config_to_flagfile
from dlexp.metrics import metric_names, portable_metrics
from dlexp.models import build_model, custom_layers
from dlexp.progress import build_progress
from dlexp.runs import FLAGS_FILE, Run, Status, check_store, create_run, now
from dlexp.tracking.base import CompositeTracker, RunDescription, Tracker
from dlexp.tracking.mlflow import MlflowTracker
from dlexp.tracking.tensorboard import TensorBoardTracker
from dlexp.training import compile_model, seed_everything, train_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExperimentResult:
    """What came out of an experiment.

    Attributes:
        run: the run and its folder.
        name: name of the run.
        best_epoch: epoch of the best checkpoint, counted from 1.
        metrics: by name: those of the best epoch, and `test_*` of the best checkpoint on the test split.
        weights_digest: of the best checkpoint; equal digests, equal models.
        seconds: from the call to the end.
    """

    run: Run
    name: str
    best_epoch: int
    metrics: Mapping[str, float]
    weights_digest: str
    seconds: float


def run_experiment(config: ExperimentConfig) -> ExperimentResult:
    """Trains one model, keeps its best and its last checkpoint, evaluates the best and records all of it.

    Nothing is written before data and model are known to fit together.

    Raises:
        DlexpError: a field, the data, the model or the store cannot work.

    Example:
        >>> result = run_experiment(ExperimentConfig.of(dataset="digits", model="mlp", epochs=3))
        >>> result.metrics["test_accuracy"]
    """
    started = time.perf_counter()
    check_names(config)
    check_store(config.tracking.store)
    seed_everything(config.seed, deterministic=config.execution.deterministic)
    datasets = build_datasets(config)
    shape, num_classes = datasets.dataset.image_shape, datasets.dataset.num_classes
    check_monitor(config.selection, num_classes=num_classes)
    model = build_model(config.model, shape, num_classes, dtype_policy=config.execution.dtype_policy)
    layers, twin = custom_layers(model), build_twin(model, metrics=portable_metrics(num_classes))
    facts = compile_model(model, config, datasets)
    with open_run(config, datasets.dataset, facts) as (run, name, tracker):
        subject = Subject.of(run, name, config, datasets.dataset, layers)
        with (
            CheckpointWriter(model, twin, subject) as writer,
            contextlib.closing(build_progress(config, datasets)) as progress,
        ):
            callbacks = build_callbacks(
                config, run=run, tracker=tracker, datasets=datasets, writer=writer, progress=progress
            )
            train_model(model, datasets, epochs=config.optimization.epochs, callbacks=callbacks.callbacks)
        if not callbacks.best.kept:
            raise TrainingError(f"{config.selection.monitor} was never finite: choose a smaller --learning_rate")
        evaluate_best(config, datasets, run=run, tracker=tracker, step=int(model.optimizer.iterations.numpy()))
    record = run.record()
    seconds = time.perf_counter() - started
    return ExperimentResult(run, name, record["best_epoch"], record["metrics"], record["weights_digest"], seconds)


def check_monitor(selection: SelectionConfig, *, num_classes: int) -> None:
    """Raises UnknownNameError if the monitored metric will not be measured."""
    measured = metric_names(selection.metrics, num_classes)
    available = [*measured, *(f"val_{name}" for name in measured)]
    if selection.monitor not in available:
        raise unknown_name("monitored metric", selection.monitor, available)


@contextlib.contextmanager
def open_run(
    config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any]
) -> Iterator[tuple[Run, str, Tracker]]:
    """Makes the run folder and starts the trackers; when the block ends, records how it ended.

    Yields:
        The run, its name, and the trackers as one.
    """
    name = config.tracking.run_name or default_run_name(config, dataset)
    mlflow_tracker = MlflowTracker(config.tracking)
    trackers: list[Tracker] = [TensorBoardTracker()] if config.tracking.tensorboard else []
    try:
        run_id = mlflow_tracker.open(name)
        trackers.insert(0, mlflow_tracker)
    except StoreError as err:
        # The folder is the truth: a training is not given up because a database is damaged.
        _log.warning("%s; the run goes on without MLflow", err)
        run_id = uuid.uuid4().hex
    identity = {"dataset_name": dataset.name, "dataset_id": dataset.id}
    run = create_run(config.tracking.store, run_id, name=name, config=config, **identity, **facts)
    tracker = CompositeTracker(trackers)
    status = Status.FAILED
    try:
        write_run_files(run, config, dataset)
        tracker.start(RunDescription(run, name, config, dataset.name, dataset.id, _profile(dataset), facts))
        yield run, name, tracker
        status = Status.FINISHED
    except KeyboardInterrupt:
        status = Status.KILLED
        raise
    except BaseException as err:
        run.update(error=f"{type(err).__name__}: {err}")
        raise
    finally:
        run.update(status=status, ended=now())
        tracker.finish(status)


def default_run_name(config: ExperimentConfig, dataset: Dataset) -> str:
    """A readable name: `resnet20-digits-adamw-lr0.001-seed0`."""
    optimization = config.optimization
    rate = f"lr{optimization.learning_rate:g}"
    return f"{config.model.model}-{dataset.name}-{optimization.optimizer}-{rate}-seed{config.seed}"


def write_run_files(run: Run, config: ExperimentConfig, dataset: Dataset) -> None:
    """Writes what is known of a run before its first step: flags, environment, manifest."""
    write_text_atomically(run.path / FLAGS_FILE, config_to_flagfile(config))
    write_environment(run.path)
    with atomic_file(run.path / "dataset" / "manifest.parquet") as temporary:
        dataset.manifest.to_parquet(temporary, index=False)


def evaluate_best(config: ExperimentConfig, datasets: Datasets, *, run: Run, tracker: Tracker, step: int) -> None:
    """Evaluates the best checkpoint on the test split, from its file, once; draws the pictures; records the metrics."""
    record = run.record()
    checkpoint = load_checkpoint(run.path / record["best_checkpoint"])
    evaluation = evaluate_model(checkpoint.model, datasets, "test", metric_names=config.selection.metrics)
    write_evaluation(evaluation, datasets, run.path)
    write_samples(datasets.dataset, run.path / "dataset" / "samples.png")
    metrics = {f"test_{name}": value for name, value in evaluation.metrics.items()}
    points = make_points(metrics, step=step, epoch=record["best_epoch"])
    run.append_points(points)
    tracker.log_points(points)
    run.update(metrics=record["metrics"] | metrics, weights_digest=checkpoint.metadata["weights_digest"])


def _profile(dataset: Dataset) -> dict[str, Any]:
    splits = ("train", "validation", "test")
    return {"classes": dataset.num_classes, "image_shape": list(dataset.image_shape)} | {
        split: dataset.count(split) for split in splits
    }
