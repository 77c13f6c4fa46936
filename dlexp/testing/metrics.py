"""The conformance suite of metrics. TensorFlow is imported by its tests: to import `dlexp.testing` needs none."""

from collections.abc import Callable
from typing import Any

import numpy as np

_CLASSES, _EXAMPLES = 5, 24


class MetricContract:
    """Tests every promise of `dlexp.register_metric`.

    Use it as the base of a class whose name begins with Test, and which has the fixture `build`: the builder.

    Example:
        >>> class TestMyMetric(MetricContract):
        ...     @pytest.fixture
        ...     def build(self):
        ...         return build_my_metric
    """

    def test_its_result_is_a_finite_scalar_for_hard_and_soft_labels(self, build: Callable[..., Any]) -> None:
        """Labels and logits are `(batch, num_classes)`."""
        labels, logits = _examples()
        for given in (labels, 0.9 * labels + 0.1 / _CLASSES):
            result = np.asarray(_measure(build(_CLASSES), given, logits, batch_size=_EXAMPLES))
            assert result.shape == (), f"the result has the shape {result.shape}: it must be a scalar"
            assert np.isfinite(result), f"the result is {result}"

    def test_batches_do_not_change_its_result(self, build: Callable[..., Any]) -> None:
        """Nor does the last batch, which is smaller."""
        labels, logits = _examples()
        results = [_measure(build(_CLASSES), labels, logits, batch_size=size) for size in (_EXAMPLES, 7, 1)]
        assert np.allclose(results, results[0], rtol=1e-4), f"by batches of {_EXAMPLES}, 7 and 1: {results}"

    def test_a_reset_forgets_all_batches(self, build: Callable[..., Any]) -> None:
        """Each epoch and each validation starts with one."""
        labels, logits = _examples()
        metric = build(_CLASSES)
        first = _measure(metric, labels, logits, batch_size=7)
        metric.reset_state()
        assert _measure(metric, labels, logits, batch_size=7) == first

    def test_it_can_be_traced(self, build: Callable[..., Any]) -> None:
        """A training traces its update."""
        import tensorflow as tf

        labels, logits = _examples()
        metric = build(_CLASSES)
        metric.update_state(labels, logits)
        expected = float(metric.result())
        metric.reset_state()
        tf.function(metric.update_state)(tf.constant(labels), tf.constant(logits))
        assert np.isclose(float(metric.result()), expected, rtol=1e-5)


def _measure(metric: Any, labels: np.ndarray, logits: np.ndarray, *, batch_size: int) -> float:
    for start in range(0, _EXAMPLES, batch_size):
        metric.update_state(labels[start : start + batch_size], logits[start : start + batch_size])
    return float(metric.result())


def _examples() -> tuple[np.ndarray, np.ndarray]:
    """One-hot labels of all classes, and logits, both `float32`."""
    generator = np.random.default_rng(0)
    labels = np.eye(_CLASSES, dtype=np.float32)[np.arange(_EXAMPLES) % _CLASSES]
    return labels, (labels + generator.normal(size=labels.shape)).astype(np.float32)
