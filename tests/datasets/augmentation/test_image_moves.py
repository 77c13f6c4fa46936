"""Which augmentations are done to single images."""

import pytest

from dlexp.datasets.augmentation.image_moves import count_moves

LARGE = (224, 224, 3)


@pytest.mark.parametrize(
    ("names", "count"),
    [((), 0), (("flip",), 1), (("flip", "crop"), 2), (("crop", "mixup", "flip"), 1), (("colors", "flip"), 0)],
)
def test_those_at_the_start_of_the_chain_are_moves(names: tuple[str, ...], count: int) -> None:
    assert count_moves(names, LARGE) == count


def test_small_images_are_left_to_the_batch() -> None:
    assert count_moves(("flip", "crop"), (32, 32, 3)) == 0
