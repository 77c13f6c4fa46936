"""All uses of undocumented members of Keras, one function for each.

Each function names the file of Keras (below `keras/src`) and the attribute that it relies on, and says what goes wrong
without it. A test of each, in `tests/models/test_keras_internals.py`, fails with "Keras changed ..." if it no longer
holds. The bound on Keras in `setup.cfg` is the version that these tests ran with.
"""

import contextlib
import contextvars
import datetime
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
from keras import ops
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

from dlexp.errors import DlexpError

# Members of a `.keras` archive: `_VARS_FNAME_H5`, `_METADATA_FILENAME` and `_CONFIG_FILENAME` of saving/saving_lib.py.
# Without them no archive could reuse the bytes of an earlier one, and each checkpoint would need a newly built network.
WEIGHTS_MEMBER = "model.weights.h5"
DATE_MEMBER = "metadata.json"
NETWORK_MEMBER = "config.json"

# How the names of variables begin that dlexp adds to a training step, and sets again after a resume.
OWN_PREFIX = "dlexp_"

# What saving/serialization_lib.py writes in place of a function without a name. Without it, dlexp would train a model
# with a lambda, and its checkpoints could not be loaded.
LAMBDA = "__lambda__"

# The state that Keras' own callbacks keep from epoch to epoch, and the file that defines it: see `get_memory`.
_REMEMBERED: Mapping[type, tuple[str, tuple[str, ...]]] = {
    keras.callbacks.EarlyStopping: ("callbacks/early_stopping.py", ("wait", "best", "best_epoch", "stopped_epoch")),
    keras.callbacks.ReduceLROnPlateau: ("callbacks/reduce_lr_on_plateau.py", ("wait", "best", "cooldown_counter")),
}

_in_training_step = contextvars.ContextVar("in_training_step", default=False)


class LayerCall(NamedTuple):
    """A call of a layer or operation in a model, on Keras tensors."""

    operation: Any
    inputs: Sequence[Any]
    outputs: Sequence[Any]


class LayerGraph(NamedTuple):
    """The calls in a model, each after those that it takes its inputs from; `inputs` and `outputs` are the model's."""

    inputs: Sequence[Any]
    calls: Sequence[LayerCall]
    outputs: Sequence[Any]


class KerasChangedError(DlexpError, AttributeError):
    """Keras lacks an attribute that dlexp relies on: it is not the tested version."""

    def __init__(self, owner: str, name: str, file: str) -> None:
        super().__init__(
            f"Keras changed {owner}: {name} is missing in Keras {keras.__version__} (see keras/src/{file}): install "
            "the version of Keras that dlexp asks for"
        )


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the optimizer that updates the weights, unwrapped if `compile` wrapped it for mixed_float16.

    Relies on `LossScaleOptimizer.inner_optimizer` (optimizers/loss_scale_optimizer.py). The wrapper has a learning
    rate, a weight decay and a `use_ema` too, and uses none of them: reading or setting those would be silently wrong.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return _read(optimizer, "inner_optimizer", "optimizers/loss_scale_optimizer.py")


def moving_averages(optimizer: keras.optimizers.Optimizer) -> Sequence[Any]:
    """Returns the variables with the moving averages of the weights, in the order of `model.trainable_variables`.

    Relies on `_model_variables_moving_average` (optimizers/base_optimizer.py), made by `build` from the variables that
    it is given. Keras' own SwapEMAWeights reads it too. Without it no run with ema_decay can be validated or saved; in
    another order, weights would be replaced by the averages of other weights.

    Args:
        optimizer: built, with `use_ema`.
    """
    return _read(inner_optimizer(optimizer), "_model_variables_moving_average", "optimizers/base_optimizer.py")


def learning_rate_source(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the object that a traced step reads the learning rate from: the schedule itself, or a variable.

    Relies on `_learning_rate` (optimizers/base_optimizer.py); the public `learning_rate` gives the current rate. If
    it became a copy, a warm network would train with the learning rate of the previous trial.
    """
    return _read(inner_optimizer(optimizer), "_learning_rate", "optimizers/base_optimizer.py")


def use_decay_variable(optimizer: keras.optimizers.Optimizer, weight_decay: float) -> None:
    """Replaces the optimizer's weight decay by a variable, so that a traced step uses a value that is set later.

    Relies on `_apply_weight_decay` (backend/tensorflow/optimizer.py), which casts `weight_decay` in every step; and on
    `BaseOptimizer.__setattr__`, which makes the variable one of `optimizer.variables`. If the number were read once, a
    warm network would train with the weight decay of the previous trial.

    Args:
        optimizer: not built yet, and not wrapped.
        weight_decay: above 0; without decay, Keras expects None or 0.
    """
    optimizer.weight_decay = keras.Variable(
        weight_decay, dtype="float32", trainable=False, name=f"{OWN_PREFIX}weight_decay"
    )


def set_weight_decay(optimizer: keras.optimizers.Optimizer, weight_decay: float) -> None:
    """Changes the weight decay of an optimizer that `use_decay_variable` prepared; others stay unchanged."""
    inner = inner_optimizer(optimizer)
    if isinstance(inner.weight_decay, keras.Variable):
        inner.weight_decay.assign(weight_decay)


def watch_gradients(optimizer: keras.optimizers.Optimizer, watch: Callable[[Sequence[Any], Any], None]) -> None:
    """Calls a function with the gradients of every update, before they are clipped, and unscaled in mixed_float16.

    Relies on `train_step` (backend/tensorflow/trainer.py) ending in `apply_gradients`, which calls the public `apply`
    with all gradients, those of a LossScaleOptimizer multiplied by its `dynamic_scale`. If they took another way, the
    function would never be called, and the recorded gradient norms would be NaN.

    Args:
        optimizer: built, of a model whose train function is not made yet.
        watch: is traced with the step; is called with the gradients, of which some may be None, and the variables that
            they belong to, None for all of the optimizer. The gradients are not finite at a step whose update a
            LossScaleOptimizer skips.
    """
    apply = optimizer.apply

    def watched_apply(gradients: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        unscaled = gradients
        if skips_updates(optimizer):
            scale = _read(optimizer, "dynamic_scale", "optimizers/loss_scale_optimizer.py")
            unscaled = [None if item is None else ops.divide(item, scale) for item in gradients]
        watch(unscaled, trainable_variables)
        return apply(gradients, trainable_variables)

    optimizer.apply = watched_apply


@contextlib.contextmanager
def collecting_gradients(optimizer: keras.optimizers.Optimizer) -> Iterator[list[tuple[Sequence[Any], Any]]]:
    """Collects gradients during the block, in place of updating weights.

    Relies on the same as `watch_gradients`; those of a LossScaleOptimizer are scaled. If they took another way, every
    micro-batch would update the weights.

    Args:
        optimizer: built.

    Returns:
        One tuple for each update: the gradients, and the variables that they belong to, None for all of the optimizer.
    """
    apply, calls = optimizer.apply, list[tuple[Sequence[Any], Any]]()

    def collect(gradients: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        calls.append((gradients, trainable_variables))

    optimizer.apply = collect
    try:
        yield calls
    finally:
        optimizer.apply = apply


def watch_steps(model: keras.Model, count: Callable[[], Any]) -> None:
    """Calls a function once in every training step, after its update, even if the optimizer skips the update.

    Relies on `make_train_function` (backend/tensorflow/trainer.py) calling the public `train_step` of the model once
    for each batch. If it did not, steps would be counted wrongly, and schedules would not move.

    Args:
        model: its train function is not made yet.
        count: is traced with the step.
    """
    train_step = model.train_step

    def counted_step(data: Any) -> Any:
        token = _in_training_step.set(True)
        try:
            logs = train_step(data)
        finally:
            _in_training_step.reset(token)
        count()
        return logs

    model.train_step = counted_step


def is_training_step() -> bool:
    """Whether a step of a model that `watch_steps` watches is being traced, and not a step of its validation."""
    return _in_training_step.get()


def count_updates(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns how often an optimizer has received gradients that were not skipped; waits for the device.

    Relies on `_iterations` (optimizers/base_optimizer.py): the public `iterations` is divided by the number of steps of
    a gradient accumulation.
    """
    return int(_read(inner_optimizer(optimizer), "_iterations", "optimizers/base_optimizer.py").numpy())


def skips_updates(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer skips an update if gradients overflow, as `compile` arranges for mixed_float16."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def get_global_seed() -> Mapping[str, Any]:
    """Returns the seed that `keras.utils.set_random_seed` set, and the generator of random numbers made from it.

    Relies on the attributes of the global state that are named in utils/rng_utils.py and random/seed_generator.py.
    Without them a training would change the random numbers that the caller draws after it.
    """
    return {name: global_state.get_global_attribute(name) for name in (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)}


def global_seed_states() -> list[Any]:
    """Returns the variable of the generator that `get_global_seed` returns, in a list; empty if there is none yet."""
    generator = get_global_seed()[GLOBAL_SEED_GENERATOR]
    return [] if generator is None else [generator.state]


def set_global_seed(seed: Mapping[str, Any]) -> None:
    """Restores what `get_global_seed` returned; relies on the same attributes."""
    for name, value in seed.items():
        global_state.set_global_attribute(name, value)


def watch_train_step(model: keras.Model, watch: Callable[[], AbstractContextManager[Any]]) -> None:
    """Enters a context around each call of a model's `train_step`, which is when the step is traced.

    Relies on `make_train_function` (backend/tensorflow/trainer.py) taking the method from the model, not from its
    class. If it took another way, the function would never be called, and state that is in no checkpoint would not be
    found.

    Args:
        model: its train function is not made yet.
        watch: makes the context.
    """

    def watched(train_step: Callable[[Any], Any], data: Any) -> Any:
        with watch():
            return train_step(data)

    wrap_train_step(model, watched)


def wrap_train_step(model: keras.Model, wrap: Callable[[Callable[[Any], Any], Any], Any]) -> None:
    """Calls a function in place of a model's `train_step`; it gets that method and the batch.

    Relies on the same as `watch_train_step`. Without it an error of a model's own step would not name the model.
    """
    train_step = model.train_step
    model.train_step = lambda data: wrap(train_step, data)


def begin_steps(model: keras.Model, dataset: Any) -> Iterator[Any]:
    """Makes the train function of a model, and the iterator that `take_steps` takes its batches from.

    Relies on `make_train_function` and `distribute_strategy`, which `fit` uses (backend/tensorflow/trainer.py). Without
    them nothing can be trained. tests/training/test_loop.py shows that the loop around them does what `fit` does.

    Args:
        model: compiled.
        dataset: a `tf.data.Dataset` of all batches from the first step on.
    """
    model.make_train_function()
    return iter(model.distribute_strategy.experimental_distribute_dataset(dataset))


def take_steps(model: keras.Model, batches: Iterator[Any]) -> dict[str, Any]:
    """Trains for `steps_per_call(model)` steps.

    Relies on `train_function` (backend/tensorflow/trainer.py), looked up at each call as `fit` does: a callback may
    have made another one.

    Returns:
        What `train_step` returned for the last step, as tensors. `CallbackList.on_train_batch_end` makes floats of
        them, which waits for the device. `async_safe = True` does not change that: with
        TensorFlow, Keras calls all callbacks in the training's thread (`IS_THREAD_SAFE` in backend/tensorflow/core.py,
        since https://github.com/keras-team/keras/pull/20383).
    """
    logs: dict[str, Any] = model.train_function(batches)
    return logs


def steps_per_call(model: keras.Model) -> int:
    """Returns the number of steps in one call of the train function.

    Relies on `steps_per_execution` (trainers/trainer.py), set by `compile`. With another number, steps would be counted
    wrongly, and an epoch would end early or late.
    """
    return int(model.steps_per_execution)


def metrics_so_far(model: keras.Model) -> dict[str, float]:
    """Returns all metrics of the epoch so far, including the loss, by name; waits for the device."""
    return without_idle(model, {name: float(value) for name, value in metric_results(model).items()})


def metric_results(model: keras.Model) -> dict[str, Any]:
    """Returns what all metrics have measured since the last reset, by name, as tensors, inside a traced step too.

    Relies on `get_metrics_result` (trainers/trainer.py), with which `fit` makes the logs of an epoch, and a training
    step its own. Without it an epoch would have no metrics.
    """
    results: dict[str, Any] = model.get_metrics_result()
    return results


def without_idle(model: keras.Model, values: Mapping[str, float]) -> dict[str, float]:
    """Returns the values by name without those of means that no step has updated since the last reset.

    Keras gives 0 for such a mean, as for the loss of a model whose own `train_step` or `test_step` does not update it.
    A value other than 0 comes from the step itself. Relies on `metrics` (trainers/trainer.py and compile_utils.py), and
    on `count` (metrics/reduction_metrics.py). Without them a loss of 0 would be recorded that nobody measured.
    """
    compiled = _read(model, "_compile_metrics", "trainers/trainer.py")
    metrics = [*model.metrics, *(compiled.metrics if compiled is not None else ())]
    counts = {metric.name: getattr(metric, "count", None) for metric in metrics}
    idle = {name for name, count in counts.items() if count is not None and not float(count)}
    return {name: value for name, value in values.items() if value or name not in idle}


def compile_as_saved(model: keras.Model, network_member: bytes) -> None:
    """Compiles a loaded model as its file says, with the `compile` of Keras also if the model has its own.

    Relies on `compile_config` in NETWORK_MEMBER (saving/serialization_lib.py). Keras leaves a model with its own
    `compile` uncompiled, and wraps the optimizer in half precision, which the saved one is not.
    """
    if config := json.loads(network_member).get("compile_config"):
        keras.Model.compile(model, **keras.saving.deserialize_keras_object(config), auto_scale_loss=False)


def not_compiled(model: keras.Model, arguments: Mapping[str, Any]) -> list[str]:
    """Returns those arguments of `compile` that a model's own `compile` has not passed on to Keras.

    Relies on `loss`, `steps_per_execution` and `_compile_metrics` (trainers/trainer.py), and on `_user_metrics`
    (trainers/compile_utils.py). Without them a model could train with another optimizer or loss than it is recorded
    with.

    Args:
        model: compiled.
        arguments: `optimizer`, `loss`, `metrics`, `steps_per_execution` and others, which are not compared.
    """
    optimizer, metrics = getattr(model, "optimizer", None), getattr(model, "_compile_metrics", None)
    given = {
        "optimizer": None if optimizer is None else inner_optimizer(optimizer),
        "loss": getattr(model, "loss", None),
        "metrics": None if metrics is None else _read(metrics, "_user_metrics", "trainers/compile_utils.py"),
    }
    missing = [name for name, value in given.items() if value is not arguments[name]]
    if getattr(model, "steps_per_execution", None) != arguments["steps_per_execution"]:
        missing.append("steps_per_execution")
    return missing


def loss_so_far(model: keras.Model) -> float:
    """Returns the mean loss of the epoch so far; waits for the device.

    Relies on `Trainer.metrics` (trainers/trainer.py) having one named "loss"; in a model that lists its own metrics
    and none of that name, the first is taken. With another metric, a mid-epoch checkpoint could hold a model whose loss
    is NaN.
    """
    metrics = model.metrics
    loss = next((metric for metric in metrics if metric.name == "loss"), metrics[0])
    return float(loss.result())


def metric_variables(model: keras.Model) -> list[Any]:
    """Returns the variables of all metrics, in an order that is the same in another process.

    Relies on `metrics_variables` (trainers/trainer.py). In another order, a run resumed mid-epoch would report mixed-up
    metrics for that epoch.
    """
    variables: list[Any] = model.metrics_variables
    return variables


def make_metric_variables(model: keras.Model, num_classes: int) -> None:
    """Makes the variables of all metrics, which Keras makes only with the first batch; their values are arbitrary.

    Relies on `_compile_metrics` (trainers/trainer.py), whose `update_state` builds the metrics of `compile` with a
    dummy batch of labels and predictions. Without it `metric_variables` would be shorter in a new process, and a
    checkpoint of a mid-epoch step could not be resumed. The public `compute_metrics` calls it, but a model may have its
    own, which needs images.

    Args:
        model: compiled, with one output `(batch, num_classes)`.
        num_classes: number of classes.
    """
    metrics = _read(model, "_compile_metrics", "trainers/trainer.py")
    if metrics is not None:
        dummy = np.zeros((1, num_classes), np.float32)
        metrics.update_state(dummy, dummy)


def flatten_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns all layers within a model, at any depth, each of them once; without the model itself.

    Relies on `_flatten_layers` (layers/layer.py); the public `layers` lists only the first level, and exists on models
    only. With fewer layers, an error about a model could not name the layer.
    """
    return list(_read(model, "_flatten_layers", "layers/layer.py")(include_self=False))


def layer_graph(model: Any) -> LayerGraph | None:
    """Returns how the layers of a model call each other; None if Python code calls them, as in a subclass of Model.

    Relies on `_nodes_by_depth` of Function (ops/function.py), deepest first, on its nodes (ops/node.py), and on
    `_functional` of Sequential (models/sequential.py). Without it the memory that a training needs could only be
    estimated by tracing the model, which takes seconds.

    Args:
        model: a built model, or another layer or operation, which has no graph.
    """
    if not isinstance(model, keras.Model) or has_own(model, "call"):
        return None
    if isinstance(model, keras.Sequential):
        model = _read(model, "_functional", "models/sequential.py")
    if not isinstance(model, keras.Function):
        return None
    by_depth = _read(model, "_nodes_by_depth", "ops/function.py")
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    calls = [LayerCall(node.operation, node.input_tensors, node.outputs) for node in nodes]
    return LayerGraph(model.inputs, calls, model.outputs)


def has_own_validation(model: keras.Model) -> bool:
    """Returns whether a model validates in another way than Keras: with its own steps, loss or metrics."""
    methods = ("test_step", "compute_loss", "compute_metrics", "get_metrics_result", "evaluate")
    return any(has_own(model, method) for method in methods)


def has_own(model: keras.Model, method: str) -> bool:
    """Returns whether the class of a model defines a method such as `test_step` in place of Keras.

    Relies on Keras' own classes being in the package `keras`. If they moved, every model would count as having its own
    method, and the loss of its best checkpoint would be verified by a second way only.
    """
    owner = next(kind for kind in type(model).__mro__ if method in vars(kind))
    return owner.__module__.partition(".")[0] != "keras"


def softmax_without_logits(logits: Any) -> Any:
    """Returns probabilities as `float32`, without Keras' reference to the logits.

    `softmax` and `sigmoid` attach `_keras_logits` to their result (activations/activations.py and
    backend/tensorflow/nn.py). `binary_crossentropy` reads it in place of the probabilities, and takes the logits of a
    softmax for those of a sigmoid: BinaryCrossentropy and the like would be wrong.

    Args:
        logits: `(batch, num_classes)` of any float dtype.
    """
    return ops.exp(ops.log_softmax(ops.cast(logits, "float32")))


def get_memory(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Returns the state of EarlyStopping or ReduceLROnPlateau, by attribute; empty for other callbacks.

    Relies on the attributes in `_REMEMBERED`. A missing attribute is an error: if it were ignored, a resumed
    run would stop, or lower its learning rate, at another epoch.

    Args:
        callback: after its `on_train_begin`, which makes some of them.

    Raises:
        KerasChangedError: an attribute is missing.
    """
    file, names = _remembered_by(callback)
    return {name: _read(callback, name, file) for name in names}


def set_memory(callback: keras.callbacks.Callback, values: Mapping[str, Any]) -> None:
    """Restores the state of a callback that `get_memory` returned.

    Relies on nothing resetting these attributes after `on_train_begin`. In a development version of Keras,
    `MonitorCallback._set_monitor_op` (callbacks/monitor_callback.py) sets `best` at the first epoch end: with it, a
    resumed run takes its first epoch as the best.

    Args:
        callback: after its `on_train_begin`.
        values: the state, by attribute.

    Raises:
        KerasChangedError: an attribute is missing.
    """
    file, _ = _remembered_by(callback)
    for name, value in values.items():
        _read(callback, name, file)
        setattr(callback, name, value)


def _remembered_by(callback: keras.callbacks.Callback) -> tuple[str, tuple[str, ...]]:
    """Returns the file of Keras and the attributes of a callback; no attributes for a callback of another class."""
    return next((known for kind, known in _REMEMBERED.items() if isinstance(callback, kind)), ("callbacks/", ()))


def with_date(metadata: bytes) -> str:
    """Returns the member DATE_MEMBER of a `.keras` archive with the current time.

    Relies on its key `date_saved` and on the format of the time (saving/saving_lib.py). Keras does not read it.
    """
    return json.dumps(json.loads(metadata) | {"date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")})


def find_arrays(weights_member: bytes) -> list[tuple[int, int]]:
    """Returns the offset and size, in bytes, of every array that is stored in WEIGHTS_MEMBER in one piece.

    Relies on `H5IOStore` (saving/saving_lib.py) writing each array as one HDF5 dataset, neither compressed nor in
    chunks. Where it does not, fewer arrays are found, and `NetworkArchive` leaves the writing to Keras: slower.
    """
    found = []

    def note(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (start := item.id.get_offset()) is not None:
            found.append((start, item.id.get_storage_size()))

    with h5py.File(io.BytesIO(weights_member)) as file:
        file.visititems(note)
    return found


def serialize_network(model: keras.Model) -> dict[str, Any]:
    """Returns the config of a model without its compile arguments.

    Relies on the key `compile_config` (saving/serialization_lib.py). If it had another name, a model of a plug-in whose
    loss or optimizer cannot be rebuilt would be refused.
    """
    config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    return config


@contextlib.contextmanager
def rebuilding() -> Iterator[None]:
    """Suppresses Keras' warning that a layer without `build()` may lack weights after it is rebuilt from its config.

    dlexp checks before a training that none is missing. Relies on the text of the warning (layers/layer.py); if it were
    another, every start and every load of such a model would show it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`build\(\)` was called on layer '.*', however the layer does not have"
        )
        yield


def find_custom_objects(config: Any) -> Iterator[str]:
    """Finds the classes and functions in a serialized model that Keras cannot load by itself.

    Relies on the keys `class_name`, `module`, `registered_name` and `config` of what `serialize_keras_object` returns,
    and on "function" as the class of a function (saving/serialization_lib.py). If they changed, a layer that no
    checkpoint can be loaded with would go unnoticed until a checkpoint is loaded.

    Args:
        config: what `serialize_keras_object` returned, or a part of it.

    Returns:
        Their names, as often as they occur: "package>Name" if registered, "module.Name" if not, LAMBDA for a lambda.
    """
    if isinstance(config, dict):
        name, module = str(config.get("class_name")), str(config.get("module") or "")
        if name == LAMBDA:
            yield LAMBDA
        elif name == "function":
            yield str(config["config"])
        elif "registered_name" in config and module.partition(".")[0] not in ("keras", "builtins"):
            registered = str(config["registered_name"] or name)
            yield registered if ">" in registered else f"{module}.{name}".lstrip(".")
        config = config.values()
    elif not isinstance(config, (list, tuple)):
        return
    for part in config:
        yield from find_custom_objects(part)


def _read(owner: Any, name: str, file: str) -> Any:
    """Returns an attribute or raises KerasChangedError; `getattr` with a default would hide that it is missing."""
    try:
        return getattr(owner, name)
    except AttributeError as err:
        raise KerasChangedError(type(owner).__name__, name, file) from err
