"""Image bytes to pixels, inside TensorFlow: the one way that training, prediction and caches decode and resize."""

from typing import Any

import numpy as np
import tensorflow as tf

_JPEG_SCALES = (1, 2, 4, 8)  # what libjpeg can shrink by while it decodes
_CHUNK = 1024  # images resized at once


def decode_image(contents: Any, *, channels: int, image_size: tuple[int, int] | None = None) -> Any:
    """Decodes one PNG, JPEG, BMP, GIF (its first frame) or WebP.

    A JPEG that is shrunk to less than half is decoded at half, quarter or eighth size (scaling in the DCT domain, as
    Pillow's `draft` does), which is several times faster and does not alias.

    Args:
        contents: `string` scalar tensor, the bytes of the file.
        channels: 1 for grey, 3 for colour.
        image_size: (height, width) to resize to; None keeps the size of the file.

    Returns:
        `uint8` `(height, width, channels)` tensor.
    """
    image = tf.cond(
        tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff",
        lambda: _decode_jpeg(contents, channels, image_size),
        lambda: _decode_other(contents, channels),
    )
    image.set_shape((None, None, channels))
    return image if image_size is None else resize_images(image, image_size)


def resize_images(images: Any, image_size: tuple[int, int]) -> Any:
    """Resizes bilinearly, smoothing where it shrinks, and rounds.

    Args:
        images: `uint8` `(height, width, channels)` or a batch of such.
        image_size: (height, width) of the result.

    Returns:
        `uint8` tensor of the same rank.
    """

    def resize() -> Any:
        resized = tf.image.resize(images, image_size, method="bilinear", antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    same = tf.reduce_all(tf.shape(images)[-3:-1] == image_size)
    result = tf.cond(same, lambda: images, resize)
    result.set_shape((*images.shape[:-3], *image_size, images.shape[-1]))
    return result


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


def _decode_jpeg(contents: Any, channels: int, image_size: tuple[int, int] | None) -> Any:
    # The accurate method is named, since the default one may differ between machines.
    decoders = [
        lambda scale=scale: tf.io.decode_jpeg(contents, channels, ratio=scale, dct_method="INTEGER_ACCURATE")
        for scale in _JPEG_SCALES
    ]
    if image_size is None:
        return decoders[0]()
    size = tf.image.extract_jpeg_shape(contents)[:2]
    enough = [tf.reduce_all(size >= [scale * side for side in image_size]) for scale in _JPEG_SCALES[1:]]
    return tf.switch_case(tf.reduce_sum(tf.cast(tf.stack(enough), tf.int32)), decoders)


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
