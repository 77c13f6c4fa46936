"""The model that is saved in place of the one under training."""

import keras

from dlexp.errors import ModelError


def build_twin(model: keras.Model, *, metrics: list[keras.metrics.Metric]) -> keras.Model:
    """The same network with weights of its own, compiled for evaluation on integer labels with Keras' own classes.

    It is what gets saved, so that plain Keras opens the file and evaluates at once, whatever optimizer, schedule and
    loss the training has. It is made the way a file is loaded: a model that no file could give back is found here.

    Args:
        model: built.
        metrics: Keras metrics for integer labels `(batch,)`.

    Raises:
        ModelError: the model cannot be made again from its config.
    """
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    try:
        twin = keras.saving.deserialize_keras_object(config, safe_mode=True)
        twin.set_weights(model.get_weights())
    except (TypeError, ValueError, NotImplementedError) as err:
        raise ModelError(
            f"model {model.name} cannot be made again from its config, so no checkpoint could be loaded "
            f"({str(err).strip().splitlines()[0][:200]}): give its class a get_config that returns all its arguments"
        ) from err
    twin.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics)
    return twin
