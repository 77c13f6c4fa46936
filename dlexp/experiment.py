"""One experiment as a story: data, model, run, callbacks, training, evaluation, record."""

import contextlib
import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from dlexp.checkpoints.files import drop_state
from dlexp.checkpoints.resume import ResumePoint, find_resume_point, remove_leftovers, restore_model
from dlexp.checkpoints.writer import CheckpointContext, CheckpointWriter
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset
from dlexp.errors import DivergedError, TrainingError
from dlexp.evaluation.chance import explain_validation_at_chance
from dlexp.evaluation.compact_predictions import write_compact
from dlexp.evaluation.evaluate import Evaluation, evaluate_splits
from dlexp.evaluation.folder import write_evaluation, write_predictions
from dlexp.evaluation.options import FOLDER
from dlexp.evaluation.scoring import Scoring
from dlexp.evaluation.split_prediction import Predictions, predict_split
from dlexp.evaluation.verification import measure_validation, predict_validation, verify_best
from dlexp.machine.one_at_a_time import only_training
from dlexp.machine.signals import StopRequests, catch_signals
from dlexp.reports.dataset_samples import write_samples
from dlexp.reports.history import PICTURE_FILE as HISTORY_FILE
from dlexp.reports.history import draw_history
from dlexp.runs.batch_sizes import check_batch_size
from dlexp.runs.best_values import best_values
from dlexp.runs.metric_keys import metric_key
from dlexp.runs.recipe import resolve_recipe
from dlexp.runs.result import ExperimentResult, read_result
from dlexp.runs.resuming import ResumePlan, plan_resume
from dlexp.runs.run import SweepTrial
from dlexp.runs.store import find_run
from dlexp.tracking.session import RunSession, open_run, reopen_run
from dlexp.tracking.sync import read_best_model
from dlexp.training.callbacks.build import build_callbacks
from dlexp.training.callbacks.progress import build_progress, print_dataset
from dlexp.training.loop import train_model
from dlexp.training.peak_memory import PeakMeter
from dlexp.training.preparation import Setup, prepare
from dlexp.training.process_state import keeping_the_callers_state

_log = logging.getLogger(__name__)


def run_experiment(
    config: ExperimentConfig,
    *,
    trial: SweepTrial | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    prepare_setup: Callable[..., Setup] = prepare,
) -> ExperimentResult:
    """Trains one model, keeps its best and its last checkpoint, evaluates the best, and records all of it.

    Nothing is written before data and model are built and fit together. SIGTERM, SIGINT and SIGUSR1 stop the training
    within one step, after it has saved a checkpoint for `resume_experiment`.

    The process of the caller is left as it was: random state, dtype policy, signal handlers, MLflow's tracking URI and
    active run. An active MLflow run of the caller in the same store becomes the parent of this run.

    Args:
        config: of the experiment.
        trial: the trial of a sweep that this run is, if any.
        callbacks: called after the checkpoints of an epoch have been requested; they may end the training by raising.
        prepare_setup: builds data and model; a sweep passes one that reuses traced networks.

    Raises:
        DlexpError: a field of the config, the data, the model or the store is not usable.
        ConfigError: the experiment or the sweep has another batch size, see `check_batch_size`.
        TrainingError: another training is under way in this process.
        InterruptedRunError: a signal has stopped the training.

    Example:
        >>> result = run_experiment(ExperimentConfig.of(dataset="digits", model="mlp", epochs=3))
        >>> result.metrics["test_accuracy"]
    """
    started = time.perf_counter()
    with only_training(), _process_of(trial), catch_signals() as requests:
        peak = PeakMeter()
        check_batch_size(config, sweep=trial.sweep if trial else "")
        setup = prepare_setup(resolve_recipe(config))
        with (
            requests.defer(),
            open_run(setup.config, setup.datasets.dataset, setup.facts, trial) as session,
            peak.recording(session.run),
        ):
            train_and_evaluate(setup, session, requests, extra_callbacks=callbacks)
    return read_result(session.run, seconds=time.perf_counter() - started)


def resume_experiment(
    reference: str | pathlib.Path,
    *,
    store: str = "mlruns",
    trial: SweepTrial | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    prepare_setup: Callable[..., Setup] = prepare,
    extend_schedule: bool = False,
    **changes: Any,
) -> ExperimentResult:
    """Resumes a run that was stopped or killed; the result is bit for bit that of a run that was never stopped.

    Args:
        reference: the run by ID, prefix, name, folder or `latest`.
        store: folder of the store where runs are looked up.
        trial: see `run_experiment`; a trial that is resumed by hand is a run like any other.
        callbacks: see `run_experiment`.
        prepare_setup: see `run_experiment`.
        extend_schedule: see `plan_resume`.
        changes: config fields with new values: `epochs` may be raised, and fields that the result does not depend on
            may differ, such as `num_workers`.

    Returns:
        The result; if the run is finished already, the recorded one.

    Raises:
        RunNotFoundError: there is no such run.
        ConfigError: a change would make another training.
        StoreError: another process trains the run.
        DlexpError: see `run_experiment`.
    """
    plan = plan_resume(find_run(reference, store), changes, extend_schedule=extend_schedule)
    return resume_run(plan, trial=trial, callbacks=callbacks, prepare_setup=prepare_setup)


def resume_run(
    plan: ResumePlan,
    *,
    trial: SweepTrial | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    prepare_setup: Callable[..., Setup] = prepare,
) -> ExperimentResult:
    """Carries out a plan of `plan_resume`; the arguments, result and errors are those of `resume_experiment`."""
    started, run = time.perf_counter(), plan.run
    if plan.is_finished:
        return read_result(run, seconds=time.perf_counter() - started)
    with only_training(), _process_of(trial), catch_signals() as requests, run.hold():
        peak = PeakMeter()
        remove_leftovers(run)
        point = find_resume_point(run)
        setup = prepare_setup(plan.config, initialize=point.path is None)
        if point.path is not None:
            num_classes = setup.datasets.dataset.num_classes
            restore_model(setup.model, setup.portable.model, point, num_classes=num_classes)
        with (
            requests.defer(),
            reopen_run(run, plan.config, setup.datasets.dataset, setup.facts, trial) as session,
            peak.recording(run),
        ):
            train_and_evaluate(setup, session, requests, start=point, extra_callbacks=callbacks)
    return read_result(run, seconds=time.perf_counter() - started)


def _process_of(trial: SweepTrial | None) -> contextlib.AbstractContextManager[None]:
    """Keeps the state of the caller's process; the processes of a sweep have no caller, and train many models."""
    return contextlib.nullcontext() if trial else keeping_the_callers_state()


def train_and_evaluate(
    setup: Setup,
    session: RunSession,
    requests: StopRequests,
    *,
    start: ResumePoint | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains from the start or from a resume point, then evaluates the best checkpoint on the test split."""
    config, datasets, model = setup.config, setup.datasets, setup.model
    if config.execution.verbose:
        print_dataset(datasets.dataset)
    context = CheckpointContext.of(session.run, session.name, config, datasets.dataset, setup.portable.custom_layers)
    with (
        CheckpointWriter(model, setup.portable.archive, context) as writer,
        contextlib.closing(build_progress(config, datasets)) as progress,
    ):
        callbacks = build_callbacks(
            setup,
            session=session,
            writer=writer,
            progress=progress,
            requests=requests,
            extra_callbacks=extra_callbacks,
        )
        if start is not None:
            callbacks.last_checkpoint.continue_from(start.position, metrics=start.metrics, is_last=start.is_last)
        try:
            train_model(
                model,
                datasets,
                epochs=config.optimization.epochs,
                callbacks=callbacks.in_order,
                clock=setup.meters.clock,
                steps=setup.meters.steps,
                start=start,
            )
        except DivergedError:
            if config.tracking.evaluation_report:
                draw_history(session.run)
            raise
    best_epochs = callbacks.best_checkpoint.kept_epochs
    if not best_epochs:
        raise TrainingError(
            f"{config.selection.monitor} was a finite number after no epoch: monitor another metric, or choose a "
            "smaller --learning_rate"
        )
    evaluate_best(setup, session, requests)
    for best in best_epochs:
        drop_state(session.run.checkpoints_folder / best.file)
    session.tracker.log_best(read_best_model(session.run))


def evaluate_best(setup: Setup, session: RunSession, requests: StopRequests) -> None:
    """Evaluates the best checkpoint, loaded from its file; records its metrics on test, and notes cautions."""
    run, record, step = session.run, session.run.record(), setup.meters.steps.taken()
    checkpoint = setup.evaluation_network.load(run.path / record["best_checkpoint"])
    forward, scoring, datasets = setup.evaluation_network.forward(setup.datasets), scoring_of(setup), setup.datasets
    evaluations: dict[str, Evaluation] = {}
    with requests.allow():
        if setup.config.tracking.evaluation_report:
            evaluations = evaluate_splits(
                checkpoint, datasets, ("validation", "test"), scoring=scoring, forward=forward
            )
            predictions, on_validation = evaluations["test"].predictions, evaluations["validation"].predictions.metrics
        else:
            predictions = predict_split(forward, datasets, "test", scoring=scoring)
            answers = predict_validation(forward, datasets)
            on_validation = measure_validation(*answers, scoring)
            write_compact(run.path / FOLDER / "validation", *answers)
        differences = verify_best(setup.model, checkpoint, forward, datasets, measured=on_validation)
    note_cautions(session, differences, datasets.dataset.counts()["validation"].tolist())
    if evaluations:
        write_reports(session, evaluations, datasets.dataset, step=step)
    else:
        write_predictions(run.path / FOLDER / "test", predictions)
    metrics = metrics_of_test(predictions)
    session.log_values(best_values(record) | metrics, step=step, epoch=record["best_epoch"])
    run.update(
        metrics=record["metrics"] | metrics,
        weights_digest=checkpoint.metadata["weights_digest"],
        verified=not differences,
    )


def note_cautions(session: RunSession, differences: Sequence[str], validation_counts: Sequence[int]) -> None:
    """Warns and notes in the record if the best checkpoint is not what was recorded, or if nothing was learned."""
    not_verified = (
        "the best checkpoint does not give the values that its epoch recorded on validation: "
        f"{', '.join(differences)}: do not use this run before the cause is found, such as a state of the model that "
        "no checkpoint holds"
    )
    at_chance = explain_validation_at_chance(session.log.points, validation_counts)
    for name, text in (("not verified", not_verified if differences else None), ("validation at chance", at_chance)):
        session.run.caution(name, text)
        if text:
            _log.warning("%s", text)


def write_reports(session: RunSession, evaluations: Mapping[str, Evaluation], dataset: Dataset, *, step: int) -> None:
    """Draws all pictures of the run, and writes the evaluations of its splits."""
    run, cautions = session.run, session.run.cautions()
    write_samples(dataset, run.path / "dataset" / "samples.png")
    for split, evaluation in evaluations.items():
        written = write_evaluation(run.path / FOLDER / split, evaluation, dataset, cautions=cautions)
        for name, path in written.pictures.items():
            session.tracker.log_image(f"evaluation/{split}/{name}", path, step=step)
    draw_history(run)
    session.tracker.log_image("history", run.path / HISTORY_FILE, step=step)


def scoring_of(setup: Setup) -> Scoring:
    """What an evaluation measures: the loss and the metrics of the training."""
    return Scoring.of(setup.config.selection.metrics, setup.config.optimization, setup.portable.model)


def metrics_of_test(predictions: Predictions) -> dict[str, float]:
    """The metrics of the test split as a run records them: `test_accuracy`, and by source `test_accuracy/photos`."""
    metrics = {f"test_{name}": value for name, value in predictions.metrics.items()}
    for source, of_source in predictions.per_source.items():
        metrics |= {f"test_{name}/{metric_key(source)}": value for name, value in of_source.items()}
    return metrics
