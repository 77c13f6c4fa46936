"""Every source keeps the contract; and the suite that says so finds those that do not."""

import itertools
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext as does_not_raise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, open_dataset
from dlexp.datasets.packing import write_pack
from dlexp.datasets.sources.source import Source
from dlexp.plugins import load_plugins
from dlexp.registry import SOURCES
from dlexp.testing import SourceContract
from tests.datasets.sources.test_sources import IMAGES, LABELS, BareSource, write_idx, write_npz
from tests.support.fake_libraries import (
    HuggingFaceTable,
    TfdsBuilder,
    fake_datasets,
    fake_tfds,
    image_features,
    image_rows,
)
from tests.support.image_folders import write_digits_folder
from tests.support.keras_cache import empty_keras_cache, write_fashion_mnist
from tests.support.suites import find_test, names_of, run_suite_test

OpenSource = Callable[[], Source]


def opener(kind: str, spec: object = "") -> OpenSource:
    return lambda: SOURCES.get(kind)(str(spec), data_dir="")


class TestDigits(SourceContract):
    @pytest.fixture
    def open_source(self) -> OpenSource:
        return opener("digits")


class TestNpz(SourceContract):
    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:4], "y_test": LABELS[:4]}
        return opener("npz", write_npz(tmp_path, **arrays))


class TestIdx(SourceContract):
    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        for prefix, count in (("train", 20), ("t10k", 6)):
            write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", IMAGES[:count])
            write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", LABELS[:count])
        return opener("idx", tmp_path)


def copy_in_order(source: pathlib.Path, target: pathlib.Path, *, reverse: bool) -> pathlib.Path:
    """Copies the files below a folder one by one, in the order of their paths or the other way round."""
    for path in sorted(source.rglob("*.*"), reverse=reverse):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    return target


class TestFolder(SourceContract):
    """Its files are made anew for each opening, in another order."""

    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        written = write_digits_folder(tmp_path / "digits", 60, ending=".jpg")
        numbers = itertools.count()

        def open_copy() -> Source:
            number = next(numbers)
            copied = copy_in_order(written, tmp_path / str(number) / "photos", reverse=number % 2 == 1)
            return opener("folder", copied)()

        return open_copy


class TestTable(SourceContract):
    """Its files are made anew for each opening, in another order."""

    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        written = write_digits_folder(tmp_path / "digits", 60)
        files = sorted(path.relative_to(written).as_posix() for path in written.rglob("*.png"))
        table = pd.DataFrame({"path": files, "label": [file[0] for file in files], "camera": "north"})
        table.to_csv(written / "photos.csv", index=False)
        numbers = itertools.count()

        def open_copy() -> Source:
            number = next(numbers)
            copied = copy_in_order(written, tmp_path / str(number), reverse=number % 2 == 1)
            return opener("table", copied / "photos.csv")()

        return open_copy


class TestPack(SourceContract):
    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        photos = write_digits_folder(tmp_path / "photos", 60)
        write_pack(open_dataset(DataConfig(dataset=f"folder:{photos}", batch_size=4)), tmp_path / "pack")
        return opener("pack", tmp_path / "pack")


class TestKeras(SourceContract):
    @pytest.fixture
    def open_source(self, monkeypatch: pytest.MonkeyPatch) -> OpenSource:
        write_fashion_mnist(empty_keras_cache(monkeypatch), train=30, test=20)
        return opener("keras", "fashion_mnist")


class TestHuggingFace(SourceContract):
    @pytest.fixture
    def open_source(self, monkeypatch: pytest.MonkeyPatch) -> OpenSource:
        tables = {
            "train": HuggingFaceTable(image_rows(0, 30), image_features()),
            "test": HuggingFaceTable(image_rows(20, 20), image_features()),  # ten images are in both
        }
        monkeypatch.setitem(sys.modules, "datasets", fake_datasets(lambda *arguments: tables))
        return opener("hf", "me/bars")


class TestTfds(SourceContract):
    @pytest.fixture
    def open_source(self, monkeypatch: pytest.MonkeyPatch) -> OpenSource:
        builder = TfdsBuilder({"train": image_rows(0, 30), "test": image_rows(20, 20)})
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake_tfds(lambda name: builder))
        return opener("tfds", "bars")


class TestCombined(SourceContract):
    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> OpenSource:
        photos = write_digits_folder(tmp_path / "photos", 60)
        return lambda: open_dataset(DataConfig(dataset=f"digits+folder:{photos}")).source


PLUGIN = """
import numpy as np
from dlexp import ArraySource, register_source

@register_source("of_a_plugin")
def open_noise(spec, *, data_dir):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    return ArraySource("noise", images, labels=np.arange(40) % 2, class_names=("even", "odd"))
"""


class TestPlugin(SourceContract):
    @pytest.fixture
    def open_source(self, tmp_path: pathlib.Path) -> Iterator[OpenSource]:
        (tmp_path / "conforming_plugin.py").write_text(PLUGIN)
        with SOURCES.isolated():
            load_plugins([str(tmp_path / "conforming_plugin.py")])
            yield opener("of_a_plugin")
        sys.modules.pop("conforming_plugin", None)


class TestBareSource(SourceContract):
    """The least that a source can be: it inherits nothing."""

    @pytest.fixture
    def open_source(self) -> OpenSource:
        return BareSource


def test_every_builtin_source_has_its_conformance_tests() -> None:
    tested = {"digits", "npz", "idx", "folder", "table", "pack", "keras", "hf", "tfds"}
    assert set(SOURCES._modules) == tested


# Sources that break one promise each.


class UnevenSource(ArraySource):
    """Noise, of which the first two examples are equal."""

    def __init__(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 1), dtype=np.uint8)
        images[1] = images[0]
        super().__init__("uneven", images, np.arange(12) % 2, ("even", "odd"))

    def set(self, column: str, value: Any, row: int = 3) -> None:
        column_values = self.manifest[column].astype("object")
        column_values[row] = value
        self.manifest[column] = column_values if isinstance(value, bytes) else column_values.infer_objects()


class Breaking(UnevenSource):
    """Reads as `change` makes of (source, row, pixels)."""

    def __init__(self, change: Callable[["Breaking", int, np.ndarray], Any]) -> None:
        self._change, self.reads = change, itertools.count()
        super().__init__()

    def read(self, row: int) -> Any:
        return self._change(self, row, super().read(row))


def changed(**attributes: Any) -> UnevenSource:
    source = UnevenSource()
    vars(source).update(attributes)
    return source


def with_cell(column: str, value: Any) -> UnevenSource:
    source = UnevenSource()
    source.set(column, value)
    return source


class Shared(UnevenSource):
    """Seeks, and then reads where another thread may have sought to."""

    def __init__(self) -> None:
        super().__init__()
        self.position, self.both_have_sought = 0, threading.Barrier(2, timeout=60)

    def read(self, row: int) -> np.ndarray:
        self.position = row
        if threading.current_thread() is not threading.main_thread():
            self.both_have_sought.wait()
        return self.images[self.position]


class Forgetful(UnevenSource):
    """Writes into its manifest what it has read."""

    def read(self, row: int) -> np.ndarray:
        self.manifest.loc[row, "group"] = "seen"
        return super().read(row)


def unstable() -> OpenSource:
    orders = itertools.count()

    def open_in_another_order() -> Source:
        source = UnevenSource()
        order = np.roll(np.arange(12), next(orders))
        source.manifest = source.manifest.iloc[order].reset_index(drop=True)
        return source

    return open_in_another_order


@pytest.mark.parametrize("name", names_of(SourceContract))
def test_a_source_with_two_equal_images_passes(name: str, request: pytest.FixtureRequest) -> None:
    with does_not_raise():
        run_suite_test(SourceContract, name, UnevenSource, request)


# How to open it, a part of the name of the test that must fail, and what that says.
BROKEN: list[tuple[OpenSource, str, str]] = [
    (lambda: changed(name=""), "name_and_class_names_are_text", "name is empty"),
    (lambda: changed(class_names=["even", "odd"]), "name_and_class_names_are_text", "is a list"),
    (lambda: changed(class_names=("odd", "odd")), "name_and_class_names_are_text", "all different"),
    (lambda: changed(manifest=UnevenSource().manifest.drop(columns="group")), "columns_of_the_contract", "group"),
    (lambda: with_cell("group", b"g"), "columns_of_the_contract", "group holds .*bytes"),
    (lambda: with_cell("height", 6.5), "columns_of_the_contract", "height holds float64"),
    (lambda: with_cell("key", "00001"), "keys_are_unique_and_portable", "twice: .*00001"),
    (lambda: with_cell("key", "/data/a.png"), "keys_are_unique_and_portable", "not portable"),
    (lambda: with_cell("key", "a/../b.png"), "keys_are_unique_and_portable", "not portable"),
    (lambda: with_cell("key", "C:\\a.png"), "keys_are_unique_and_portable", "not portable"),
    (lambda: with_cell("label", 2), "with_every_class_present", r"labels are \[0, 1, 2\]"),
    (lambda: changed(class_names=("a", "b", "c")), "with_every_class_present", "all of 0 to 2"),
    (lambda: with_cell("digest", "F" * 32), "digests_are_32_hex_digits", "FFFF"),
    (lambda: with_cell("digest", UnevenSource().manifest["digest"][0]), "mean_equal_pixels", "different pixels"),
    (lambda: with_cell("split", "dev"), "splits_are_those_of_the_contract", "dev"),
    (lambda: with_cell("source", ""), "every_example_names_its_source", "00003"),
    (lambda: with_cell("channels", 3), "have_the_same_channels", r"\[1, 3\]"),
    (lambda: with_cell("height", 0), "have_the_same_channels", "without pixels: .*00003"),
    (lambda: with_cell("height", 7), "uint8_of_the_shape_in_its_manifest", "'00003' was read as"),
    (lambda: Breaking(lambda self, row, pixels: pixels / 255), "uint8_of_the_shape_in_its_manifest", "float64"),
    (lambda: Breaking(lambda self, row, pixels: [0]), "uint8_of_the_shape_in_its_manifest", "read as list"),
    (
        lambda: Breaking(lambda self, row, pixels: pixels + np.uint8(next(self.reads))),
        "reads_the_same_pixels_twice",
        "with different pixels",
    ),
    (Shared, "same_pixels_from_several_threads", "8 threads"),
    (Forgetful, "reading_does_not_change_it", "manifest has changed"),
    (unstable(), "opened_twice_it_is_the_same", "the manifest"),
]


@pytest.mark.parametrize(("broken", "part", "message"), BROKEN)
def test_a_broken_promise_fails_its_own_test(
    broken: OpenSource, part: str, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(AssertionError, match=message):
        run_suite_test(SourceContract, find_test(SourceContract, part), broken, request)


def test_what_a_training_would_refuse_fails_its_own_test() -> None:
    with pytest.raises(ValueError, match="column split"):
        SourceContract().test_it_passes_the_checks_that_a_training_begins_with(lambda: with_cell("split", "dev"))


def test_every_test_of_the_suite_has_been_seen_to_fail() -> None:
    failed = {find_test(SourceContract, part) for _, part, _ in BROKEN}
    assert set(names_of(SourceContract)) - failed == {"test_it_passes_the_checks_that_a_training_begins_with"}


def test_the_suite_is_imported_without_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    for name in [name for name in sys.modules if name.startswith("dlexp.testing")]:
        monkeypatch.delitem(sys.modules, name)
    import dlexp.testing

    assert dlexp.testing.SourceContract is not SourceContract  # imported anew
