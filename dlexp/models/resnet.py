"""Residual networks for small images: ResNet-20, -32 and -56.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016 (https://arxiv.org/abs/1512.03385),
section 4.2: three stages of n blocks, 6n + 2 weighted layers in all. Where the image shrinks, the shortcut is a
strided 1x1 convolution (option B of the paper; its CIFAR results use option A, zero padding, which has 2,752
fewer weights at the default width).
"""

from typing import Any

import keras

from dlexp.models.head import build_logits, scale_pixels
from dlexp.registry import register_model


@register_model("resnet20")
def build_resnet20(input_shape: tuple[int, int, int], num_classes: int, *, width: int = 16) -> keras.Model:
    """Builds ResNet-20, 0.27 million weights; see `build_resnet`."""
    return build_resnet(input_shape, num_classes, depth=20, width=width)


@register_model("resnet32")
def build_resnet32(input_shape: tuple[int, int, int], num_classes: int, *, width: int = 16) -> keras.Model:
    """Builds ResNet-32, 0.47 million weights; see `build_resnet`."""
    return build_resnet(input_shape, num_classes, depth=32, width=width)


@register_model("resnet56")
def build_resnet56(input_shape: tuple[int, int, int], num_classes: int, *, width: int = 16) -> keras.Model:
    """Builds ResNet-56, 0.86 million weights; see `build_resnet`."""
    return build_resnet(input_shape, num_classes, depth=56, width=width)


def build_resnet(input_shape: tuple[int, int, int], num_classes: int, *, depth: int, width: int) -> keras.Model:
    """Builds a residual network for images of about 32x32 pixels; 8x8 works too.

    Args:
        input_shape: (height, width, channels).
        num_classes: number of logits.
        depth: weighted layers, 6n + 2.
        width: filters of the first stage; each of the next two stages has twice as many.
    """
    pixels = keras.Input(input_shape)
    x = _convolve(scale_pixels(pixels), width, activation="relu")
    for stage in range(3):
        for block in range((depth - 2) // 6):
            x = _add_block(x, width * 2**stage, strides=2 if stage > 0 and block == 0 else 1)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, build_logits(x, num_classes), name=f"resnet{depth}")


def _add_block(x: Any, filters: int, *, strides: int) -> Any:
    """Adds two 3x3 convolutions whose result is added to their input."""
    shortcut = x if strides == 1 else _convolve(x, filters, kernel_size=1, strides=strides)
    x = _convolve(x, filters, strides=strides, activation="relu")
    x = keras.layers.Add()([_convolve(x, filters), shortcut])
    return keras.layers.Activation("relu")(x)


def _convolve(x: Any, filters: int, *, kernel_size: int = 3, strides: int = 1, activation: str | None = None) -> Any:
    """Adds a convolution, batch normalisation and optionally an activation; initial weights as in He et al. 2015."""
    x = keras.layers.Conv2D(
        filters, kernel_size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation(activation)(x) if activation else x
