"""Tells whether a model is trained on more than the loss it is compiled with."""

import keras


def has_own_loss(model: keras.Model) -> bool:
    """Whether a model computes its loss by itself, or adds to it: regularization of weights or activations, `add_loss`.

    Its loss cannot be computed from labels and logits alone.
    """
    overridden = ("train_step", "test_step", "compute_loss")
    if any(getattr(type(model), name) is not getattr(keras.Model, name) for name in overridden):
        return True
    regularized = any(getattr(layer, "activity_regularizer", None) is not None for layer in model.layers)
    return regularized or bool(model.losses)
