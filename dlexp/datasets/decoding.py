"""Image bytes to pixels, inside TensorFlow: the one way that training, prediction and caches decode and resize."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_JPEG_SCALES = (1, 2, 4, 8)  # what libjpeg can shrink by while it decodes
_CHUNK = 1024  # images resized at once


def decode_image(
    contents: Any,
    *,
    channels: int,
    size: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    jpeg_scale: Any = 0,
) -> Any:
    """Decodes one PNG, JPEG, BMP, GIF (its first frame) or WebP.

    Args:
        contents: `string` scalar tensor, the bytes of the file.
        channels: 1 for grey, 3 for colour.
        size: (height, width) of the decoded image, where it is known; saves TensorFlow some decisions.
        image_size: (height, width) to resize to; None keeps the size of the file.
        jpeg_scale: an int, or an `int32` scalar, from `jpeg_scales`: a JPEG is decoded at that part of its size.

    Returns:
        `uint8` `(height, width, channels)` tensor.
    """
    image = tf.cond(
        tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff",
        lambda: _decode_jpeg(contents, channels, jpeg_scale),
        lambda: _decode_other(contents, channels),
    )
    image.set_shape((*(size or (None, None)), channels))
    return image if image_size is None else resize_images(image, image_size)


def jpeg_scales(sizes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """By how many halvings JPEGs can be shrunk while they are decoded, and still be as large as `image_size`.

    Scaling in the DCT domain averages, as Pillow's `draft` does, and is much faster than to decode all and shrink then.

    Args:
        sizes: `(n, 2)`, height and width of each file.
        image_size: (height, width) that is wanted.

    Returns:
        `int32` `(n,)` from 0 to 3.
    """
    enough = [np.all(sizes >= np.multiply(scale, image_size), axis=1) for scale in _JPEG_SCALES[1:]]
    return np.count_nonzero(enough, axis=0).astype(np.int32)


def resize_images(images: Any, image_size: tuple[int, int]) -> Any:
    """Resizes and rounds: bilinearly, but by averaging over areas where a side shrinks to half or less.

    Two neighbours are all that a bilinear filter sees, so it skips pixels and aliases from there on; a texture's mipmap
    draws the same line. TensorFlow's `antialias` would smooth earlier, at two to three times the cost.

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
            lambda: _round(tf.image.resize(images, image_size, method="bilinear")),
        ),
    )
    resized.set_shape((*images.shape[:-3], *image_size, images.shape[-1]))
    return resized


def _compare_sizes(images: Any, image_size: tuple[int, int]) -> tuple[Any, Any]:
    """Whether a side is twice the wanted one or more; whether both are as wanted. In Python, if the size is known."""
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
    """`resize_images` for a large `uint8` array `(n, height, width, channels)`, a part at a time."""
    if images.shape[1:3] == image_size:
        return images
    resized = np.empty((len(images), *image_size, images.shape[-1]), np.uint8)
    for start in range(0, len(images), _CHUNK):
        resized[start : start + _CHUNK] = resize_images(tf.constant(images[start : start + _CHUNK]), image_size)
    return resized


def decode_bytes(data: bytes, *, channels: int) -> np.ndarray:
    """`decode_image` in its own size, from Python.

    Raises:
        ValueError: the bytes cannot be decoded.
    """
    try:
        pixels: np.ndarray = decode_image(tf.constant(data), channels=channels).numpy()
    except tf.errors.OpError as err:
        raise ValueError(err.message) from err
    return pixels


def _decode_jpeg(contents: Any, channels: int, jpeg_scale: Any) -> Any:
    decoders = [lambda ratio=ratio: tf.io.decode_jpeg(contents, channels, ratio=ratio) for ratio in _JPEG_SCALES]
    return decoders[jpeg_scale]() if isinstance(jpeg_scale, int) else tf.switch_case(jpeg_scale, decoders)


def _decode_other(contents: Any, channels: int) -> Any:
    return tf.cond(
        tf.strings.substr(contents, 0, 2) == b"BM",
        lambda: _decode_bmp(contents, channels),
        lambda: tf.io.decode_image(contents, channels, expand_animations=False),
    )


def _decode_bmp(contents: Any, channels: int) -> Any:
    """TensorFlow decodes a BMP only to the channels it has: 1, 3 or 4."""
    image = tf.io.decode_bmp(contents)
    if channels == 1:
        return image
    return tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image[..., :3])
