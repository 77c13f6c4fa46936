"""What a plug-in's model is refused for, and that the advice of each message works."""

import random
import sys
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from dlexp.checkpoints.portable import build_portable_model, check_saved_network
from dlexp.config.sections import ModelConfig
from dlexp.errors import ModelError
from dlexp.models import build_model
from dlexp.registry import MODELS

SHAPE = (8, 8, 1)
registered = keras.saving.register_keras_serializable(package="tests.contract")
Builder = Callable[[Any, int], Any]


def check(builder: Builder) -> keras.Model:
    """Builds and checks a model as a training does before it reads pixels."""
    with MODELS.override("net", builder):
        model = build_model(ModelConfig(model="net"), SHAPE, 10, dtype_policy="float32")
        portable = build_portable_model(model, metrics=[], name="net")
        check_saved_network(model, portable, input_shape=SHAPE, name="net")
    return model


def stack(*inner: Any, last: Callable[[int], Any] = layers.Dense) -> Builder:
    """Makes the builder of a Sequential model; the layers are made anew for each call if they are functions."""

    def build(shape: Any, num_classes: int) -> keras.Model:
        made = [layer() for layer in inner]
        return keras.Sequential(
            [layers.Input(shape), layers.Rescaling(1 / 255), layers.Flatten(), *made, last(num_classes)]
        )

    return build


def op_at_the_end(function: Callable[[Any], Any]) -> Builder:
    def build(shape: Any, num_classes: int) -> keras.Model:
        pixels = keras.Input(shape)
        return keras.Model(pixels, function(layers.Dense(num_classes)(layers.Flatten()(pixels))))

    return build


@pytest.mark.parametrize(
    "builder",
    [
        stack(last=lambda n: layers.Dense(n, activation="softmax")),
        stack(lambda: layers.Dense(10), last=lambda n: layers.Softmax()),
        stack(lambda: layers.Dense(10), last=lambda n: layers.Activation("softmax")),
        op_at_the_end(ops.softmax),
        op_at_the_end(lambda x: ops.exp(ops.log_softmax(x))),
        stack(last=lambda n: keras.Sequential([layers.Dense(n), layers.Softmax()])),
        stack(last=lambda n: layers.Dense(n, kernel_initializer="zeros", activation="softmax")),
    ],
)  # fmt: skip
def test_softmax_in_any_spelling_is_found_by_its_outputs(builder: Builder) -> None:
    with pytest.raises(ModelError, match=r"model net ends with a softmax.*leave that activation out"):
        check(builder)


@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid", ops.sigmoid])
def test_sigmoid_is_found_by_its_outputs(activation: Any) -> None:
    with pytest.raises(ModelError, match=r"model net returns values in \[0, 1\], as a sigmoid"):
        check(stack(last=lambda n: layers.Dense(n, activation=activation)))


@pytest.mark.parametrize(
    "last",
    [
        layers.Dense,
        lambda n: layers.Dense(n, kernel_initializer="zeros"),
        lambda n: layers.Dense(n, bias_initializer=keras.initializers.Constant(0.5), kernel_initializer="zeros"),
        lambda n: layers.Dense(n, activation="relu"),
        lambda n: layers.Dense(n, activation="log_softmax"),
    ],
)
def test_logits_that_begin_as_zeros_or_positive_are_no_probabilities(last: Any) -> None:
    check(stack(last=last))


@registered
class Forgetful(layers.Layer):
    def __init__(self, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain

    def call(self, x: Any) -> Any:
        return x * self.gain

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


@registered
class Mindful(Forgetful):
    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


def test_argument_that_get_config_forgets_is_named() -> None:
    with pytest.raises(ModelError, match=r"layer forgetful\w* \(Forgetful\) has gain=0.005, and gain=1.0 afterwards"):
        check(stack(lambda: Forgetful(0.005)))
    check(stack(lambda: Mindful(0.005)))


def test_forgotten_argument_behind_a_weight_of_zero_is_found() -> None:
    with pytest.raises(ModelError, match="return gain from get_config of Forgetful"):
        check(stack(lambda: layers.BatchNormalization(gamma_initializer="zeros"), lambda: Forgetful(0.005)))


@registered
def own_gelu(x: Any) -> Any:
    return ops.gelu(x)


def test_function_that_keras_saves_under_the_name_of_another_is_found() -> None:
    with pytest.raises(ModelError, match=r"activation=keras.src.ops.nn.gelu.*register a function"):
        check(stack(lambda: layers.Dense(8, activation=ops.gelu)))
    check(stack(lambda: layers.Dense(8, activation=own_gelu)))


@registered
class DrawsAlways(layers.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        return x * tf.random.uniform(tf.shape(x))


@registered
class DrawsInTraining(layers.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        return x * tf.random.uniform(tf.shape(x)) if training else x


def test_layer_that_is_random_at_inference_is_named() -> None:
    with pytest.raises(ModelError, match=r"random at inference.*layer draws_always\w* .*only if training is true"):
        check(stack(DrawsAlways))
    check(stack(DrawsInTraining))


@registered
class DrawsSometimes(layers.Layer):
    """Draws from Keras or TensorFlow in each call, and uses the number for few images."""

    def __init__(self, source: str = "keras", *, uses: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source, self.uses, self.seeds = source, uses, keras.random.SeedGenerator(1)

    def call(self, x: Any, training: bool | None = None) -> Any:
        shape = (ops.shape(x)[0], 1)
        drawn = keras.random.uniform(shape, seed=self.seeds) if self.source == "keras" else tf.random.uniform(shape)
        return ops.where(drawn < 0.01, 2 * x, x) if training or self.uses else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "source": self.source, "uses": self.uses}


@pytest.mark.parametrize("source", ["keras", "tensorflow"])
def test_layer_that_is_random_at_inference_for_one_image_in_a_hundred_is_named(source: str) -> None:
    keras.utils.set_random_seed(0)
    with pytest.raises(ModelError, match=r"random at inference.*layer draws_sometimes\w* .*only if training is true"):
        check(stack(lambda: DrawsSometimes(source)))
    check(stack(lambda: DrawsSometimes(source, uses=False)))  # as RandomHue of Keras


@registered
class PythonDraw(layers.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        return x if np.random.uniform() >= 0 else -x


def test_layer_that_draws_from_python_at_inference_is_refused() -> None:
    with pytest.raises(ModelError, match="random at inference: its call draws from Python's random or from NumPy"):
        check(stack(PythonDraw))


@registered
class Centered(layers.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


def test_logits_that_depend_on_the_other_images_of_a_batch_are_refused() -> None:
    with pytest.raises(ModelError, match="returns other logits for an image if other images are in its batch"):
        check(stack(Centered))
    check(stack(layers.BatchNormalization))


@registered
class SoftmaxInTraining(layers.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        return ops.softmax(x) if training else x


def test_softmax_in_training_alone_is_found() -> None:
    with pytest.raises(ModelError, match="ends with a softmax"):
        check(op_at_the_end(SoftmaxInTraining()))


def test_checks_put_back_all_random_numbers() -> None:
    def draw() -> list[float]:
        return [float(keras.random.uniform(())), random.random(), np.random.uniform()]

    def build(*, check: bool) -> list[float]:
        keras.utils.set_random_seed(0)
        with MODELS.override("net", stack(lambda: layers.Dropout(0.5), DrawsInTraining)):
            build_model(ModelConfig(model="net"), SHAPE, 10, dtype_policy="float32", check=check)
        return draw()

    assert build(check=True) == build(check=False)


@registered
class LateWeights(layers.Layer):
    """Has an inner layer that is built in the first real call only, as its output shape is known without a call."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.inner = units, layers.Dense(units)

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@registered
class EarlyWeights(LateWeights):
    def build(self, shape: Any) -> None:
        self.inner.build(shape)


def test_layer_that_is_built_in_its_first_call_is_named() -> None:
    with pytest.raises(ModelError, match=r"layer dense\w* \(Dense\) has no weights before its first call: in build"):
        check(stack(lambda: LateWeights(9)))
    assert check(stack(lambda: EarlyWeights(9))).count_params() == 64 * 9 + 9 + 9 * 10 + 10


class Flat(keras.Model):
    def __init__(self, num_classes: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.scale, self.flatten, self.dense = layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(num_classes)

    def features(self, images: Any) -> Any:
        return self.dense(self.flatten(self.scale(images)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@registered
class InnerLayersInBuild(Flat):
    def build(self, shape: Any) -> None:
        self.hidden = layers.Dense(5)
        self.built = True

    def call(self, images: Any) -> Any:
        return self.dense(self.hidden(self.flatten(self.scale(images))))


@registered
class BuiltInBuild(InnerLayersInBuild):
    def build(self, shape: Any) -> None:
        self.hidden = layers.Dense(5)
        self.hidden.build((None, 64))
        self.dense.build((None, 5))
        self.built = True


def test_model_whose_weights_a_file_would_lose_is_refused_with_what_works() -> None:
    with pytest.raises(ModelError, match="has no weights before its first call"):
        check(lambda shape, num_classes: InnerLayersInBuild(num_classes))
    check(lambda shape, num_classes: BuiltInBuild(num_classes))


@registered
class TwoOutputs(Flat):
    def call(self, images: Any) -> Any:
        return self.features(images), self.features(images)


@registered
class NamedOutput(Flat):
    def call(self, images: Any) -> Any:
        return {"logits": self.features(images)}


@registered
class OneOutput(Flat):
    def call(self, images: Any) -> Any:
        return self.features(images)


@pytest.mark.parametrize(("kind", "what"), [(TwoOutputs, "a tuple of 2 values"), (NamedOutput, "a dict of .'logits'.")])
def test_outputs_of_a_subclass_that_are_not_one_tensor_are_refused(kind: Any, what: str) -> None:
    with pytest.raises(ModelError, match=f"must return one tensor of logits, but returns {what}: return the logits"):
        check(lambda shape, num_classes: kind(num_classes))
    check(lambda shape, num_classes: OneOutput(num_classes))


@registered
class OnByDefault(layers.Layer):
    def call(self, x: Any, training: bool = True) -> Any:
        return x + 1 if training else x


@registered
class WithoutTraining(Flat):
    def __init__(self, num_classes: int = 10, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.inner = OnByDefault()

    def call(self, images: Any) -> Any:
        return self.inner(self.features(images))


@registered
class WithTraining(WithoutTraining):
    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.inner(self.features(images), training=bool(training))


def test_model_that_validates_as_it_trains_is_refused_with_what_works() -> None:
    with pytest.raises(ModelError, match="its call has no argument training: write"):
        check(lambda shape, num_classes: WithoutTraining(num_classes))
    check(lambda shape, num_classes: WithTraining(num_classes))


def several_ends(inputs: int, outputs: int) -> Builder:
    def build(shape: Any, num_classes: int) -> keras.Model:
        pixels = [keras.Input(shape) for _ in range(inputs)]
        features = layers.Flatten()(layers.Add()(pixels) if inputs > 1 else pixels[0])
        logits = [layers.Dense(num_classes)(features) for _ in range(outputs)]
        return keras.Model(pixels if inputs > 1 else pixels[0], logits if outputs > 1 else logits[0])

    return build


@pytest.mark.parametrize(("inputs", "outputs", "end"), [(2, 1, "inputs"), (1, 2, "outputs")])
def test_several_ends_of_a_functional_model_are_refused(inputs: int, outputs: int, end: str) -> None:
    with pytest.raises(ModelError, match=rf"model net has 2 {end} \(.*give keras.Model one {end[:-1]}"):
        check(several_ends(inputs, outputs))
    check(several_ends(1, 1))


def with_input(**arguments: Any) -> Builder:
    def build(shape: Any, num_classes: int) -> keras.Model:
        pixels = keras.Input(**({"shape": shape} | arguments))
        return keras.Model(pixels, layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(pixels)))

    return build


def test_fixed_batch_size_is_refused_with_what_works() -> None:
    with pytest.raises(ModelError, match=r"takes batches of 64 only.*leave batch_size out of keras.Input"):
        check(with_input(batch_size=64))
    check(with_input())


def test_model_that_ignores_the_image_size_is_refused_with_what_works() -> None:
    with pytest.raises(ModelError, match=r"images of shape \(32, 32, 3\).*input_shape=\(8, 8, 1\): give keras.Input"):
        check(with_input(shape=(32, 32, 3)))
    check(with_input(shape=(None, None, 1)))


@registered
class DividesPixels(Flat):
    def call(self, images: Any) -> Any:
        return self.dense(self.flatten(images / 255.0))


def test_call_that_fails_names_file_and_line_and_the_dtype_of_images() -> None:
    with pytest.raises(ModelError, match=r"test_contract.py, line \d+\): the images are uint8, cast them first"):
        check(lambda shape, num_classes: DividesPixels(num_classes))


def fail_with(error: BaseException) -> Builder:
    def build(shape: Any, num_classes: int) -> Any:
        raise error

    return build


@pytest.mark.parametrize(
    "error",
    [AttributeError("no x"), KeyError("x"), AssertionError("needs 32"), SystemExit(3), IndexError(), OSError()],
)
def test_any_exception_of_a_builder_names_the_model_and_the_line(error: BaseException) -> None:
    with pytest.raises(ModelError, match=rf"model net cannot be built.*{type(error).__name__}.*test_contract.py, line"):
        check(fail_with(error))


def test_interruption_by_the_user_is_no_error_of_the_model() -> None:
    with pytest.raises(KeyboardInterrupt):
        check(fail_with(KeyboardInterrupt()))


def compiled(build: Builder) -> Builder:
    def build_compiled(shape: Any, num_classes: int) -> keras.Model:
        model = build(shape, num_classes)
        model.compile("sgd", "mse")
        return model

    return build_compiled


def test_compiled_model_of_a_package_is_refused_with_what_works() -> None:
    builder = compiled(stack())
    with pytest.raises(ModelError, match=r"return keras.Model\(model.inputs\[0\], model.outputs\[0\]\)"):
        check(builder)

    def follow(shape: Any, num_classes: int) -> keras.Model:
        model = builder(shape, num_classes)
        return keras.Model(model.inputs[0], model.outputs[0])

    check(follow)


def test_class_of_a_package_is_registered_as_the_message_says(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = types.ModuleType("a_package")
    members = {"call": lambda self, x: x * 2, "__module__": "a_package"}
    package.Twice = type("Twice", (layers.Layer,), members)
    monkeypatch.setitem(sys.modules, "a_package", package)
    builder = stack(lambda: package.Twice())
    with pytest.raises(ModelError) as err:
        check(builder)
    advice = 'keras.saving.register_keras_serializable("a_package")(a_package.Twice)'
    assert advice in str(err.value)
    keras.saving.register_keras_serializable("a_package")(package.Twice)
    check(builder)


def test_checks_change_no_variable() -> None:
    keras.utils.set_random_seed(3)
    checked = check(stack(layers.BatchNormalization, lambda: layers.Dropout(0.5)))
    keras.utils.set_random_seed(3)
    bare = stack(layers.BatchNormalization, lambda: layers.Dropout(0.5))(SHAPE, 10)
    for one, other in zip(checked.variables, bare.variables, strict=True):
        np.testing.assert_array_equal(one, other)
