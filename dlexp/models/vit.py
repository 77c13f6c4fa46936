"""A small vision transformer.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021 (https://arxiv.org/abs/2010.11929), with the mean over all
patches in place of a class token, as in Beyer, Zhai and Kolesnikov, 2022 (https://arxiv.org/abs/2205.01580).
"""

import math
from typing import Any

import keras

from dlexp.errors import ModelError
from dlexp.models.head import build_logits, scale_pixels
from dlexp.registry import register_model

_LARGEST_PATCH = 16
_FEWEST_PATCHES_A_SIDE = 7
_MOST_PATCHES = 1024


@register_model("vit_tiny")
def build_vit_tiny(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    patch_size: int | None = None,
    width: int = 128,
    depth: int = 6,
    heads: int = 4,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds a vision transformer of 1.2 million weights.

    Args:
        input_shape: (height, width, channels).
        num_classes: number of logits.
        patch_size: side of a square patch in pixels, a divisor of height and width; None: see `choose_patch_size`.
        width: length of the vector of a patch, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads of a block.
        dropout: share of a block's activations set to zero, in [0, 1).

    Raises:
        ModelError: height or width is not divisible by `patch_size`, or `width` not by `heads`.
    """
    if width % heads:
        raise ModelError(f"width={width} of vit_tiny is not divisible by heads={heads}: use {width // heads * heads}")
    if patch_size is None:
        patch_size = choose_patch_size(*input_shape[:2])
    pixels = keras.Input(input_shape)
    x = _embed_patches(scale_pixels(pixels), patch_size, width)
    for _ in range(depth):
        x = _add_block(x, heads=heads, dropout=dropout)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(pixels, build_logits(x, num_classes), name="vit_tiny")


def choose_patch_size(height: int, width: int) -> int:
    """Returns the side of the largest patch, up to 16 pixels, with about 7 patches or more along the shorter side.

    Raises:
        ModelError: height and width have no suitable common divisor, and small patches would be too many.

    Example:
        >>> [choose_patch_size(side, side) for side in (8, 28, 32, 224)]
        [2, 4, 4, 16]
    """
    largest = min(_LARGEST_PATCH, max(2, min(height, width) // _FEWEST_PATCHES_A_SIDE))
    size = max(size for size in range(1, largest + 1) if math.gcd(height, width) % size == 0)
    patches = (height // size) * (width // size)
    if patches > _MOST_PATCHES:
        fitting = [max(1, round(side / largest)) * largest for side in (height, width)]
        raise ModelError(
            f"images of {height}x{width} pixels can only be cut into {patches:,} patches, more than {_MOST_PATCHES:,}: "
            f"set image_size={fitting[0]},{fitting[1]} or give patch_size"
        )
    return size


def _embed_patches(x: Any, patch_size: int, width: int) -> Any:
    """Cuts images into patches, and maps each patch to a vector by a shared matrix and a bias for its position.

    The bias is the learned position embedding: equation 1 of the paper, in one of Keras' own layers.
    """
    _, image_height, image_width, channels = x.shape
    if image_height % patch_size or image_width % patch_size:
        raise ModelError(
            f"images of {image_height}x{image_width} pixels cannot be cut into patches of patch_size={patch_size}: use "
            f"a divisor of {math.gcd(image_height, image_width)}"
        )
    rows, columns = image_height // patch_size, image_width // patch_size
    x = keras.layers.Reshape((rows, patch_size, columns, patch_size * channels))(x)
    x = keras.layers.Permute((1, 3, 2, 4))(x)
    x = keras.layers.Reshape((rows * columns, patch_size * patch_size * channels))(x)
    return keras.layers.EinsumDense(
        "bpi,iw->bpw",
        output_shape=(rows * columns, width),
        bias_axes="pw",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name="patch_and_position_embedding",
    )(x)


def _add_block(x: Any, *, heads: int, dropout: float) -> Any:
    """Adds a pre-norm transformer block: attention, then two dense layers, each with a residual connection."""
    width = x.shape[-1]
    attended = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    attended = keras.layers.MultiHeadAttention(heads, width // heads, dropout=dropout)(attended, attended)
    x = keras.layers.Add()([x, attended])
    mixed = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    mixed = keras.layers.Dense(4 * width, activation="gelu")(mixed)
    mixed = keras.layers.Dense(width)(mixed)
    if dropout:
        mixed = keras.layers.Dropout(dropout)(mixed)
    return keras.layers.Add()([x, mixed])
