"""Every network of keras.applications, with its own preprocessing inside and a new head."""

import contextlib
import functools
import inspect
import os
import pathlib
import sys
import tempfile
import warnings
import zipfile
from typing import Any

import keras

from dlexp.errors import ConfigError, ModelError, joined_lines
from dlexp.models.head import build_logits
from dlexp.registry import APPLICATIONS, register_model

# How the pixels of each network were preprocessed for its training on ImageNet. Networks in none of these sets take raw
# pixels and scale them themselves; a test compares each network with Keras' own `preprocess_input`.
_BGR_MINUS_MEAN = {"ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"}
_MEAN_AND_DEVIATION = {"DenseNet121", "DenseNet169", "DenseNet201"}
_FROM_MINUS_1_TO_1 = {
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "NASNetLarge", "NASNetMobile"),
    *("ResNet50V2", "ResNet101V2", "ResNet152V2", "Xception"),
}
_IMAGENET_BGR_MEAN = (103.939, 116.779, 123.68)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

_SMALLEST_SIDES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
_SMALLEST_SIDE_OF_OTHERS = 32

_POOLINGS = ("avg", "max")


def build_application(
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    weights: str | None = None,
    pooling: str = "avg",
    dropout: float = 0.0,
    alpha: float | None = None,
    freeze_backbone: bool = False,
) -> keras.Model:
    """Builds a network of keras.applications for raw pixels and any number of classes.

    The model is preprocessing, backbone (one nested model) and head. Grey images are repeated on three channels.

    Args:
        name: one of `registry.APPLICATIONS`.
        input_shape: (height, width, channels) with 1 or 3 channels.
        num_classes: number of logits.
        weights: None or "none": random; "imagenet": Keras' file, downloaded once; else the path of a `.weights.h5` or
            `.keras` file that holds the weights of this backbone only.
            Do not give the path of Keras' own ImageNet weights: put the file into Keras' cache folder and use
            "imagenet", because EfficientNetB0 to B7 then scale their pixels differently.
        pooling: "avg" or "max", over the positions of the last feature map.
        dropout: share of the pooled features set to zero in training, in [0, 1).
        alpha: width multiplier of a MobileNet; None: 1.
        freeze_backbone: only the head trains; the backbone keeps its weights and batch-normalisation statistics.

    Raises:
        ModelError: the images do not suit the network, or the weights are not available.
        ConfigError: the network does not take an argument.

    Example:
        >>> model = build_application("ResNet50", (224, 224, 3), 10, weights="imagenet", freeze_backbone=True)
        >>> model.get_layer("resnet50").save_weights("backbone.weights.h5")  # can be given as weights
    """
    _check_images(name, input_shape)
    if pooling not in _POOLINGS:
        raise ConfigError(f"model_args pooling={pooling!r} must be one of {', '.join(_POOLINGS)}")
    pixels = keras.Input(input_shape)
    x = preprocess_pixels(name, pixels)
    backbone = _build_backbone(name, x.shape[1:], weights=weights, pooling=pooling, alpha=alpha)
    if freeze_backbone:
        backbone.trainable = False
        features = backbone(x, training=False)
    else:
        features = backbone(x)
    return keras.Model(pixels, build_logits(features, num_classes, dropout=dropout), name=name)


def preprocess_pixels(name: str, pixels: Any) -> Any:
    """Preprocesses pixels as for the training of a network on ImageNet, with Keras' own layers, in `float32`.

    Args:
        name: one of `registry.APPLICATIONS`.
        pixels: a Keras tensor `(batch, height, width, 1 or 3)` in [0, 255], red, green, blue.

    Returns:
        A Keras tensor `(batch, height, width, 3)`.
    """
    if pixels.shape[-1] == 1:
        pixels = keras.layers.Concatenate(dtype="float32", name="repeat_channel")([pixels] * 3)
    scale: float | list[float] = 1.0
    offset: float | list[float] = 0.0
    if name in _BGR_MINUS_MEAN:
        pixels = keras.ops.flip(pixels, axis=-1)
        offset = [-mean for mean in _IMAGENET_BGR_MEAN]
    elif name in _MEAN_AND_DEVIATION:
        scale = [1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)]
    elif name in _FROM_MINUS_1_TO_1:
        scale, offset = 1 / 127.5, -1.0
    else:
        return pixels
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocess_pixels")(pixels)


def smallest_side(name: str) -> int:
    """Returns the smallest height and width, in pixels, that a network accepts."""
    return _SMALLEST_SIDES.get(name, _SMALLEST_SIDE_OF_OTHERS)


def _check_images(name: str, input_shape: tuple[int, int, int]) -> None:
    height, width, channels = input_shape
    side = smallest_side(name)
    if min(height, width) < side:
        raise ModelError(
            f"{name} needs images of at least {side}x{side} pixels, but they are {height}x{width}: "
            f"set image_size={max(height, side)},{max(width, side)} or choose another model"
        )
    if channels not in (1, 3):
        raise ModelError(f"{name} takes images of 1 or 3 channels, but they have {channels}: choose another model")


def _build_backbone(
    name: str, shape: tuple[int, int, int], *, weights: str | None, pooling: str, alpha: float | None
) -> keras.Model:
    network = getattr(keras.applications, name)
    arguments = {"include_top": False, "input_shape": shape, "pooling": pooling}
    if alpha is not None:
        if "alpha" not in inspect.signature(network).parameters:
            raise ConfigError(f"model_args alpha={alpha} is for MobileNets only: leave it out for {name}")
        arguments["alpha"] = alpha
    if weights == "imagenet":
        return _build_pretrained(name, arguments)
    backbone = network(weights=None, **arguments)
    if weights not in (None, "none"):
        _load_weights(backbone, str(weights), name)
    return backbone


def _build_pretrained(name: str, arguments: dict[str, Any]) -> keras.Model:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras reports its download on stdout, which is for results
            return getattr(keras.applications, name)(weights="imagenet", **arguments)
    except ValueError:
        raise  # such as an alpha that Keras has no weights for
    except Exception as err:  # a failed download is a bare Exception, whose text holds the address of the file
        raise ModelError(
            f"weights=imagenet for {name} could not be downloaded or read ({joined_lines(err)}): put that "
            f"file into {_weights_folder()}, or use weights=none"
        ) from err


def _load_weights(backbone: keras.Model, path: str, name: str) -> None:
    if not pathlib.Path(path).is_file():
        raise ModelError(f"weights={path} of {name} is not a file: give none, imagenet or the path of a weights file")
    try:
        with warnings.catch_warnings():
            # Keras only warns when it leaves a part of the network at its random weights.
            warnings.filterwarnings("error", message="Skipping")
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, UserWarning) as err:
        raise ModelError(
            f"weights={path} do not fit {name}: give a file that save_weights wrote for only the backbone of a {name} "
            "with the same alpha"
        ) from err


def _weights_folder() -> pathlib.Path:
    """Returns the folder where Keras looks for weights before it downloads them; see keras.utils.get_file."""
    home = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras").expanduser()
    if not os.access(home, os.W_OK):
        home = pathlib.Path(tempfile.gettempdir()) / ".keras"
    return home / "models"


for _name in APPLICATIONS:
    register_model(_name)(functools.partial(build_application, _name))
