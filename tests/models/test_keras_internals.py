"""What dlexp relies on in Keras without Keras documenting it; a failure names the file of Keras to look at."""

import contextlib
import datetime
import json
import pathlib
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlexp.models import keras_internals
from dlexp.models.keras_internals import KerasChangedError
from tests.support.pins import Pin

IMAGES = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
TARGETS = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)


def keras_pin(what: str, file: str) -> Pin:
    return Pin("Keras", what, f"keras/src/{file}")


def build_model(optimizer: Any = "sgd", **settings: Any) -> keras.Model:
    """Two dense layers, compiled with a mean squared error and an accuracy."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", metrics=[keras.metrics.CategoricalAccuracy("accuracy")], **settings)
    return model


def train_step(model: keras.Model) -> None:
    model.train_on_batch(IMAGES, TARGETS)


def batches(count: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((IMAGES, TARGETS)).repeat(count)


def true_gradients(model: keras.Model) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(IMAGES) - TARGETS) ** 2)
    return [gradient.numpy() for gradient in tape.gradient(loss, model.trainable_variables)]


@pytest.mark.parametrize("error", [AssertionError, AttributeError, TypeError])
def test_pin_says_what_changed_and_where(error: type[Exception]) -> None:
    with (
        pytest.raises(
            pytest.fail.Exception, match=r"^Keras changed the rate: see keras/src/rate.py \(\w+: it is gone\)"
        ),
        keras_pin("the rate", "rate.py"),
    ):
        raise error("it is gone")


@keras_pin("LossScaleOptimizer.inner_optimizer", "optimizers/loss_scale_optimizer.py")
def test_inner_optimizer_is_the_one_that_takes_the_steps() -> None:
    adam = keras.optimizers.Adam(0.1)
    model = build_model(keras.optimizers.LossScaleOptimizer(adam))
    train_step(model)
    assert keras_internals.inner_optimizer(model.optimizer) is adam
    assert int(adam.iterations) == 1
    assert keras_internals.inner_optimizer(adam) is adam


@pytest.mark.parametrize("is_wrapped", [False, True])
@keras_pin("the moving averages of an optimizer", "optimizers/base_optimizer.py")
def test_moving_averages_are_those_computed_by_hand(is_wrapped: bool) -> None:
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75)
    model = build_model(keras.optimizers.LossScaleOptimizer(optimizer) if is_wrapped else optimizer)
    train_step(model)
    first = model.get_weights()
    train_step(model)
    expected = [0.75 * one + 0.25 * other for one, other in zip(first, model.get_weights(), strict=True)]
    averages = keras_internals.moving_averages(model.optimizer)
    for average, variable, value in zip(averages, model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(average.numpy(), value, rtol=1e-5, err_msg=variable.path)
    np.testing.assert_array_equal(model.get_weights()[0] == expected[0], np.zeros((2, 3), bool))


@keras_pin("where an optimizer keeps its learning rate", "optimizers/base_optimizer.py")
def test_traced_step_reads_the_learning_rate_from_its_source() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert keras_internals.learning_rate_source(keras.optimizers.SGD(schedule)) is schedule
    model = build_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    train_step(model)
    before = model.get_weights()
    keras_internals.learning_rate_source(model.optimizer).assign(0.0)
    train_step(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("is_wrapped", [False, True])
@keras_pin("when an optimizer reads its weight decay", "backend/tensorflow/optimizer.py")
def test_traced_step_takes_another_weight_decay(is_wrapped: bool) -> None:
    optimizer = keras.optimizers.SGD(1.0, weight_decay=0.25)
    keras_internals.use_decay_variable(optimizer, 0.25)
    assert any(variable is optimizer.weight_decay for variable in optimizer.variables)
    model = build_model(keras.optimizers.LossScaleOptimizer(optimizer) if is_wrapped else optimizer)
    kernel = model.layers[0].kernel
    nothing = np.zeros_like(IMAGES)  # its gradient is 0: the kernel changes by its decay alone
    for weight_decay in (0.25, 0.5):
        keras_internals.set_weight_decay(model.optimizer, weight_decay)
        before = kernel.numpy()
        model.train_on_batch(nothing, TARGETS)
        np.testing.assert_allclose(kernel.numpy(), (1 - weight_decay) * before, rtol=1e-6)


@pytest.mark.parametrize("is_wrapped", [False, True])
@keras_pin("the way of the gradients from train_step to Optimizer.apply", "backend/tensorflow/trainer.py")
def test_gradients_are_watched_before_clipping_and_unscaled(is_wrapped: bool) -> None:
    optimizer = keras.optimizers.SGD(0.1, global_clipnorm=1e-3)
    model = build_model(keras.optimizers.LossScaleOptimizer(optimizer) if is_wrapped else optimizer)
    model.optimizer.build(model.trainable_variables)
    watched = [tf.Variable(tf.zeros(variable.shape)) for variable in model.trainable_variables]

    def watch(gradients: Any, variables: Any) -> None:
        assert list(variables) == model.trainable_variables
        for variable, gradient in zip(watched, gradients, strict=True):
            variable.assign(gradient)

    keras_internals.watch_gradients(model.optimizer, watch)
    for _ in range(2):  # the second step is not traced
        expected = true_gradients(model)
        train_step(model)
        for variable, gradient in zip(watched, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("is_wrapped", [False, True])
@keras_pin("the way of the gradients from train_step to Optimizer.apply", "backend/tensorflow/trainer.py")
def test_gradients_are_collected_in_place_of_an_update_and_applied_after_it(is_wrapped: bool) -> None:
    optimizer = keras.optimizers.SGD(0.1)
    model = build_model(keras.optimizers.LossScaleOptimizer(optimizer) if is_wrapped else optimizer)
    model.optimizer.build(model.trainable_variables)
    scale = float(model.optimizer.dynamic_scale) if is_wrapped else 1.0
    expected, before = true_gradients(model), model.get_weights()
    with keras_internals.collecting_gradients(model.optimizer) as calls:
        model.train_step((IMAGES, TARGETS))
    ((gradients, variables),) = calls
    assert list(variables) == model.trainable_variables
    for gradient, true, weight, old in zip(gradients, expected, model.get_weights(), before, strict=True):
        np.testing.assert_allclose(gradient / scale, true, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(weight, old)
    model.train_step((IMAGES, TARGETS))
    for true, weight, old in zip(expected, model.get_weights(), before, strict=True):
        np.testing.assert_allclose(weight, old - 0.1 * true, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps_per_execution", [1, 2])
@keras_pin("train_step, dynamic_scale or _iterations", "backend/tensorflow/trainer.py")
def test_steps_are_counted_when_updates_are_skipped(steps_per_execution: int) -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model, counted = build_model(optimizer, steps_per_execution=steps_per_execution), tf.Variable(0)
    assert keras_internals.skips_updates(model.optimizer)
    assert not keras_internals.skips_updates(optimizer.inner_optimizer)
    keras_internals.watch_steps(model, lambda: counted.assign_add(1))
    overflowing = tf.data.Dataset.from_tensors((IMAGES, np.full_like(TARGETS, np.inf))).repeat(2)
    iterator = keras_internals.begin_steps(model, overflowing.concatenate(batches(2)))
    for _ in range(4 // steps_per_execution):
        keras_internals.take_steps(model, iterator)
    assert int(counted) == 4
    assert keras_internals.count_updates(model.optimizer) == 2


@keras_pin("make_train_function, train_function or steps_per_execution", "backend/tensorflow/trainer.py")
def test_steps_taken_from_an_iterator_are_those_of_fit() -> None:
    model, by_fit = build_model(steps_per_execution=2), build_model(steps_per_execution=2)
    iterator = keras_internals.begin_steps(model, batches(4))
    assert keras_internals.steps_per_call(model) == 2
    for call in (1, 2):
        logs = keras_internals.take_steps(model, iterator)
        assert int(model.optimizer.iterations) == 2 * call
    history = by_fit.fit(batches(4), verbose=0).history
    assert {name: [float(value)] for name, value in logs.items()} == history
    for one, other in zip(model.get_weights(), by_fit.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@keras_pin("get_metrics_result or the metric named loss", "trainers/trainer.py")
def test_metrics_so_far_are_over_all_steps_of_the_epoch() -> None:
    model = build_model()
    losses = []
    iterator = keras_internals.begin_steps(model, batches(2))
    for _ in range(2):
        losses.append(float(np.mean((model(IMAGES).numpy() - TARGETS) ** 2)))
        keras_internals.take_steps(model, iterator)
    assert keras_internals.loss_so_far(model) == pytest.approx(np.mean(losses), rel=1e-5)
    metrics = keras_internals.metrics_so_far(model)
    assert list(metrics) == ["loss", "accuracy"]
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


class CountingModel(keras.Model):
    """Lists its own metric before the loss, which is then not the first."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.counted = keras.layers.Dense(2), keras.metrics.Sum("counted")

    def call(self, images: Any) -> Any:
        return self.dense(images)

    @property
    def metrics(self) -> list[Any]:
        return [self.counted, *super().metrics]


def test_loss_is_found_by_its_name() -> None:
    model = CountingModel()
    model.compile("sgd", "mse")
    train_step(model)
    assert model.metrics[0].name == "counted"
    assert keras_internals.loss_so_far(model) > 0


@keras_pin("metrics_variables, or compute_metrics as what builds the metrics", "trainers/trainer.py")
def test_metrics_of_another_model_take_the_values_over() -> None:
    trained, fresh = build_model(), build_model()
    train_step(trained)
    keras_internals.make_metric_variables(fresh, 10)
    sources, targets = map(keras_internals.metric_variables, (trained, fresh))
    assert [variable.path for variable in targets] == [variable.path for variable in sources]
    for source, target in zip(sources, targets, strict=True):
        target.assign(source)
    assert keras_internals.metrics_so_far(fresh) == keras_internals.metrics_so_far(trained)


@keras_pin(
    "_keras_logits, so that softmax_without_logits may not be needed or not be enough", "backend/tensorflow/nn.py"
)
def test_binary_metric_takes_the_probabilities_and_not_the_logits() -> None:
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    labels = np.array([[1.0, 0.0, 0.0]], np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum()
    expected = -np.mean(labels * np.log(softmax) + (1 - labels) * np.log(1 - softmax))
    measured, by_softmax = keras.metrics.BinaryCrossentropy(), keras.metrics.BinaryCrossentropy()
    measured.update_state(labels, keras_internals.softmax_without_logits(logits))
    by_softmax.update_state(labels, keras.ops.softmax(logits))
    assert float(measured.result()) == pytest.approx(expected, rel=1e-5)
    assert float(by_softmax.result()) != pytest.approx(expected, rel=1e-2)


class ThreadRecorder(keras.callbacks.Callback):
    """Records in which thread Keras calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.threads.add(threading.get_ident())


@keras_pin("the thread in which callbacks are called (IS_THREAD_SAFE)", "backend/tensorflow/core.py")
@pytest.mark.parametrize("async_safe", [False, True])
def test_callbacks_are_called_in_the_thread_of_the_training(async_safe: bool) -> None:
    recorder = ThreadRecorder()
    recorder.async_safe = async_safe
    build_model().fit(batches(3), callbacks=[recorder], verbose=0)
    assert recorder.threads == {threading.get_ident()}


@keras_pin("what EarlyStopping remembers", "callbacks/early_stopping.py")
def test_memory_of_early_stopping_survives_the_next_epoch() -> None:
    stopper = keras.callbacks.EarlyStopping("val_loss", patience=3, mode="min")
    stopper.set_model(build_model())
    stopper.on_train_begin()
    assert list(keras_internals.get_memory(stopper)) == ["wait", "best", "best_epoch", "stopped_epoch"]
    keras_internals.set_memory(stopper, {"wait": 1, "best": 0.5, "best_epoch": 4, "stopped_epoch": 0})
    stopper.on_epoch_end(6, {"val_loss": 0.6})
    expected = {"wait": 2, "best": 0.5, "best_epoch": 4, "stopped_epoch": 0}
    assert keras_internals.get_memory(stopper) == expected
    stopper.on_epoch_end(7, {"val_loss": 0.7})
    assert stopper.model.stop_training
    assert keras_internals.get_memory(stopper) == expected | {"wait": 3, "stopped_epoch": 7}


@keras_pin("what ReduceLROnPlateau remembers", "callbacks/reduce_lr_on_plateau.py")
def test_memory_of_the_plateau_survives_the_next_epoch() -> None:
    model = build_model(keras.optimizers.SGD(1.0))
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=3, mode="min", factor=0.5, cooldown=2)
    plateau.set_model(model)
    plateau.on_train_begin()
    assert list(keras_internals.get_memory(plateau)) == ["wait", "best", "cooldown_counter"]
    keras_internals.set_memory(plateau, {"wait": 1, "best": 0.5, "cooldown_counter": 0})
    plateau.on_epoch_end(6, {"val_loss": 0.6})
    assert keras_internals.get_memory(plateau) == {"wait": 2, "best": 0.5, "cooldown_counter": 0}
    plateau.on_epoch_end(7, {"val_loss": 0.7})
    assert keras_internals.get_memory(plateau) == {"wait": 0, "best": 0.5, "cooldown_counter": 2}
    assert float(model.optimizer.learning_rate) == 0.5


def test_attribute_that_a_callback_no_longer_has_is_an_error_and_not_forgotten() -> None:
    stopper = keras.callbacks.EarlyStopping("val_loss")
    stopper.on_train_begin()
    del stopper.best_epoch
    sentence = r"^Keras changed EarlyStopping: best_epoch is missing in Keras \S+ \(see keras/src/callbacks/early_stopp"
    with pytest.raises(KerasChangedError, match=sentence):
        keras_internals.get_memory(stopper)
    with pytest.raises(KerasChangedError, match=sentence):
        keras_internals.set_memory(stopper, {"best_epoch": 3})


def test_other_callbacks_remember_nothing() -> None:
    assert keras_internals.get_memory(keras.callbacks.History()) == {}


@keras_pin("the members of a .keras archive", "saving/saving_lib.py")
def test_archive_has_the_known_members_and_its_weights_lie_in_one_piece(tmp_path: pathlib.Path) -> None:
    model = build_model()
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    known = {keras_internals.NETWORK_MEMBER, keras_internals.DATE_MEMBER, keras_internals.WEIGHTS_MEMBER}
    assert members.keys() == known
    contents = members[keras_internals.WEIGHTS_MEMBER]
    arrays = {contents[start : start + size] for start, size in keras_internals.find_arrays(contents)}
    assert arrays >= {weight.tobytes() for weight in model.get_weights()}
    assert json.loads(members[keras_internals.NETWORK_MEMBER])["class_name"] == "Sequential"


@keras_pin("the date in a .keras archive", "saving/saving_lib.py")
def test_date_of_an_archive_is_renewed_in_its_format(tmp_path: pathlib.Path) -> None:
    build_model().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        written = archive.read(keras_internals.DATE_MEMBER)
    old, renewed = json.loads(written), json.loads(keras_internals.with_date(written))
    assert renewed.keys() == old.keys() == {"keras_version", "date_saved"}
    first, second = (datetime.datetime.strptime(item["date_saved"], "%Y-%m-%d@%H:%M:%S") for item in (old, renewed))
    assert datetime.timedelta() <= second - first < datetime.timedelta(hours=1)


@keras_pin("the key compile_config of a serialized model", "saving/serialization_lib.py")
def test_serialized_network_is_not_compiled() -> None:
    model = build_model()
    assert "compile_config" in keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(keras_internals.serialize_network(model))
    assert not again.compiled
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


@keras.saving.register_keras_serializable(package="pins")
class Registered(keras.layers.Dense):
    """A layer that checkpoints can be loaded with."""


class Unregistered(keras.layers.Dense):
    """A layer that they cannot be loaded with."""


def double(images: Any) -> Any:
    return 2 * images


def custom_objects_of(*layers: keras.layers.Layer) -> set[str]:
    model = keras.Sequential([keras.Input((2,)), *layers])
    return set(keras_internals.find_custom_objects(keras.saving.serialize_keras_object(model)))


@keras_pin("the keys of a serialized object", "saving/serialization_lib.py")
def test_custom_objects_of_a_serialized_model_are_found() -> None:
    assert custom_objects_of(keras.layers.Dense(2, activation="relu"), keras.layers.BatchNormalization()) == set()
    assert custom_objects_of(Registered(2)) == {"pins>Registered"}
    assert custom_objects_of(Unregistered(2)) == {f"{__name__}.Unregistered"}
    assert custom_objects_of(keras.layers.Activation(double)) == {"double"}
    assert custom_objects_of(keras.layers.Lambda(lambda images: images)) == {keras_internals.LAMBDA}


@keras_pin("the global seed", "utils/rng_utils.py")
def test_global_seed_is_restored_with_the_numbers_drawn_so_far() -> None:
    before = keras_internals.get_global_seed()
    keras.utils.set_random_seed(5)
    keras.random.uniform((1,))
    seeded = keras_internals.get_global_seed()
    expected = [float(keras.random.uniform(())) for _ in range(2)][1]
    keras.utils.set_random_seed(5)
    first = [float(keras.random.uniform(())) for _ in range(2)]
    keras_internals.set_global_seed(seeded)
    assert float(keras.random.uniform(())) != first[0]
    assert expected not in first
    keras_internals.set_global_seed({name: None for name in before})
    assert set(keras_internals.get_global_seed().values()) == {None}
    keras_internals.set_global_seed(before)


class OwnTestStep(keras.Model):
    """Has its own validation step."""

    def test_step(self, data: Any) -> Any:
        return super().test_step(data)


@keras_pin("the package of its classes", "models/model.py")
def test_method_of_a_subclass_is_told_from_that_of_keras() -> None:
    assert keras_internals.has_own(OwnTestStep(), "test_step")
    assert not keras_internals.has_own(OwnTestStep(), "compute_loss")
    assert not keras_internals.has_own_validation(build_model())


@keras_pin("_flatten_layers", "layers/layer.py")
def test_layers_at_any_depth_are_found_once() -> None:
    shared = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((2,)), shared, keras.Sequential([shared, keras.layers.ReLU()])])
    found = keras_internals.flatten_layers(model)
    assert {type(layer).__name__ for layer in found} >= {"Dense", "Sequential", "ReLU"}
    assert len([layer for layer in found if layer is shared]) == 1


@keras_pin("_nodes_by_depth", "ops/function.py")
def test_graph_of_a_model_has_each_call_after_those_that_it_takes_its_inputs_from() -> None:
    pixels = keras.Input((2,))
    shared = keras.layers.Dense(2)
    model = keras.Model(pixels, keras.layers.Add()([shared(shared(pixels)), pixels]))
    graph = keras_internals.layer_graph(model)
    assert graph is not None
    assert [type(call.operation).__name__ for call in graph.calls] == ["Dense", "Dense", "Add"]
    known = set(map(id, graph.inputs))
    for call in graph.calls:
        assert known.issuperset(map(id, call.inputs))
        known.update(map(id, call.outputs))
    assert known.issuperset(map(id, graph.outputs))


@keras_pin("_functional", "models/sequential.py")
def test_graph_of_a_sequential_model_is_that_of_its_layers() -> None:
    graph = keras_internals.layer_graph(build_model())
    assert graph is not None
    assert [type(call.operation).__name__ for call in graph.calls] == ["Dense", "Dense"]


def test_what_python_calls_has_no_graph() -> None:
    assert keras_internals.layer_graph(OwnTestStep()) is None
    assert keras_internals.layer_graph(keras.layers.Dense(2)) is None


@keras_pin("make_train_function, which takes train_step from the model", "backend/tensorflow/trainer.py")
def test_training_step_is_watched_while_it_is_traced() -> None:
    calls: list[int] = []
    model = build_model()

    @contextlib.contextmanager
    def watch() -> Iterator[None]:
        calls.append(1)
        yield

    keras_internals.watch_train_step(model, watch)
    train_step(model)
    train_step(model)
    assert 1 <= len(calls) <= 2


@keras.saving.register_keras_serializable("tests.keras_internals")
class WithoutBuild(keras.layers.Layer):
    """Makes its inner layer in `__init__`, and has no `build()`, as many published layers."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.inner = keras.layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


def test_model_whose_layers_have_no_build_is_rebuilt_without_a_warning() -> None:
    model = keras.Sequential([keras.Input((2,)), WithoutBuild()])
    config = keras.saving.serialize_keras_object(model)
    with (
        keras_pin("the warning of a layer without build()", "layers/layer.py"),
        pytest.warns(match="was called on layer"),
    ):
        keras.saving.deserialize_keras_object(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with keras_internals.rebuilding():
            rebuilt = keras.saving.deserialize_keras_object(config)
    assert len(rebuilt.weights) == 2


@keras_pin("_compile_metrics, and the count of a mean", "trainers/trainer.py and metrics/reduction_metrics.py")
def test_mean_without_a_value_is_left_out() -> None:
    model = build_model()
    train_step(model)
    assert keras_internals.without_idle(model, {"loss": 0.0, "accuracy": 0.0}) == {"loss": 0.0, "accuracy": 0.0}
    model.reset_metrics()
    assert keras_internals.without_idle(model, {"loss": 0.0, "accuracy": 0.0, "other": 0.0}) == {"other": 0.0}
    assert keras_internals.without_idle(model, {"loss": 0.5}) == {"loss": 0.5}


@keras_pin("loss, steps_per_execution and the metrics of compile", "trainers/trainer.py and trainers/compile_utils.py")
def test_arguments_that_compile_does_not_pass_on_are_found() -> None:
    model = build_model()
    arguments: dict[str, Any] = {"optimizer": keras.optimizers.SGD(), "loss": "mse", "metrics": []}
    model.compile(**arguments, steps_per_execution=2)
    assert keras_internals.not_compiled(model, {**arguments, "steps_per_execution": 2}) == []
    others = {"optimizer": keras.optimizers.SGD(), "loss": "mae", "metrics": ["accuracy"], "steps_per_execution": 1}
    assert keras_internals.not_compiled(model, others) == list(others)
    assert keras_internals.not_compiled(OwnTestStep(), others) == ["optimizer", "loss", "metrics"]


class OwnCompile(keras.Sequential):
    """Has its own `compile`."""

    def compile(self, **given: Any) -> None:
        super().compile(**given)


@keras_pin("compile_config", "saving/serialization_lib.py")
def test_model_with_its_own_compile_is_compiled_as_its_file_says(tmp_path: pathlib.Path) -> None:
    path, model = tmp_path / "model.keras", OwnCompile([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(loss="mse", optimizer="sgd")
    model.save(path)
    loaded = keras.saving.load_model(path, custom_objects={"OwnCompile": OwnCompile}, compile=False)
    with zipfile.ZipFile(path) as file:
        keras_internals.compile_as_saved(loaded, file.read(keras_internals.NETWORK_MEMBER))
    assert loaded.evaluate(IMAGES, TARGETS, verbose=0) == model.evaluate(IMAGES, TARGETS, verbose=0)


@keras_pin("make_train_function, which takes train_step from the model", "backend/tensorflow/trainer.py")
def test_training_step_is_wrapped() -> None:
    model = build_model()
    keras_internals.wrap_train_step(model, lambda step, data: {**step(data), "batch": float(len(data))})
    model.fit(batches(1), verbose=0)
    assert "batch" in model.history.history
