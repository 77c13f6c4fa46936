"""Sets seeds and threads, and compiles a model with its optimizer, loss and metrics."""

import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import ExecutionConfig
from dlexp.datasets import Datasets
from dlexp.errors import ConfigError, DlexpError, ModelError
from dlexp.evaluation.losses import loss_of
from dlexp.evaluation.metrics import build_metrics
from dlexp.models.contract import describe_error
from dlexp.models.keras_internals import has_own, not_compiled, wrap_train_step
from dlexp.models.own_loss import has_own_loss
from dlexp.registry import MODELS
from dlexp.training.micro_batches import count_micro_batches, use_micro_batches
from dlexp.training.optimizers import build_optimizer
from dlexp.training.step_counter import StepCounter

_SMALL_MODEL_PARAMETERS = 500_000
_SMALL_BATCH_VALUES = 16 * 32 * 32
_MOST_STEPS_PER_EXECUTION = 32
_JIT_COMPILE: dict[str, Any] = {"auto": "auto", "true": True, "false": False}


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seeds Python, NumPy and TensorFlow. Call it before the model is built, as layers draw their seeds then.

    Args:
        seed: the experiment's seed.
        deterministic: use only deterministic operations; slower on a GPU, no difference on a CPU.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def reseed_python(seed: int) -> None:
    """Sets the random numbers of Python and NumPy to where each training starts.

    Callbacks of a plug-in may draw from them; how much is drawn while a model is built depends on what is checked.
    """
    random.seed(seed)
    np.random.seed(seed)


def use_threads(num_threads: int) -> None:
    """Sets the number of TensorFlow's intra-op and inter-op threads; 0: one per core.

    Raises:
        ConfigError: TensorFlow already runs in this process, with another number.
    """
    threading = tf.config.threading
    if num_threads == threading.get_intra_op_parallelism_threads():
        return
    try:
        threading.set_intra_op_parallelism_threads(num_threads)
        threading.set_inter_op_parallelism_threads(num_threads)
    except RuntimeError as err:
        raise ConfigError(
            f"num_threads={num_threads} cannot be set any more, as TensorFlow already runs in this process with "
            f"{threading.get_intra_op_parallelism_threads()}: train in a separate process"
        ) from err


def compile_model(
    model: keras.Model, config: ExperimentConfig, datasets: Datasets, *, steps: StepCounter
) -> dict[str, Any]:
    """Compiles the model with the optimizer, loss and metrics of a config.

    Labels are one-hot, and may be soft: label smoothing and MixUp are applied to the training data, not in the loss.
    The loss on validation and test data is therefore the plain loss, comparable across runs. If it is not the
    cross-entropy, that is measured too, as `cross_entropy`.

    Args:
        model: built.
        config: of the experiment.
        datasets: training, validation and test batches.
        steps: will count the steps of the model.

    Returns:
        Facts for the record: num_parameters, steps_per_epoch, the steps_per_execution_chosen, and the number of
        micro_batches in a step, if it takes more than one.
    """
    _check_class_weights(model, config)
    dataset, steps_per_epoch, num_parameters = datasets.dataset, datasets.steps_per_epoch, model.count_params()
    steps_per_execution = choose_steps_per_execution(
        config.execution,
        steps_per_epoch=steps_per_epoch,
        num_parameters=num_parameters,
        batch_values=config.data.batch_size * math.prod(dataset.image_shape),
        acts_every=[every for every in (config.tracking.log_every_steps, config.execution.save_every_steps) if every],
    )
    arguments = {
        "optimizer": build_optimizer(config.optimization, model, steps_per_epoch=steps_per_epoch, steps=steps),
        "loss": loss_of(config.optimization, dataset.num_classes),
        "metrics": build_metrics(
            config.selection.metrics,
            dataset.class_names,
            examples=dataset.count("validation"),
            loss="" if has_own_loss(model) else config.optimization.loss,
        ),
        "jit_compile": _JIT_COMPILE[config.execution.jit_compile],
        "steps_per_execution": steps_per_execution,
    }
    try:
        model.compile(**arguments)
    except Exception as err:
        if not has_own(model, "compile"):
            raise
        raise ModelError(
            f"compile() of model {config.model.model} fails: {describe_error(err, None)}: give it the arguments "
            f"{', '.join(arguments)} of keras.Model.compile, and pass what else it needs to the constructor"
        ) from err
    if missing := not_compiled(model, arguments):
        raise ModelError(
            f"compile() of model {config.model.model} does not pass on {', '.join(missing)}: call super().compile() "
            "with all arguments that it gets, and compute a loss of your own in compute_loss"
        )
    if not MODELS.is_builtin(config.model.model):
        wrap_train_step(model, functools.partial(_checked_step, config.model.model))
    if (micro_batches := count_micro_batches(config.data)) > 1:
        use_micro_batches(model, config.model.model, size=config.data.micro_batch_size)
    # Build now: otherwise the first step creates the variables and is traced twice.
    model.optimizer.build(model.trainable_variables)
    steps.watch(model)
    return {
        "num_parameters": num_parameters,
        "steps_per_epoch": steps_per_epoch,
        "steps_per_execution_chosen": steps_per_execution,
        **({"micro_batches": micro_batches} if micro_batches > 1 else {}),
    }


def _checked_step(name: str, train_step: Callable[[Any], Any], data: Any) -> Any:
    """Takes a step of a plug-in's model; raises ModelError, while it is traced, if it fails or cannot be recorded."""
    try:
        logs = train_step(data)
    except DlexpError:
        raise
    except Exception as err:
        raise ModelError(f"the training step of model {name} fails: {describe_error(err, None)}") from err
    if not isinstance(logs, dict) or not logs:
        raise ModelError(
            f"train_step of model {name} returns {logs!r}, and must return numbers by name: return "
            "self.compute_metrics(images, labels, logits)"
        )
    for key, value in logs.items():
        if tuple(getattr(value, "shape", ())):
            raise ModelError(f"train_step of model {name} returns {key} of shape {tuple(value.shape)}: return its mean")
    return logs


def _check_class_weights(model: keras.Model, config: ExperimentConfig) -> None:
    """Raises ConfigError if the model computes its loss in a way that knows no weights."""
    if config.optimization.class_weights != "none" and type(model).train_step is not keras.Model.train_step:
        raise ConfigError(
            f"class_weights={config.optimization.class_weights} has no effect in the train_step of model "
            f"{config.model.model}, which takes images and labels: use --sampling=balanced"
        )


def choose_steps_per_execution(
    execution: ExecutionConfig,
    *,
    steps_per_epoch: int,
    num_parameters: int,
    batch_values: int,
    acts_every: Sequence[int] = (),
) -> int:
    """Chooses the number of steps per call of the compiled function; it divides `steps_per_epoch`.

    Several steps per call pay only where the call costs as much as a step. With `auto`, small models on small batches
    therefore get the largest divisor up to 32, and all others 1. The divisor does not exceed a number in `acts_every`,
    as points and checkpoints are possible only between two calls.

    Args:
        execution: `steps_per_execution` is `auto` or a number.
        steps_per_epoch: steps of an epoch.
        num_parameters: of the model.
        batch_values: pixel values in a batch of images.
        acts_every: steps between two points, and between two checkpoints.

    Raises:
        ConfigError: the given number does not divide `steps_per_epoch`.
    """
    if execution.steps_per_execution != "auto":
        asked = int(execution.steps_per_execution)
        if steps_per_epoch % asked:
            fitting = ", ".join(map(str, _divisors(steps_per_epoch, most=steps_per_epoch)))
            raise ConfigError(
                f"steps_per_execution={asked} does not divide the {steps_per_epoch} steps of an epoch: use {fitting}"
            )
        return asked
    if num_parameters > _SMALL_MODEL_PARAMETERS or batch_values > _SMALL_BATCH_VALUES:
        return 1
    return _divisors(steps_per_epoch, most=min([_MOST_STEPS_PER_EXECUTION, *acts_every]))[-1]


def _divisors(number: int, *, most: int) -> list[int]:
    return [divisor for divisor in range(1, most + 1) if number % divisor == 0]
