"""The input pipeline: equal for equal seeds, computable from any step, whatever the cache and the workers."""

import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import build_datasets, open_dataset
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.datasets.images.decoding import jpeg_scales, resize_array
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.datasets.pipeline import Datasets
from dlexp.datasets.pixels import share_workers
from dlexp.datasets.randomness import shuffle_positions
from dlexp.errors import DataError, StoreError
from dlexp.machine import capacity
from dlexp.registry import SOURCES
from tests.datasets.sources.test_sources import BareSource
from tests.support.image_bytes import build_late_damage
from tests.support.image_folders import write_digits_folder

DIGITS = ExperimentConfig.of(dataset="digits", batch_size=100, epochs=2)

Batches = list[tuple[np.ndarray, np.ndarray]]


def batches(data: Any) -> Batches:
    return list(data.as_numpy_iterator())


def equal(one: Batches, other: Batches) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)
    )


@pytest.fixture(scope="module")
def digits() -> Datasets:
    return build_datasets(DIGITS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write_digits_folder(tmp_path_factory.mktemp("photos"), 120, ending=".jpg", side=40)


@pytest.fixture(scope="module")
def folder_config(folder: pathlib.Path) -> ExperimentConfig:
    return ExperimentConfig.of(
        dataset=f"folder:{folder}", image_size=(12, 10), batch_size=32, epochs=2, store=str(folder.parent / "store")
    )


# Order.


def test_the_same_seed_gives_equal_batches(digits: Datasets) -> None:
    assert equal(batches(digits.train_dataset()), batches(build_datasets(DIGITS).train_dataset()))


def test_another_seed_gives_another_order_of_the_same_split(digits: Datasets) -> None:
    other = build_datasets(DIGITS.replace(seed=1))
    assert (digits.train_indices(0) != other.train_indices(0)).any()
    assert digits.dataset.id == other.dataset.id


@pytest.mark.parametrize("first_step", [1, 12, 13, 17, 26])
def test_training_can_begin_at_any_step(digits: Datasets, first_step: int) -> None:
    assert digits.total_steps == 26
    assert equal(batches(digits.train_dataset(first_step)), batches(digits.train_dataset())[first_step:])


@pytest.mark.parametrize("first_step", [-1, 27])
def test_a_step_outside_of_the_training_is_refused(digits: Datasets, first_step: int) -> None:
    with pytest.raises(ValueError, match=f"Received: first_step={first_step}"):
        digits.train_dataset(first_step)


def test_each_epoch_is_another_permutation_of_the_training_examples(digits: Datasets) -> None:
    steps = digits.steps_per_epoch
    epochs = [np.concatenate([digits.train_indices(epoch * steps + s) for s in range(steps)]) for epoch in range(2)]
    assert all(np.array_equal(np.sort(epoch), digits.dataset.rows("train")) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_train_indices_tell_the_examples_of_a_step(digits: Datasets) -> None:
    for step, (images, labels) in enumerate(batches(digits.train_dataset())):
        rows = digits.train_indices(step)
        assert np.array_equal(images, np.stack([digits.dataset.source.read(row) for row in rows]))
        assert np.array_equal(labels.argmax(axis=1), digits.dataset.manifest["label"].iloc[rows])


def test_the_last_batch_of_an_epoch_is_smaller(digits: Datasets) -> None:
    sizes = [len(images) for images, _ in batches(digits.train_dataset())]
    assert sizes == ([100] * 12 + [60]) * 2
    assert int(digits.train_dataset(20).cardinality()) == 6


@pytest.mark.parametrize(("steps", "kept"), [(1, [12]), (3, [0, 1, 12]), (13, [*range(13)]), (50, [*range(13)])])
def test_short_epochs_keep_their_first_steps_and_the_last(steps: int, kept: list[int], digits: Datasets) -> None:
    short = build_datasets(DIGITS)
    short.shorten_epochs(steps)
    whole = batches(digits.train_dataset())
    expected = [whole[epoch * 13 + step] for epoch in range(2) for step in kept]
    assert (short.steps_per_epoch, short.examples_per_epoch) == (len(kept), 100 * (len(kept) - 1) + 60)
    assert equal(batches(short.train_dataset())[: 2 * len(kept)], expected)
    assert np.array_equal(short.train_indices(len(kept) - 1), digits.train_indices(12))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_batches_of_a_split_are_no_larger_than_what_passes_the_network_in_training(split: str) -> None:
    datasets = build_datasets(DIGITS.replace(micro_batch_size=30))
    sizes = [len(images) for images, _ in batches(datasets.split_batches(split))]
    assert set(sizes[:-1]) == {30}
    assert sum(sizes) == datasets.dataset.count(split)
    assert len(next(iter(datasets.train_dataset()))[0]) == 100


def shuffle(count: int, key: int) -> np.ndarray:
    shuffled: np.ndarray = shuffle_positions(
        tf.range(count, dtype=tf.int64), count, tf.constant(key, tf.uint32)
    ).numpy()
    return shuffled


def test_the_order_of_this_tensorflow_is_the_one_that_runs_were_recorded_with() -> None:
    assert shuffle(10, 5).tolist() == [1, 6, 8, 2, 7, 4, 5, 3, 9, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 100, 1258])
def test_shuffled_positions_are_a_permutation(count: int) -> None:
    assert np.array_equal(np.sort(shuffle(count, 7)), np.arange(count))


def test_orders_do_not_repeat_after_256_epochs_or_between_seeds() -> None:
    orders = set()
    for seed in range(5):
        datasets = build_datasets(DIGITS.replace(seed=seed, epochs=300))
        for epoch in (0, 1, 255, 256, 257):
            orders.add(tuple(datasets.train_indices(epoch * datasets.steps_per_epoch)))
    assert len(orders) == 25


def test_batches_of_sorted_data_are_as_mixed_as_true_shuffling_makes_them() -> None:
    count, batch = 54000, 128
    halves = np.concatenate([shuffle(count, key)[: count // batch * batch].reshape(-1, batch) for key in range(4)])
    variance = (halves < count // 2).sum(axis=1).var()
    assert abs(variance - batch / 4) < 3


def test_validation_and_test_are_whole_and_in_the_order_of_the_manifest(digits: Datasets) -> None:
    for split in ("validation", "test"):
        labels = np.concatenate([labels for _, labels in batches(getattr(digits, split))])
        expected = digits.dataset.manifest["label"].to_numpy()[digits.dataset.rows(split)]
        assert np.array_equal(labels.argmax(axis=1), expected)


# Elements.


def test_images_are_bytes_and_labels_one_hot(digits: Datasets) -> None:
    images, labels = digits.train_dataset().element_spec
    assert (images.shape.as_list(), images.dtype) == ([None, 8, 8, 1], tf.uint8)
    assert (labels.shape.as_list(), labels.dtype) == ([None, 10], tf.float32)


def test_label_smoothing_and_mixing_touch_training_labels_alone() -> None:
    datasets = build_datasets(DIGITS.replace(label_smoothing=0.1, augment=["mixup", "cutmix"]))
    _, train_labels = batches(datasets.train_dataset().take(1))[0]
    assert np.allclose(train_labels.sum(axis=1), 1, atol=1e-5)
    assert train_labels.min() >= 0.1 / 10 - 1e-6
    for data in (datasets.validation, datasets.test):
        images, labels = batches(data.take(1))[0]
        assert images.dtype == np.uint8
        assert set(np.unique(labels)) == {0.0, 1.0}


def test_label_smoothing_is_that_of_szegedy() -> None:
    _, labels = batches(build_datasets(DIGITS.replace(label_smoothing=0.1)).train_dataset().take(1))[0]
    assert np.allclose(np.unique(labels), [0.01, 0.91])


def test_arrays_are_resized_once_to_bytes() -> None:
    datasets = build_datasets(DIGITS.replace(image_size=[16, 12]))
    images, _ = batches(datasets.validation)[0]
    assert (images.shape[1:], images.dtype.name) == ((16, 12, 1), "uint8")


# Resizing.


def test_stripes_shrink_to_grey() -> None:
    stripes = np.zeros((1, 32, 32, 1), np.uint8)
    stripes[:, :, ::2] = 255
    assert set(np.unique(resize_array(stripes, (8, 8)))) <= {127, 128}


def test_enlarging_is_bilinear() -> None:
    image = np.array([0, 100], np.uint8).reshape(1, 1, 2, 1)
    assert resize_array(image, (1, 4)).ravel().tolist() == [0, 25, 75, 100]


def test_jpegs_are_never_decoded_smaller_than_wanted() -> None:
    sizes = np.array([[100, 100], [200, 199], [200, 200], [900, 400], [5000, 5000]])
    assert jpeg_scales(sizes, (100, 100)).tolist() == [0, 0, 1, 2, 3]


# Caches and workers.


@pytest.fixture(scope="module")
def uncached(folder_config: ExperimentConfig) -> Batches:
    return batches(build_datasets(folder_config).train_dataset())


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_cache_and_workers_do_not_change_a_bit(
    folder_config: ExperimentConfig, uncached: Batches, cache: str, num_workers: int
) -> None:
    datasets = build_datasets(folder_config.replace(cache=cache, num_workers=num_workers))
    assert equal(batches(datasets.train_dataset()), uncached)


@pytest.mark.parametrize("augment", [("flip",), ("crop",), ("flip", "crop", "flip", "crop"), ("crop", "mixup", "flip")])
def test_large_images_are_augmented_alike_one_by_one_and_in_batches(
    folder_config: ExperimentConfig, augment: tuple[str, ...]
) -> None:
    config = folder_config.replace(image_size=(202, 163), augment=augment)
    one_by_one = build_datasets(config).train_dataset()
    in_batches = build_datasets(config.replace(cache="memory")).train_dataset()
    assert equal(batches(one_by_one), batches(in_batches))


@pytest.mark.parametrize(
    ("num_workers", "batch_size", "shares"),
    [(1, 32, (1, 1)), (2, 32, (2, 1)), (3, 32, (2, 2)), (64, 32, (3, 22)), (64, 1024, (2, 32)), (4, 1, (4, 1))],
)
def test_workers_are_shared_by_few_batches(num_workers: int, batch_size: int, shares: tuple[int, int]) -> None:
    assert share_workers(num_workers, batch_size) == shares


@given(st.integers(1, 300), st.integers(1, 3000))
def test_no_worker_is_without_an_image(num_workers: int, batch_size: int) -> None:
    num_batches, images_of_each = share_workers(num_workers, batch_size)
    assert num_batches * min(images_of_each, batch_size) >= num_workers
    assert num_batches * (images_of_each - 1) < num_workers


@pytest.fixture
def bare() -> Iterator[BareSource]:
    """A source of a plug-in, registered as `bare`."""
    source = BareSource()
    with SOURCES.override("bare", lambda spec, *, data_dir: source):
        yield source


def test_an_epoch_that_ends_with_a_smaller_batch_reads_each_image_once(
    bare: BareSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    datasets = build_datasets(ExperimentConfig.of(dataset="bare", batch_size=30, epochs=1))
    read_one = bare.read

    def count(row: int) -> np.ndarray:
        read.append(row)
        return read_one(row)

    monkeypatch.setattr(bare, "read", count)
    batches(datasets.train_dataset())
    assert sorted(read) == datasets.dataset.rows("train").tolist()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_one_worker_reads_one_image_at_a_time_and_two_read_two(
    num_workers: int, bare: BareSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_first, reading, overlapping = threading.Lock(), threading.Lock(), threading.Event()
    datasets = build_datasets(ExperimentConfig.of(dataset="bare", batch_size=8, epochs=2, num_workers=num_workers))
    read_one = bare.read

    def read(row: int) -> np.ndarray:
        if not reading.acquire(blocking=False):
            overlapping.set()
            return read_one(row)
        if is_first.acquire(blocking=False):
            overlapping.wait(0.25 if num_workers == 1 else 60)  # gives another thread the chance to read meanwhile
        reading.release()
        return read_one(row)

    monkeypatch.setattr(bare, "read", read)
    batches(datasets.train_dataset())
    assert overlapping.is_set() == (num_workers > 1)


def test_a_folder_can_begin_at_any_step(folder_config: ExperimentConfig, uncached: Batches) -> None:
    assert [len(images) for images, _ in uncached] == [32, 32, 21] * 2
    assert equal(batches(build_datasets(folder_config).train_dataset(4)), uncached[4:])


def test_the_disk_cache_is_used_again(folder_config: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    config = folder_config.replace(cache="disk", store=str(tmp_path))
    first = batches(build_datasets(config).validation)
    [file] = (tmp_path / "cache").glob("*.npy")
    written = file.stat().st_mtime_ns
    assert equal(batches(build_datasets(config).validation), first)
    assert file.stat().st_mtime_ns == written
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_another_image_size_has_a_cache_of_its_own(folder_config: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    for size in ([12, 10], [10, 12]):
        build_datasets(folder_config.replace(cache="disk", store=str(tmp_path), image_size=size))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_a_cache_that_cannot_fit_in_memory_is_refused_with_both_figures(
    folder_config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available_memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match=r"needs 14\.1 KiB of memory, but 1,000 bytes are available"):
        build_datasets(folder_config.replace(cache="memory"))


def test_a_store_that_cannot_be_written_is_refused(folder_config: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cache=disk cannot write"):
        build_datasets(folder_config.replace(cache="disk", store=str(tmp_path / "file")))


# Damage after the start.


def test_a_file_that_is_damaged_during_training_is_named(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 40)
    datasets = build_datasets(ExperimentConfig.of(dataset=f"folder:{root}", batch_size=8, epochs=1))
    victim = root / datasets.dataset.manifest["key"].iloc[datasets.train_indices(2)[0]]
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"1 of 40 images.*{victim.name}"), naming_unreadable_images(datasets.dataset):
        batches(datasets.train_dataset())


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_file_whose_damage_no_scan_finds_is_named_with_the_way_out(tmp_path: pathlib.Path, cache: str) -> None:
    root = write_digits_folder(tmp_path / "photos", 40)
    (root / "1" / "late.png").write_bytes(build_late_damage())
    config = ExperimentConfig.of(
        dataset=f"folder:{root}", batch_size=8, cache=cache, image_size=(8, 8), epochs=2, validation_fraction=0.1
    )

    def read_all() -> None:
        datasets = build_datasets(config)
        with naming_unreadable_images(datasets.dataset):
            for split in (datasets.train_dataset(), datasets.validation, datasets.test):
                batches(split)

    with pytest.raises(DataError, match=r"1 of 41 images .*late\.png.* which dlexp data check lists"):
        read_all()
    dataset = open_dataset(config.data)
    assert find_duplicates(dataset).unreadable["key"].tolist() == ["1/late.png"]


def test_a_file_that_is_damaged_before_it_is_cached_is_named(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 40)
    config = ExperimentConfig.of(dataset=f"folder:{root}", batch_size=8, cache="memory")
    dataset = open_dataset(config.data)
    victim = root / dataset.manifest["key"].iloc[7]
    victim.unlink()
    with pytest.raises(DataError, match=victim.name):
        Datasets(config, dataset)


# Sources of plug-ins.


def test_a_plugin_source_needs_only_read(bare: BareSource) -> None:
    datasets = build_datasets(ExperimentConfig.of(dataset="bare", batch_size=8, epochs=1))
    for step, (images, labels) in enumerate(batches(datasets.train_dataset())):
        rows = datasets.train_indices(step)
        assert np.array_equal(images, np.stack([bare.read(row) for row in rows]))
        assert np.array_equal(labels.argmax(axis=1), rows % 2)


def test_a_plugin_source_that_fails_in_training_is_named(bare: BareSource, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = build_datasets(ExperimentConfig.of(dataset="bare", batch_size=8, epochs=1))
    monkeypatch.setattr(bare, "read", lambda row: np.zeros((3, 3, 1), np.uint8))
    with pytest.raises(DataError, match=r"50 of 50.*'00000'.*\(3, 3, 1\)"), naming_unreadable_images(datasets.dataset):
        batches(datasets.train_dataset())


def test_opening_a_dataset_does_not_import_tensorflow() -> None:
    code = (
        "import sys; from dlexp.config.experiment_config import DataConfig; import dlexp.datasets as d;"
        "d.open_dataset(DataConfig());"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
