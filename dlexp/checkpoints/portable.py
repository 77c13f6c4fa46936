"""The model that is saved in place of the one under training, and the proof that both compute the same."""

import inspect
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from dlexp.errors import ModelError, joined_lines
from dlexp.models.contract import custom_layers
from dlexp.models.keras_internals import flatten_layers, rebuilding, serialize_network
from dlexp.models.probe import disturb, predict, probe_images, recorded_outputs, unchanged
from dlexp.models.settings import use_settings

# Of the largest logit. On a processor both models compute the same bits; on a GPU the order of sums may differ.
_TOLERANCE = 1e-6
_PLAIN = (bool, int, float, str, type(None))


def build_portable_model(
    model: keras.Model, *, metrics: list[keras.metrics.Metric], name: str = "", dtype_policy: str = "float32"
) -> keras.Model:
    """Builds the model that is saved in place of the one under training: the same network, with separate weights.

    It is compiled for evaluation on integer labels, with Keras' own classes only. Plain Keras therefore opens the file
    and evaluates the model, whatever optimizer, schedule and loss the training uses. The model is built the way a file
    is loaded, so a model that could not be loaded from its checkpoint is refused before the training.

    Args:
        model: the built model to train.
        metrics: Keras metrics for integer labels `(batch,)`.
        name: of the model in messages; by default its own.
        dtype_policy: that the model was built with.

    Raises:
        ModelError: the model cannot be rebuilt from its config.
    """
    try:
        with rebuilding(), use_settings(dtype_policy):
            portable = keras.saving.deserialize_keras_object(serialize_network(model), safe_mode=True)
    except Exception as err:
        raise ModelError(
            f"model {name or model.name} cannot be rebuilt from its config, so no checkpoint could be loaded "
            f"({joined_lines(err)}): give its class a get_config that returns all its arguments"
        ) from err
    _check_weights(model, portable, name or model.name)
    portable.set_weights(model.get_weights())
    # A model may have its own compile(), which takes other arguments.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keras.Model.compile(portable, optimizer="sgd", loss=loss, metrics=metrics)
    return portable


def check_saved_network(
    model: keras.Model, portable: keras.Model, *, input_shape: Sequence[int], name: str = ""
) -> None:
    """Checks that the saved network is the trained network, with all of its weights.

    Both models are called on a few random images, with the given weights and with weights that are nowhere zero. With
    custom layers, which may keep weights where Keras does not look for them, the portable model is then saved to a
    temporary file, and its weights are loaded from there.

    Args:
        model: the built model to train; all of its variables keep their values.
        portable: what `build_portable_model` returned for it; keeps its weights.
        input_shape: (height, width, channels) of the images.
        name: of the model in messages; by default its own.

    Raises:
        ModelError: the logits differ, or the file does not hold all weights; the message names the layer.
    """
    name = name or model.name
    _check_logits(model, portable, probe_images(input_shape), name)
    if custom_layers(portable):
        _check_file(portable, name)


def _check_file(portable: keras.Model, name: str) -> None:
    weights = portable.get_weights()
    with tempfile.TemporaryDirectory(prefix="dlexp-") as folder:
        path = pathlib.Path(folder, "model.keras")
        try:
            portable.save(path)
            portable.set_weights(disturb(weights, seed=1))
            portable.load_weights(path)
        except Exception as err:
            raise ModelError(
                f"model {name} cannot be saved and loaded again: {joined_lines(err)}: give its layers the "
                "save_own_variables and load_own_variables of keras.layers.Layer"
            ) from err
    lost = [
        variable.path
        for variable, weight in zip(portable.weights, weights, strict=True)
        if not np.array_equal(variable.numpy(), weight, equal_nan=True)
    ]
    if lost:
        raise ModelError(
            f"a file of model {name} does not hold its weights {', '.join(lost[:3])}: keep each layer in its "
            "own attribute, and build inner layers in build()"
        )


def _check_weights(model: keras.Model, portable: keras.Model, name: str) -> None:
    """Raises ModelError if the rebuilt model has other weights before its first call, as a loaded one has."""
    shapes = [[tuple(weight.shape) for weight in network.weights] for network in (model, portable)]
    if shapes[0] == shapes[1]:
        return
    for layer, rebuilt in _pairs(model, portable):
        counts = len(layer.weights), len(rebuilt.weights)
        if counts[0] > counts[1] and not any(
            len(inner.weights) > len(other.weights) for inner, other in _pairs(layer, rebuilt)
        ):
            raise ModelError(
                f"model {name} has {len(shapes[0])} weights, but {len(shapes[1])} after it is rebuilt from its "
                f"config: layer {layer.name} ({type(layer).__name__}) has no weights before its first call: in build() "
                "of the layer that owns it, call its build() with the shape of its inputs"
            )
    raise ModelError(
        f"model {name} has {len(shapes[0])} weights, but {len(shapes[1])} others after it is rebuilt from its "
        f"config{_difference(model, portable)}"
    )


def _check_logits(model: keras.Model, portable: keras.Model, images: np.ndarray, name: str) -> None:
    """Raises ModelError if the two models, with equal weights, return different logits."""
    with unchanged(model), unchanged(portable):
        for weights in (None, disturb(model.get_weights(), seed=0)):
            if weights is not None:
                model.set_weights(weights)
                portable.set_weights(weights)
            logits, rebuilt = predict(model, images), predict(portable, images)
            if not _are_equal(logits, rebuilt):
                raise ModelError(
                    f"model {name} computes something else after it is rebuilt from its config, as for every "
                    f"checkpoint: its logits differ by up to {np.nanmax(np.abs(logits - rebuilt)):.2g}"
                    f"{_difference(model, portable) or _first_layer(model, portable, images)}"
                )


def _are_equal(logits: np.ndarray, others: np.ndarray) -> bool:
    largest = np.max(np.abs(logits), initial=0, where=np.isfinite(logits))
    return bool(np.allclose(logits, others, rtol=0, atol=_TOLERANCE * largest, equal_nan=True))


def _difference(model: keras.Model, portable: keras.Model) -> str:
    """Names the first class or argument that differs between a model and the rebuilt one, and says what to do."""
    for layer, rebuilt in [(model, portable), *_pairs(model, portable)]:
        label = f"layer {layer.name} ({type(layer).__name__})"
        if type(layer) is not type(rebuilt):
            return (
                f": {label} is from {_file_of(type(layer))}, but the rebuilt one from {_file_of(type(rebuilt))}: "
                "register each class under a package of its file, as in "
                '@keras.saving.register_keras_serializable(package="my_net")'
            )
        before, after = _arguments(layer), _arguments(rebuilt)
        for name in before:
            if before[name] != after.get(name):
                found = f": {label} has {name}={_text(before[name])}, and {name}={_text(after.get(name))} afterwards: "
                if callable(before[name]):
                    return found + (
                        "register a function of the plug-in that calls it, as in "
                        "@keras.saving.register_keras_serializable()"
                    )
                return found + f"return {name} from get_config of {type(layer).__name__}"
    return ""


def _first_layer(model: keras.Model, portable: keras.Model, images: np.ndarray) -> str:
    records = zip(recorded_outputs(model, images), recorded_outputs(portable, images), strict=False)
    for (layer, outputs), (_, others) in records:
        if not all(map(_are_equal, outputs, others)):
            return (
                f", first in layer {layer.name} ({type(layer).__name__}): return all arguments of "
                f"{type(layer).__name__} from its get_config"
            )
    return ": return all arguments of its class from get_config"


def _pairs(model: Any, rebuilt: Any) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """The layers within two networks of the same structure, in pairs."""
    yield from zip(flatten_layers(model), flatten_layers(rebuilt), strict=False)


def _arguments(layer: keras.layers.Layer) -> Mapping[str, Any]:
    """Returns the arguments of a layer's class that it keeps in attributes, if they are plain values or functions."""
    found = {}
    for name in inspect.signature(type(layer)).parameters.keys() & vars(layer).keys() - {"name"}:
        value = vars(layer)[name]
        is_plain = isinstance(value, _PLAIN) or inspect.isroutine(value) or isinstance(value, np.generic)
        is_list = isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value)
        if is_plain or is_list:
            found[name] = tuple(value) if is_list else value
    return found


def _text(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else repr(value)


def _file_of(kind: type) -> str:
    try:
        return inspect.getfile(kind)
    except (OSError, TypeError):
        return kind.__module__
