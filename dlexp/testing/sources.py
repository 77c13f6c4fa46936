"""The conformance suite of sources."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.sources.source import NUMBER_COLUMNS, SPLITS, TEXT_COLUMNS, Source, check_source

_SAMPLE = 16  # number of examples whose pixels are compared
_THREADS, _READS_EACH = 8, 8
_DIGEST = re.compile(r"[0-9a-f]{32}")
_UNPORTABLE_KEY = re.compile(r"^$|^/|^[A-Za-z]:|\\|(^|/)\.\.?(/|$)|//|/$|[\x00-\x1f]")


class SourceContract:
    """Tests every promise of `dlexp.datasets.Source`.

    Use it as the base of a class whose name begins with Test, and which has the fixture `open_source`: a function
    without arguments that opens the source again at each call. To test that the order of files does not matter, it may
    also write the files again in another order.

    Example:
        >>> class TestMySource(SourceContract):
        ...     @pytest.fixture
        ...     def open_source(self, tmp_path):
        ...         write_my_files(tmp_path)
        ...         return lambda: open_my_source(str(tmp_path), data_dir="")
    """

    def test_it_passes_the_checks_that_a_training_begins_with(self, open_source: Callable[[], Source]) -> None:
        """A source that fails here is refused by `open_dataset`."""
        check_source(open_source())

    def test_its_name_and_class_names_are_text(self, open_source: Callable[[], Source]) -> None:
        """A name; a tuple of two class names or more, all different."""
        source = open_source()
        assert isinstance(source.name, str), f"name is {source.name!r}: it must be text"
        assert source.name, "name is empty"
        names = source.class_names
        assert isinstance(names, tuple), f"class_names is a {type(names).__name__}: it must be a tuple"
        assert all(isinstance(name, str) and name for name in names), f"class_names {names} must be texts"
        assert len(set(names)) == len(names) >= 2, f"class_names {names} must be two or more, all different"

    def test_its_manifest_has_the_columns_of_the_contract(self, open_source: Callable[[], Source]) -> None:
        """All columns are there, with text or whole numbers as the contract requires."""
        manifest = open_source().manifest
        missing = [name for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS) if name not in manifest]
        assert not missing, f"the manifest lacks the columns {missing}"
        for name in TEXT_COLUMNS:
            types = set(manifest[name].map(type))
            assert types == {str}, f"column {name} holds {types}: it must hold str"
        for name in NUMBER_COLUMNS:
            dtype = manifest[name].dtype
            assert pd.api.types.is_integer_dtype(dtype), f"column {name} holds {dtype}: it must hold int"

    def test_its_keys_are_unique_and_portable(self, open_source: Callable[[], Source]) -> None:
        """No key twice; no absolute path, `..`, backslash or anything else that another machine cannot use."""
        keys = open_source().manifest["key"]
        twice = keys[keys.duplicated()].tolist()
        assert not twice, f"keys occur twice: {twice[:5]}"
        unportable = [key for key in keys if _UNPORTABLE_KEY.search(key)]
        assert not unportable, f"keys are not portable: {unportable[:5]}"

    def test_its_labels_run_from_0_with_every_class_present(self, open_source: Callable[[], Source]) -> None:
        """Labels are the numbers of the classes, and each class has an example."""
        source = open_source()
        found = sorted(set(source.manifest["label"]))
        expected = list(range(len(source.class_names)))
        assert found == expected, f"labels are {found[:10]}: all of 0 to {expected[-1]} must occur, and no others"

    def test_its_digests_are_32_hex_digits(self, open_source: Callable[[], Source]) -> None:
        """Lower-case hex digits, such as those of blake2b with 128 bits."""
        bad = [digest for digest in open_source().manifest["digest"] if not _DIGEST.fullmatch(digest)]
        assert not bad, f"digests are not 32 hex digits: {bad[:5]}"

    def test_its_equal_digests_mean_equal_pixels(self, open_source: Callable[[], Source]) -> None:
        """Checks a sample, and examples of equal digests anywhere in the manifest."""
        source = open_source()
        manifest = source.manifest
        copies = manifest[manifest["digest"].duplicated(keep=False)].sort_values("digest", kind="stable")[:_SAMPLE]
        seen: dict[str, tuple[str, np.ndarray]] = {}
        for example in (*_sample(manifest), *_sample(copies)):
            pixels = source.read(example.row)
            key, same = seen.setdefault(example.digest, (example.key, pixels))
            assert np.array_equal(pixels, same), f"{key!r} and {example.key!r} have equal digests but different pixels"

    def test_its_splits_are_those_of_the_contract(self, open_source: Callable[[], Source]) -> None:
        """Values are train, validation, test, or empty."""
        unknown = set(open_source().manifest["split"]) - {"", *SPLITS}
        assert not unknown, f"splits are {sorted(unknown)}: they must be {', '.join(SPLITS)}, or empty"

    def test_every_example_names_its_source(self, open_source: Callable[[], Source]) -> None:
        """Metrics are reported by source."""
        manifest = open_source().manifest
        nameless = manifest["key"][manifest["source"] == ""].tolist()
        assert not nameless, f"column source is empty for {nameless[:5]}"

    def test_its_images_all_have_the_same_channels(self, open_source: Callable[[], Source]) -> None:
        """All are grey or all are in colour, and have at least one pixel."""
        manifest = open_source().manifest
        channels = sorted(set(manifest["channels"]))
        assert len(channels) == 1, f"column channels holds {channels}: all images must have the same"
        empty = manifest["key"][(manifest[["height", "width", "channels"]] <= 0).any(axis="columns")].tolist()
        assert not empty, f"images without pixels: {empty[:5]}"

    def test_it_reads_uint8_of_the_shape_in_its_manifest(self, open_source: Callable[[], Source]) -> None:
        """`uint8` `(height, width, channels)`."""
        source = open_source()
        for example in _sample(source.manifest):
            pixels = source.read(example.row)
            assert isinstance(pixels, np.ndarray), f"{example.key!r} was read as {type(pixels).__name__}"
            found, expected = (pixels.dtype, pixels.shape), (example.height, example.width, example.channels)
            assert found == (np.dtype(np.uint8), expected), f"{example.key!r} was read as {found}, not uint8 {expected}"

    def test_it_reads_the_same_pixels_twice(self, open_source: Callable[[], Source]) -> None:
        """Reading is not random, and does not change the pixels."""
        source = open_source()
        for example in _sample(source.manifest):
            same = np.array_equal(source.read(example.row).copy(), source.read(example.row))
            assert same, f"{example.key!r} was read twice, with different pixels"

    def test_it_reads_the_same_pixels_from_several_threads(self, open_source: Callable[[], Source]) -> None:
        """Training reads it that way."""
        source = open_source()
        sample = _sample(source.manifest)
        expected = {example.key: source.read(example.row).copy() for example in sample}
        order = [example for shift in range(_READS_EACH) for example in (*sample[shift:], *sample[:shift])]
        with _switching_threads_often(), ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(lambda example: source.read(example.row).copy(), order))
        differing = [
            example.key
            for example, pixels in zip(order, found, strict=True)
            if not np.array_equal(pixels, expected[example.key])
        ]
        assert not differing, f"read from {_THREADS} threads, the pixels of {differing[:5]} are different"

    def test_reading_does_not_change_it(self, open_source: Callable[[], Source]) -> None:
        """Manifest and class names stay as they were when it was opened."""
        source = open_source()
        manifest, class_names = source.manifest.copy(), source.class_names
        for example in _sample(manifest):
            source.read(example.row)
        assert source.manifest.equals(manifest), "the manifest has changed"
        assert source.class_names == class_names, "class_names have changed"

    def test_opened_twice_it_is_the_same(self, open_source: Callable[[], Source]) -> None:
        """Name, classes, examples in their order, and pixels; only paths may differ."""
        first, second = open_source(), open_source()
        assert (first.name, first.class_names) == (second.name, second.class_names), "its name or class_names differ"
        before, after = (source.manifest.drop(columns="path").reset_index(drop=True) for source in (first, second))
        pd.testing.assert_frame_equal(before, after, obj="the manifest")
        for example in _sample(first.manifest):
            same = np.array_equal(first.read(example.row), second.read(example.row))
            assert same, f"the pixels of {example.key!r} differ"


@contextlib.contextmanager
def _switching_threads_often() -> Iterator[None]:
    """Makes races between threads likely inside the block."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def _sample(manifest: pd.DataFrame) -> list[Any]:
    """Returns evenly spaced rows as named tuples, the first and the last one included."""
    positions = np.linspace(0, len(manifest) - 1, min(_SAMPLE, len(manifest)), dtype=int)
    return list(manifest.iloc[positions].itertuples(index=False))
