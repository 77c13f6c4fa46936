"""Test-time augmentation: makes several views of an image, whose probabilities are averaged."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_SHIFT_SHARE = 1 / 16  # half of the largest shift in training, so that every view still shows the object


def make_views(images: Any, names: Sequence[str]) -> list[Any]:
    """Returns the images and changed copies of them.

    `flip` adds the horizontally mirrored images: 2 views. `shift` adds copies that are moved left, right, up and down
    by 1/16 of the side, at least 1 pixel, with the edge pixels repeated: 5 views. Both together give 10 views.

    Args:
        images: `(batch, height, width, channels)`, of known height and width.
        names: some of `dlexp.evaluation.options.TTA`.

    Returns:
        The views; the unchanged images come first.
    """
    views = [images]
    if "shift" in names:
        rows, columns = (max(round(side * _SHIFT_SHARE), 1) for side in images.shape[1:3])
        views += [_shift(images, axis, by) for axis, by in ((2, -columns), (2, columns), (1, -rows), (1, rows))]
    if "flip" in names:
        views += [tf.reverse(view, [2]) for view in views]
    return views


def _shift(images: Any, axis: int, by: int) -> Any:
    size = images.shape[axis]
    return tf.gather(images, tf.clip_by_value(tf.range(size) + by, 0, size - 1), axis=axis)
