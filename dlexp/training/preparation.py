"""Builds data and model of an experiment, and checks that they fit together, before anything is written."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from dlexp.checkpoints.archive import NetworkArchive
from dlexp.checkpoints.initial_weights import initialize_weights
from dlexp.checkpoints.portable import build_portable_model, check_saved_network
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset, Datasets, open_dataset
from dlexp.datasets.inspection.findings import cut_keys, find_exact_leaks
from dlexp.datasets.inspection.unused_bits import unused_bits
from dlexp.datasets.sources.left_out import warn_of_left_out
from dlexp.errors import ConfigError, ModelError
from dlexp.evaluation.defined_metrics import check_defined
from dlexp.evaluation.metrics import portable_metrics
from dlexp.evaluation.network import EvaluationNetwork
from dlexp.models import build_model, custom_layers
from dlexp.models.contract import describe_error
from dlexp.models.keras_internals import has_own_validation
from dlexp.models.probe import validate_once
from dlexp.registry import MODELS
from dlexp.runs.metric_names import check_monitor
from dlexp.runs.preflight import check_names, check_store
from dlexp.training.batch_norm import set_momentum, spread_momentum
from dlexp.training.compiling import compile_model, reseed_python, seed_everything, use_threads
from dlexp.training.data_clock import DataClock
from dlexp.training.gradients import GradientWatch
from dlexp.training.memory_check import warn_of_memory
from dlexp.training.statistics import facts_of_statistics, measure_channels
from dlexp.training.step_counter import StepCounter
from dlexp.training.trace_draws import TraceDraws
from dlexp.training.untracked_state import UntrackedState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PortableModel:
    """The model that checkpoints hold in place of the one under training, so that plain Keras can open them.

    Attributes:
        model: see `build_portable_model`.
        archive: saves it with given weights.
        custom_layers: names of the classes that it needs in addition to Keras' own.
    """

    model: keras.Model
    archive: NetworkArchive
    custom_layers: Sequence[str]


@dataclass(frozen=True)
class Meters:
    """What measures a training from inside its traced functions.

    Attributes:
        gradients: records the gradients that the optimizer receives.
        clock: measures how long the training waits for data.
        steps: counts the training steps.
        untracked_state: finds what no checkpoint holds.
        trace_draws: finds random numbers that are drawn while the step is traced.
    """

    gradients: GradientWatch
    clock: DataClock
    steps: StepCounter
    untracked_state: UntrackedState
    trace_draws: TraceDraws

    def reset(self) -> None:
        """Drops all measurements, for another training."""
        self.gradients.reset()
        self.clock.reset()
        self.steps.set(0)


@dataclass(frozen=True)
class Setup:
    """Data and model of an experiment, which fit together.

    Attributes:
        config: of the experiment.
        datasets: training, validation and test batches.
        model: the compiled model to train.
        facts: for the record, see `compile_model`.
        portable: what is saved in place of the model.
        meters: measure the training of the model.
        evaluation_network: evaluates checkpoints.
    """

    config: ExperimentConfig
    datasets: Datasets
    model: keras.Model
    facts: Mapping[str, Any]
    portable: PortableModel
    meters: Meters
    evaluation_network: EvaluationNetwork


def prepare(
    config: ExperimentConfig,
    *,
    initialize: bool = True,
    choose_examples: Callable[[Dataset], Dataset] = lambda dataset: dataset,
) -> Setup:
    """Builds data and model; writes nothing.

    A model that cannot be used is refused before pixels are read, unless its builder takes their statistics.

    Args:
        config: of the experiment.
        initialize: load the weights of `init_checkpoint`, if there is one; a resume restores others.
        choose_examples: returns the dataset with the examples that are used; a measurement of memory uses fewer.
    """
    if config.data.has_auto_size:
        raise ConfigError(
            "batch_size=auto is chosen by measurements before the training, not by it: give a number, or "
            "config.replace(**dlexp.choose_batch_size([config]))"
        )
    check_names(config)
    check_store(config.tracking.store)
    use_threads(config.execution.num_threads)
    seed_everything(config.seed, deterministic=config.execution.deterministic)
    dataset = open_dataset(config.data)
    check_monitor_of(config, dataset)
    dataset = choose_examples(dataset)
    make_datasets = functools.cache(lambda: Datasets(config, dataset))
    model = build(config, dataset, make_datasets)
    portable_model = build_portable_model(
        model, metrics=portable_metrics(), name=config.model.model, dtype_policy=config.execution.dtype_policy
    )
    if not MODELS.is_builtin(config.model.model):
        check_saved_network(model, portable_model, input_shape=dataset.image_shape, name=config.model.model)
    datasets, steps = make_datasets(), StepCounter()
    facts = initialize_and_compile(model, config, datasets, initialize=initialize, steps=steps)
    warn_of_memory(model, config, dataset.image_shape, dataset.num_classes)
    set_momentum(portable_model, config.model, steps_per_epoch=datasets.steps_per_epoch)
    gradients = GradientWatch(
        model,
        steps,
        steps_per_epoch=datasets.steps_per_epoch,
        every_steps=config.tracking.log_every_steps,
        keep=config.tracking.histograms,
    )
    # Of the portable model only: what the training alone needs, such as a custom schedule, is not saved.
    layers = custom_layers(portable_model)
    reseed_python(config.seed)
    return Setup(
        # The number, not auto: other images are then decoded as those of the training.
        config=config.replace(bits=str(dataset.bits)),
        datasets=datasets,
        model=model,
        facts=facts,
        portable=PortableModel(portable_model, NetworkArchive(portable_model), layers),
        meters=Meters(gradients, DataClock(), steps, UntrackedState(model), TraceDraws(model, dataset.image_shape)),
        evaluation_network=EvaluationNetwork(),
    )


def build_compiled(
    config: ExperimentConfig, datasets: Datasets, *, initialize: bool, steps: StepCounter
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Builds and compiles a model that `prepare` has checked; returns it with facts. Seed everything before."""
    model = build(config, datasets.dataset, lambda: datasets, check=False)
    return model, initialize_and_compile(model, config, datasets, initialize=initialize, steps=steps)


def build(
    config: ExperimentConfig, dataset: Dataset, make_datasets: Callable[[], Datasets], *, check: bool = True
) -> keras.Model:
    """Builds the model of a config for a dataset; only a builder that takes statistics needs its pixels."""
    return build_model(
        config.model,
        dataset.image_shape,
        dataset.num_classes,
        dtype_policy=config.execution.dtype_policy,
        statistics=lambda: measure_channels(make_datasets()),
        check=check,
    )


def initialize_and_compile(
    model: keras.Model, config: ExperimentConfig, datasets: Datasets, *, initialize: bool, steps: StepCounter
) -> Mapping[str, Any]:
    """Loads the weights of `init_checkpoint`, if there is one, and compiles; returns facts for the record."""
    momentum = set_momentum(model, config.model, steps_per_epoch=datasets.steps_per_epoch)
    parent = {}
    if config.model.init_checkpoint and initialize:
        parent = initialize_weights(model, config.model, store=config.tracking.store)
    facts = compile_model(model, config, datasets, steps=steps) | parent
    spread = None
    if micro_batches := facts.get("micro_batches"):
        spread = spread_momentum(model, micro_batches=micro_batches)
    check_own_validation(model, config, datasets.dataset)
    facts |= facts_of_statistics(datasets)
    warn_of_left_out(datasets.dataset.source)
    if message := unused_bits(datasets.dataset):
        _log.warning("%s", message)
    of_data = {"split_method_chosen": datasets.dataset.split_method, "exact_leaks": warn_of_leaks(datasets.dataset)}
    of_momentum = {"batch_norm_momentum_chosen": momentum, "batch_norm_momentum_of_micro_batches": spread}
    return facts | of_data | {name: value for name, value in of_momentum.items() if value is not None}


def check_monitor_of(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raises ConfigError if the monitored metric is not measured, or not defined for the examples of its split."""
    check_monitor(config, dataset.class_names)
    check_defined("monitor", config.selection.monitor, config, dataset)


def check_own_validation(model: keras.Model, config: ExperimentConfig, dataset: Dataset) -> None:
    """Raises ModelError if a model's own `test_step` fails, or does not measure the monitored metric."""
    if not has_own_validation(model):
        return
    name, monitor = config.model.model, config.selection.monitor
    try:
        measured = validate_once(model, dataset.image_shape, dataset.num_classes)
    except Exception as err:
        raise ModelError(f"test_step of model {name} fails: {describe_error(err, None)}") from err
    if monitor.startswith("val_") and monitor.removeprefix("val_") not in measured:
        raise ModelError(
            f"test_step of model {name} measures {', '.join(measured) or 'nothing'}, but the monitored metric is "
            f"{monitor}: update that metric and return it from test_step, or give "
            "--monitor=val_NAME with --monitor_mode=min or --monitor_mode=max"
        )


def warn_of_leaks(dataset: Dataset) -> int:
    """Warns of images with equal bytes in more than one split; returns their number."""
    leaks = find_exact_leaks(dataset.manifest)
    if len(leaks):
        _log.warning(
            "%d images of %s are in more than one split, so accuracies on it are too good: the first is %s; "
            "dlexp data check lists all",
            len(leaks), dataset.name, cut_keys(leaks["keys"].iloc[0]),
        )  # fmt: skip
    return len(leaks)
