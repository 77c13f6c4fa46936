"""Finds out whether a model is trained on more than the loss it is compiled with."""

import keras

from dlexp.models.keras_internals import has_own


def has_own_loss(model: keras.Model) -> bool:
    """Whether a model computes its loss by itself, or adds to it: regularization of weights or activations, `add_loss`.

    Its loss cannot be computed from labels and logits alone.
    """
    if any(has_own(model, method) for method in ("train_step", "test_step", "compute_loss")):
        return True
    regularized = any(getattr(layer, "activity_regularizer", None) is not None for layer in model.layers)
    return regularized or bool(model.losses)
