"""A plug-in: small networks as public examples write them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from dlexp import register_model

registered = keras.saving.register_keras_serializable(package="networks")
Shape = tuple[int, int, int]


class Base(keras.Model):
    """Flattens scaled pixels."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.scale, self.flatten = layers.Rescaling(1 / 16), layers.Flatten()
        self.hidden, self.dropout = layers.Dense(16, activation="relu"), layers.Dropout(0.2)
        self.logits = layers.Dense(num_classes)

    def call(self, images: Any, training: bool | None = None) -> Any:
        x = self.hidden(self.flatten(self.scale(images)))
        return self.logits(self.dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@registered
class Subclassed(Base):
    """No more than a subclass."""


@registered
class OwnStep(Base):
    """Has its own training step and metric."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.entropy = keras.metrics.Mean(name="entropy")

    @property
    def metrics(self) -> list[Any]:
        return [*super().metrics, self.entropy]

    def train_step(self, data: Any) -> Any:
        images, labels = data
        with tf.GradientTape() as tape:
            logits = self(images, training=True)
            loss = self.compute_loss(y=labels, y_pred=logits)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.entropy.update_state(-tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), axis=-1))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return self.compute_metrics(images, labels, logits)


@registered
class OwnLoss(Base):
    """Has its own loss, and adds another in its call."""

    def call(self, images: Any, training: bool | None = None) -> Any:
        logits = super().call(images, training=training)
        self.add_loss(1e-3 * ops.mean(ops.square(logits)))
        return logits

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        smooth = 0.9 * y + 0.1 / self.num_classes
        return ops.mean(ops.categorical_crossentropy(smooth, y_pred, from_logits=True)) + sum(self.losses)


@registered
class DropPath(layers.Layer):
    """Stochastic depth: drops a branch for some examples while training."""

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seeds = rate, keras.random.SeedGenerator()

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x
        kept = keras.random.uniform((ops.shape(x)[0],) + (1,) * (len(x.shape) - 1), seed=self.seeds) >= self.rate
        return x * ops.cast(kept, x.dtype) / (1 - self.rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@registered
class Positions(layers.Layer):
    """Adds a learnable vector to each patch."""

    def build(self, shape: Any) -> None:
        self.positions = self.add_weight(shape=shape[1:], initializer="random_normal", name="positions")

    def call(self, x: Any) -> Any:
        return x + self.positions


@registered
class WeightNormalized(layers.Layer):
    """A dense layer whose weights have a direction and a length."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape: Any) -> None:
        self.direction = self.add_weight(shape=(shape[-1], self.units), name="direction")
        self.length = self.add_weight(shape=(self.units,), initializer="ones", name="length")

    def call(self, x: Any) -> Any:
        return x @ (self.direction * self.length / ops.norm(self.direction, axis=0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@registered
class MovingCenter(layers.Layer):
    """Subtracts a mean that it follows while training."""

    def build(self, shape: Any) -> None:
        self.center = self.add_weight(shape=shape[1:], initializer="zeros", trainable=False, name="center")

    def call(self, x: Any, training: bool | None = None) -> Any:
        if training:
            self.center.assign(0.9 * self.center + 0.1 * ops.mean(x, axis=0))
        return x - self.center


@registered
def halve(x: Any) -> Any:
    return x / 2


@registered
class TensorFlowNoise(layers.Layer):
    """Noise from TensorFlow's own random numbers, whose state is in no variable."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + 0.1 * tf.random.normal(tf.shape(x)) if training else x


@registered
class GeneratorNoise(layers.Layer):
    """Noise from a generator of TensorFlow."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + 0.1 * self.generator.normal(tf.shape(x)) if training else x


@registered
class GlobalSeed(layers.Layer):
    """Noise from the generator of the process, as keras.random draws without a seed."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + 0.1 * keras.random.normal(ops.shape(x)) if training else x


@registered
class PythonNoise(layers.Layer):
    """Noise from a generator of NumPy, which draws only while the call is traced."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generator = np.random.default_rng(0)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + self.generator.normal() if training else x


@registered
class Mixing(Base):
    """Mixes images in a share that its training step draws from NumPy, as some examples of MixUp do."""

    def train_step(self, data: Any) -> Any:
        images, labels = data
        share = np.random.beta(0.2, 0.2)
        images = share * ops.cast(images, "float32") + (1 - share) * ops.cast(images[::-1], "float32")
        return super().train_step((images, share * labels + (1 - share) * labels[::-1]))


@registered
class Counting(Base):
    """Counts its steps in a variable of TensorFlow, which Keras does not save."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.steps = tf.Variable(0.0, trainable=False, name="steps")

    def call(self, images: Any, training: bool | None = None) -> Any:
        if training:
            self.steps.assign_add(1.0)
        return super().call(images, training=training)


def functional(middle: Callable[[Any], Any]) -> Callable[[Shape, int], keras.Model]:
    """Makes the builder of a functional model around its middle part, from images `(batch, 8, 8, 1)` to features."""

    def build(input_shape: Shape, num_classes: int) -> keras.Model:
        pixels = keras.Input(input_shape)
        features = layers.Flatten()(middle(layers.Rescaling(1 / 16)(pixels)))
        return keras.Model(pixels, layers.Dense(num_classes)(features))

    return build


def patches(x: Any) -> Any:
    return layers.Reshape((16, 16))(layers.Conv2D(16, 2, strides=2)(x))


def attention(x: Any) -> Any:
    x = Positions()(patches(x))
    return layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x))


def stochastic_depth(x: Any) -> Any:
    x = patches(x)
    return x + DropPath(0.3)(layers.Dense(16, activation="gelu")(x))


def separable(x: Any) -> Any:
    return layers.SpatialDropout2D(0.1)(layers.BatchNormalization()(layers.SeparableConv2D(8, 3)(x)))


EXACT = {
    "subclassed": lambda shape, num_classes: Subclassed(num_classes),
    "own_step": lambda shape, num_classes: OwnStep(num_classes),
    "own_loss": lambda shape, num_classes: OwnLoss(num_classes),
    "stochastic_depth": functional(stochastic_depth),
    "attention": functional(attention),
    "registered_lambda": functional(lambda x: layers.Lambda(halve)(x)),
    "separable": functional(separable),
    "weight_normalized": functional(lambda x: WeightNormalized(16)(layers.Flatten()(x))),
    "moving_center": functional(lambda x: layers.Dense(16, activation="relu")(MovingCenter()(layers.Flatten()(x)))),
}
NOT_EXACT = {
    "generator_noise": functional(lambda x: GeneratorNoise()(layers.Flatten()(x))),
    "global_seed": functional(lambda x: GlobalSeed()(layers.Flatten()(x))),
    "tensorflow_noise": functional(lambda x: TensorFlowNoise()(layers.Flatten()(x))),
    "counting": lambda shape, num_classes: Counting(num_classes),
}
CONSTANT_DRAWS = {
    "python_noise": functional(lambda x: layers.Dense(8)(PythonNoise()(layers.Flatten()(x)))),
    "mixing": lambda shape, num_classes: Mixing(num_classes),
}
for _name, _build in {**EXACT, **NOT_EXACT, **CONSTANT_DRAWS}.items():
    register_model(_name)(_build)
