"""The conformance suite of losses. TensorFlow is imported by its tests: to import `dlexp.testing` needs none."""

from collections.abc import Callable
from typing import Any

import numpy as np

_CLASSES, _EXAMPLES = 5, 8


class LossContract:
    """Tests every promise of `dlexp.register_loss`.

    Use it as the base of a class whose name begins with Test, and which has the fixture `build`: the builder.

    Example:
        >>> class TestMyLoss(LossContract):
        ...     @pytest.fixture
        ...     def build(self):
        ...         return build_my_loss
    """

    def test_it_gives_one_finite_value_for_each_example(self, build: Callable[..., Any]) -> None:
        """`float32` `(batch,)`, for one-hot and for soft labels, and for large logits too."""
        import tensorflow as tf

        labels, logits = _batch()
        for given in (labels, 0.9 * labels + 0.1 / _CLASSES):
            for scale in (0.0, 1.0, 100.0):
                losses = np.asarray(_function(build)(tf.constant(given, tf.float32), tf.constant(scale * logits)))
                assert losses.shape == (_EXAMPLES,), (
                    f"losses have the shape {losses.shape}: they must be ({_EXAMPLES},)"
                )
                assert np.isfinite(losses).all(), f"losses of logits up to {100 * scale:g} are not finite"

    def test_an_example_does_not_change_the_loss_of_another(self, build: Callable[..., Any]) -> None:
        """Else the loss of an evaluation would depend on how the split is cut into batches."""
        import tensorflow as tf

        labels, logits = _batch()
        loss = _function(build)
        whole = np.asarray(loss(tf.constant(labels), tf.constant(logits)))
        parts = [np.asarray(loss(tf.constant(labels[i : i + 3]), tf.constant(logits[i : i + 3]))) for i in (0, 3, 6)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5)

    def test_its_gradient_is_finite_and_lowers_it(self, build: Callable[..., Any]) -> None:
        """Ten small steps down the gradient of the logits, in a traced function."""
        import tensorflow as tf

        labels, logits = _batch()
        loss, variable = _function(build), tf.Variable(logits)

        @tf.function
        def step() -> Any:
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(loss(tf.constant(labels), variable))
            (gradient,) = tape.gradient(value, [variable])
            variable.assign_sub(0.1 * gradient)
            return value

        values = [float(step()) for _ in range(10)]
        assert np.isfinite(values).all(), f"losses while training are {values}"
        assert values[-1] < values[0], f"the loss does not fall along its gradient: {values}"


def _function(build: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    import keras

    built = build(_CLASSES)
    return built.call if isinstance(built, keras.losses.Loss) else built


def _batch() -> tuple[np.ndarray, np.ndarray]:
    """One-hot labels and logits, both `float32`."""
    generator = np.random.default_rng(0)
    labels = np.eye(_CLASSES, dtype=np.float32)[generator.integers(0, _CLASSES, _EXAMPLES)]
    return labels, generator.normal(size=(_EXAMPLES, _CLASSES)).astype(np.float32)
