"""The cache of Keras, empty or with a small Fashion-MNIST, whose files Keras takes without knowing their hashes."""

import gzip
import os
import pathlib
import shutil
import struct

import numpy as np
import pytest


def empty_keras_cache(monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Empties the cache that Keras has in all tests, and makes its downloads fail at once, with a network too."""
    folder = pathlib.Path(os.environ["KERAS_HOME"])
    for cached in ("datasets", "models"):
        shutil.rmtree(folder / cached, ignore_errors=True)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    return folder


def write_fashion_mnist(folder: pathlib.Path, *, train: int, test: int) -> None:
    """Writes the four files of Fashion-MNIST below a cache; labels are 0, 1, ..., 9, 0, ..."""
    files = folder / "datasets" / "fashion-mnist"
    files.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
            (files / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
