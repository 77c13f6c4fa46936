"""Image bytes to pixels, inside TensorFlow: the one way that training, prediction and caches decode and resize."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.datasets.images.exif import UPRIGHT
from dlexp.datasets.images.image_header import DEEP_BITS, Decoder
from dlexp.datasets.images.pillow_pixels import decode_with_pillow

RULES_VERSION = 3  # to be raised with every change that gives other pixels: caches of older versions are not used
_JPEG_SCALES = (1, 2, 4, 8)  # factors by which libjpeg can shrink an image while it decodes it
# For EXIF orientations 1 to 8: whether rows and columns are swapped, and which axes are reversed after that.
_TURNS = (
    (False, ()),
    (False, (1,)),
    (False, (0, 1)),
    (False, (0,)),
    (True, ()),
    (True, (1,)),
    (True, (0, 1)),
    (True, (0,)),
)
_INTERNAL = re.compile(r"\{\{.*?\}\}|\[Op:.*", re.DOTALL)  # names of nodes and operations in a message of TensorFlow
_CHUNK = 1024  # images resized at once


def decode_image(
    contents: Any,
    *,
    channels: int,
    size: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    jpeg_scale: Any = 0,
    orientation: Any = UPRIGHT,
    decoder: Any = Decoder.PLAIN,
    bits: Any = DEEP_BITS,
) -> Any:
    """Decodes one image file by the rules in `dlexp.datasets.images.imagefile`.

    An argument that is a Python number, not a tensor, is resolved when the graph is built, and costs nothing later.

    Args:
        contents: `string` scalar tensor, the bytes of the file.
        channels: 1 for grey, 3 for colour.
        size: (height, width) of the upright image if it is known, which saves TensorFlow some branches.
        image_size: (height, width) to resize to; None keeps the size of the file.
        jpeg_scale: an int or an `int32` scalar from `jpeg_scales`: how often a JPEG is halved while it is decoded.
        orientation: an int or an `int32` scalar: `ImageHeader.orientation` of the file.
        decoder: an int or an `int32` scalar: `ImageHeader.decoder` of the file.
        bits: an int or an `int32` scalar: how many of the 16 bits of each value of a 16-bit file are used; other files
            are not affected.

    Returns:
        `uint8` `(height, width, channels)` tensor.
    """
    decoders = {
        Decoder.PLAIN: lambda: _decode_plain(contents, channels, jpeg_scale),
        Decoder.ALPHA: lambda: _decode_transparent_png(contents, channels),
        Decoder.PILLOW: lambda: _decode_with_pillow(contents, channels, bits),
    }

    def decode() -> Any:
        return _switch(decoder, [decoders[kind] for kind in Decoder])

    if isinstance(bits, int) and bits == DEEP_BITS:
        image = decode()
    else:
        is_deep_png = tf.logical_and(bits < DEEP_BITS, tf.strings.substr(contents, 0, 4) == b"\x89PNG")
        image = tf.cond(is_deep_png, lambda: _decode_deep_png(contents, channels, bits), decode)
    image = _switch(orientation - 1, [partial(_turn, image, *turn) for turn in _TURNS])
    image.set_shape((*(size or (None, None)), channels))
    return image if image_size is None else resize_images(image, image_size)


def jpeg_scales(sizes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Returns how often JPEGs can be halved while they are decoded without becoming smaller than `image_size`.

    Scaling in the DCT domain averages pixels, as Pillow's `draft` does. It is much faster than to decode the full size
    and then shrink it.

    Args:
        sizes: `(n, 2)`, height and width of each file.
        image_size: the wanted (height, width).

    Returns:
        `int32` `(n,)` from 0 to 3.
    """
    enough = [np.all(sizes >= np.multiply(scale, image_size), axis=1) for scale in _JPEG_SCALES[1:]]
    return np.count_nonzero(enough, axis=0).astype(np.int32)


def resize_images(images: Any, image_size: tuple[int, int]) -> Any:
    """Resizes and rounds: by bilinear interpolation, or by area averaging if a side shrinks to half or less.

    A bilinear filter sees only two neighbours, so from half the size on it skips pixels and aliases; mipmaps of
    textures have the same limit. TensorFlow's `antialias` would smooth earlier, and takes two to three times as long.

    Args:
        images: `uint8` `(height, width, channels)` or a batch of such.
        image_size: (height, width) of the result.

    Returns:
        `uint8` tensor of the same rank.
    """
    shrinks, fits = _compare_sizes(images, image_size)
    resized = _choose(
        fits,
        lambda: images,
        lambda: _choose(
            shrinks,
            lambda: _round(tf.image.resize(images, image_size, method="area")),
            # float32 gives the same bits in a quarter of the time: TensorFlow has vectorised code only for it.
            lambda: _round(tf.image.resize(tf.cast(images, tf.float32), image_size, method="bilinear")),
        ),
    )
    resized.set_shape((*images.shape[:-3], *image_size, images.shape[-1]))
    return resized


def _compare_sizes(images: Any, image_size: tuple[int, int]) -> tuple[Any, Any]:
    """Whether a side is at least twice the wanted one; whether both are as wanted. Python bools if sizes are static."""
    if images.shape[-3:-1].is_fully_defined():
        size = np.array(images.shape[-3:-1])
        return bool(np.any(size >= np.multiply(2, image_size))), bool(np.all(size == image_size))
    size = tf.shape(images)[-3:-1]
    return tf.reduce_any(size >= np.multiply(2, image_size)), tf.reduce_all(size == image_size)


def _choose(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    if isinstance(condition, bool):
        return if_true() if condition else if_false()
    return tf.cond(condition, if_true, if_false)


def _round(images: Any) -> Any:
    return tf.cast(images + 0.5, tf.uint8)


def resize_array(images: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Applies `resize_images` to a large `uint8` array `(n, height, width, channels)`, chunk by chunk."""
    if images.shape[1:3] == image_size:
        return images
    resized = np.empty((len(images), *image_size, images.shape[-1]), np.uint8)
    for start in range(0, len(images), _CHUNK):
        resized[start : start + _CHUNK] = resize_images(tf.constant(images[start : start + _CHUNK]), image_size)
    return resized


def decode_bytes(
    data: bytes, *, channels: int, orientation: int = UPRIGHT, decoder: int = Decoder.PLAIN, bits: int = DEEP_BITS
) -> np.ndarray:
    """Decodes an image from Python by `decode_image`, without resizing.

    Raises:
        ValueError: the bytes cannot be decoded.
    """
    try:
        image = decode_image(tf.constant(data), channels=channels, orientation=orientation, decoder=decoder, bits=bits)
    except tf.errors.OpError as err:
        raise ValueError(_INTERNAL.sub("", err.message).strip()) from err
    pixels: np.ndarray = image.numpy()
    return pixels


def _switch(index: Any, branches: Sequence[Callable[[], Any]]) -> Any:
    return branches[index]() if isinstance(index, int) else tf.switch_case(index, branches)


def _turn(image: Any, transposes: bool, reversed_axes: tuple[int, ...]) -> Any:
    image = tf.transpose(image, (1, 0, 2)) if transposes else image
    return tf.reverse(image, reversed_axes) if reversed_axes else image


def _decode_plain(contents: Any, channels: int, jpeg_scale: Any) -> Any:
    return tf.cond(
        tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff",
        lambda: _decode_jpeg(contents, channels, jpeg_scale),
        lambda: _decode_other(contents, channels),
    )


def _decode_jpeg(contents: Any, channels: int, jpeg_scale: Any) -> Any:
    # As Pillow and OpenCV do. TensorFlow's default transform is 2 to 11 % faster, and differs by up to 35 grey levels.
    decode = partial(tf.io.decode_jpeg, contents, channels, dct_method="INTEGER_ACCURATE")
    return _switch(jpeg_scale, [partial(decode, ratio=ratio) for ratio in _JPEG_SCALES])


def _decode_other(contents: Any, channels: int) -> Any:
    return tf.cond(
        tf.strings.substr(contents, 0, 2) == b"BM",
        lambda: _decode_bmp(contents, channels),
        lambda: tf.io.decode_image(contents, channels, expand_animations=False),
    )


def _decode_bmp(contents: Any, channels: int) -> Any:
    """Decodes a BMP and converts its channels: TensorFlow returns the channels of the file, 1, 3 or 4."""
    image = tf.io.decode_bmp(contents)
    if channels == 1:
        return image
    return tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image[..., :3])


def _decode_transparent_png(contents: Any, channels: int) -> Any:
    """Computes (value * alpha + 255 * (255 - alpha)) / 255, rounded, as Pillow composites over white."""
    rgba = tf.io.decode_png(contents, 4)
    values = rgba[..., :3] if channels == 3 else tf.io.decode_png(contents, 1)
    alpha = tf.cast(rgba[..., 3:], tf.int32)
    return tf.cast((tf.cast(values, tf.int32) * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def _decode_deep_png(contents: Any, channels: int, bits: Any) -> Any:
    """Decodes a PNG of 16 bits, and composites it over white as `_decode_transparent_png` does."""
    rgba = tf.io.decode_png(contents, 4, tf.uint16)
    values = rgba[..., :3] if channels == 3 else tf.io.decode_png(contents, 1, tf.uint16)
    values = tf.minimum(tf.bitwise.right_shift(tf.cast(values, tf.int32), bits - 8), 255)
    alpha = tf.cast(rgba[..., 3:], tf.int32) // 256
    return tf.cast((values * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def _decode_with_pillow(contents: Any, channels: int, bits: Any) -> Any:
    def decode(data: Any, bits: Any) -> np.ndarray:
        # An eager call passes an array of one object, a graph passes the bytes.
        data = data if isinstance(data, bytes) else data.item()
        return decode_with_pillow(data, channels=channels, bits=int(bits))

    return tf.numpy_function(decode, [contents, bits], tf.uint8)
