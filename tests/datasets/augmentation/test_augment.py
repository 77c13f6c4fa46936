"""Augmentations: stateless, in range, and true to what they are named for."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import build_datasets
from dlexp.datasets.augmentation import mixing
from dlexp.datasets.augmentation.augment import build_augmentation
from dlexp.datasets.augmentation.randaugment import OPERATIONS
from dlexp.datasets.randomness import SeedKey, derive_seed, mix_keys, uniform
from dlexp.errors import UnknownNameError
from dlexp.registry import AUGMENTATIONS

NAMES = sorted(AUGMENTATIONS.builtin_names())
MIXING = ("cutmix", "mixup")
ALONE = [name for name in NAMES if name not in MIXING]
COLOUR = np.random.default_rng(0).integers(0, 256, (24, 12, 16, 3), dtype=np.uint8)
LABELS = np.eye(4, dtype=np.float32)[np.arange(24) % 4]


@functools.cache
def trace(names: tuple[str, ...], seed: int, image_shape: tuple[int, ...]) -> Any:
    """An augmentation for batches of any length, traced once for all tests."""
    signature = [
        tf.TensorSpec((None, *image_shape), tf.uint8),
        tf.TensorSpec((None, 4), tf.float32),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((), tf.int64),
    ]
    return tf.function(build_augmentation(names, SeedKey(seed, "augment")), autograph=False, input_signature=signature)


def augment(*names: str, images: np.ndarray = COLOUR, rows: Any = range(24), epoch: int = 0, seed: int = 0) -> Any:
    rows = list(rows)
    function = trace(names, seed, images.shape[1:])
    arguments = (tf.constant(images[rows]), tf.constant(LABELS[rows]), tf.constant(rows, tf.int64))
    result, labels = function(*arguments, tf.constant(epoch, tf.int64))
    return result.numpy(), labels.numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_shape_range_and_labels_are_kept(name: str, channels: int) -> None:
    images, labels = augment(name, images=COLOUR[..., :channels])
    assert images.shape == (24, 12, 16, channels)
    assert images.dtype in (np.uint8, np.float32)
    assert 0 <= images.min() < images.max() <= 255
    assert np.allclose(labels.sum(axis=1), 1, atol=1e-5)
    assert (images != COLOUR[..., :channels]).any()


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_is_a_function_of_seed_epoch_and_example(name: str) -> None:
    images, labels = augment(name)
    for again, same in ((augment(name), True), (augment(name, epoch=1), False), (augment(name, seed=1), False)):
        assert (np.array_equal(images, again[0]) and np.array_equal(labels, again[1])) == same


@pytest.mark.parametrize("name", ALONE)
def test_an_example_is_augmented_alike_in_any_batch(name: str) -> None:
    images, _ = augment(name)
    for rows in ([5], [7, 3, 20, 11, 2], range(10, 24)):
        part, labels = augment(name, rows=rows)
        assert np.allclose(part, images[list(rows)], atol=1e-3)
        assert np.array_equal(labels, LABELS[list(rows)])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_one_pixel_do_not_fail(name: str) -> None:
    assert augment(name, images=COLOUR[:, :1, :1])[0].shape == (24, 1, 1, 3)


def test_a_name_given_twice_draws_twice() -> None:
    assert not np.array_equal(augment("flip", "flip")[0], COLOUR)


def test_augmentations_are_applied_in_the_order_given() -> None:
    assert not np.array_equal(augment("crop", "erasing")[0], augment("erasing", "crop")[0])


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean flip"):
        build_augmentation(["flipp"], SeedKey(0, "augment"))


def test_flip_mirrors_about_half_of_the_images() -> None:
    images, _ = augment("flip")
    mirrored = [np.array_equal(after, before[:, ::-1]) for after, before in zip(images, COLOUR, strict=True)]
    kept = [np.array_equal(after, before) for after, before in zip(images, COLOUR, strict=True)]
    assert np.array_equal(np.logical_not(mirrored), kept)
    assert 5 <= sum(mirrored) <= 19
    assert images.dtype == np.uint8


def test_crop_is_a_shift_within_the_mirrored_image() -> None:
    images, _ = augment("crop")
    padded = np.pad(COLOUR, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    shifts = set()
    for after, around in zip(images, padded, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(after, around[y : y + 12, x : x + 16])]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 8


def test_erasing_covers_one_box_of_some_images() -> None:
    images, _ = augment("erasing", images=np.zeros_like(COLOUR))
    shares = []
    for covered in (images > 0).any(axis=-1):
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        if rows.size:
            box = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
        shares.append(covered.mean())
    assert 0.2 < np.mean(np.equal(shares, 0)) < 0.8
    assert max(shares) < 0.5


def test_mixup_mixes_images_and_labels_by_the_same_weight() -> None:
    levels = np.broadcast_to((np.arange(24) % 4 * 80).astype(np.uint8)[:, None, None, None], COLOUR.shape)
    images, labels = augment("mixup", images=levels)
    assert np.allclose(images[:, 0, 0, 0], labels @ (np.arange(4) * 80), atol=1e-2)


def test_mixup_weights_follow_their_beta_distribution() -> None:
    keys = mix_keys(tf.constant(0, tf.uint32), tf.range(20000))
    weights = mixing.mixup(tf.fill((20000, 1, 1, 1), 0.0), tf.one_hot(tf.range(20000) % 2, 2), keys)[1].numpy()
    weights = weights[np.arange(20000), np.arange(20000) % 2]
    variance = 1 / (4 * (2 * mixing.MIXUP_ALPHA + 1))
    assert abs(weights.mean() - 0.5) < 0.02
    assert abs(weights.var() - variance) < 0.01


def test_cutmix_mixes_labels_by_area() -> None:
    levels = np.broadcast_to((np.arange(24) % 4 * 80).astype(np.uint8)[:, None, None, None], COLOUR.shape)
    images, labels = augment("cutmix", images=levels)
    own = (np.arange(24) % 4)[:, None, None]
    kept = (images[..., 0] == own * 80).mean(axis=(1, 2))
    assert np.allclose(kept, labels[np.arange(24), np.arange(24) % 4], atol=1e-5)
    assert 0.1 < kept.mean() < 0.9


@pytest.mark.parametrize(
    ("name", "enhance", "tolerance"),
    [
        ("equalize", lambda image: ImageOps.equalize(image), 0),
        ("autocontrast", lambda image: ImageOps.autocontrast(image), 1),
        ("posterize", lambda image: ImageOps.posterize(image, 4), 0),
        ("solarize", lambda image: ImageOps.solarize(image, 231), 0),
        ("color", lambda image: ImageEnhance.Color(image).enhance(1.81), 1),
        ("contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.81), 1),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.81), 1),
        ("sharpness", lambda image: ImageEnhance.Sharpness(image).enhance(1.81), 1),
    ],
)
def test_randaugment_operations_agree_with_pillow(name: str, enhance: Any, tolerance: int) -> None:
    images = tf.constant(COLOUR, tf.float32)
    ours = np.clip(np.round(OPERATIONS[name](images, tf.ones(24)).numpy()), 0, 255)
    theirs = np.stack([np.asarray(enhance(Image.fromarray(image))) for image in COLOUR])
    assert np.abs(ours - theirs).max() <= tolerance


# Keyed randomness.


def test_keys_and_draws_never_change() -> None:
    keys = mix_keys(tf.constant([0, 1, 2**32 - 1], tf.uint32), tf.constant([0, 1, 7], tf.int64))
    assert keys.numpy().tolist() == [2771556020, 159205550, 2235987772]
    assert np.allclose(uniform(tf.constant([0, 1, 2], tf.uint32), 3), [0.81813371, 0.26294166, 0.28600210], atol=1e-7)
    assert (derive_seed(0, "order"), derive_seed(0, "augment")) == (1375796200, 1061763552)


def test_draws_are_uniform_and_independent() -> None:
    keys = mix_keys(tf.constant(3, tf.uint32), tf.range(50000, dtype=tf.int64))
    draws = np.stack([uniform(keys, draw).numpy() for draw in range(4)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(np.stack([np.histogram(draw, 20, (0, 1))[0] for draw in draws]) - 2500).max() < 300
    neighbours = np.corrcoef(np.concatenate([draws, np.roll(draws, 1, axis=1)]))
    assert np.abs(neighbours - np.eye(8)).max() < 0.02


# Plug-ins and the pipeline.


@pytest.fixture
def inverted() -> Iterator[str]:
    def invert(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
        return 255 - images, labels

    with AUGMENTATIONS.override("invert", invert):
        yield "invert"


def test_an_augmentation_of_a_plugin_is_applied_to_training_alone(inverted: str) -> None:
    config = ExperimentConfig.of(dataset="digits", epochs=1)
    plain, changed = build_datasets(config), build_datasets(config.replace(augment=[inverted]))
    [(before, _)], [(after, _)] = (list(item.train_dataset().take(1)) for item in (plain, changed))
    assert np.array_equal(after, 255 - before)
    [(before, _)], [(after, _)] = (list(item.validation.take(1)) for item in (plain, changed))
    assert np.array_equal(after, before)


def test_augmented_training_can_begin_at_any_step_and_differs_between_epochs() -> None:
    config = ExperimentConfig.of(dataset="digits", epochs=2, batch_size=630, augment=["crop", "mixup"])
    datasets = build_datasets(config)
    images = [images.numpy() for images, _ in datasets.train_dataset()]
    [(last, _)] = datasets.train_dataset(3)
    assert len(images) == 4
    assert np.array_equal(last, images[3])


def test_batch_size_does_not_change_what_becomes_of_an_example() -> None:
    results = []
    for batch_size in (64, 90):
        config = ExperimentConfig.of(dataset="digits", epochs=1, batch_size=batch_size, augment=["crop", "color"])
        datasets = build_datasets(config)
        rows = np.concatenate([datasets.train_indices(step) for step in range(datasets.steps_per_epoch)])
        images = np.concatenate([images for images, _ in datasets.train_dataset()])
        results.append(images[np.argsort(rows)])
    assert np.allclose(results[0], results[1], atol=1e-3)
