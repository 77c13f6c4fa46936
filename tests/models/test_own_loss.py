"""Which models are trained on more than the loss they are compiled with."""

import keras
import pytest

from dlexp.models.own_loss import has_own_loss


class OwnLoss(keras.Sequential):
    """Computes its loss by itself."""

    def compute_loss(self, **values: object) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("kind", "regularizers", "expected"),
    [
        (keras.Sequential, {}, False),
        (keras.Sequential, {"kernel_regularizer": "l2"}, True),
        (keras.Sequential, {"activity_regularizer": "l2"}, True),
        (OwnLoss, {}, True),
    ],
    ids=["plain", "regularized weights", "regularized activations", "compute_loss"],
)
def test_model_has_its_own_loss_if_it_computes_or_adds_one(
    kind: type[keras.Sequential], regularizers: dict[str, str], expected: bool
) -> None:
    model = kind([keras.Input((2,)), keras.layers.Dense(2, **regularizers)])
    assert has_own_loss(model) is expected
