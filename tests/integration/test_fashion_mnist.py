"""Fashion-MNIST end to end: from IDX files and from an image folder, through the command line."""

import gzip
import json
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.integration.conftest import FASHION_MNIST, dlexp

FLAGS = ("--model=small_cnn", "--epochs=3", "--split_method=official", "--batch_size=128", "--tensorboard=false")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """All 70,000 images as PNG files: `train/<class>/*.png` and `test/<class>/*.png`."""
    root = tmp_path_factory.mktemp("fashion-png")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(FASHION_MNIST / f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
        labels = read_idx(FASHION_MNIST / f"{prefix}-labels-idx1-ubyte.gz", header=8)
        for label in np.unique(labels):
            (root / split / str(label)).mkdir(parents=True)
        paths = [root / split / str(label) / f"{n:05d}.png" for n, label in enumerate(labels)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: Image.fromarray(pair[0]).save(pair[1]), zip(images, paths, strict=True)))
    return root


def read_idx(path: pathlib.Path, *, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def train(*words: str, cwd: pathlib.Path) -> dict[str, Any]:
    """Trains, and returns the record of the run that the last line of stdout names."""
    folder = pathlib.Path(dlexp("train", *FLAGS, *words, cwd=cwd).splitlines()[-1])
    return json.loads((folder / "run.json").read_text()) | {"folder": folder}


@pytest.fixture(scope="module")
def idx_run(workspace: pathlib.Path) -> dict[str, Any]:
    return train(f"--dataset=idx:{FASHION_MNIST}", cwd=workspace)


@pytest.fixture(scope="module")
def folder_run(workspace: pathlib.Path, image_folder: pathlib.Path) -> dict[str, Any]:
    return train(f"--dataset=folder:{image_folder}", "--cache=memory", cwd=workspace)


def test_idx_files_reach_the_expected_accuracy(idx_run: dict[str, Any]) -> None:
    assert idx_run["metrics"]["test_accuracy"] >= 0.88


def test_image_folder_reaches_the_expected_accuracy(folder_run: dict[str, Any]) -> None:
    assert folder_run["metrics"]["test_accuracy"] >= 0.87


def test_image_folder_has_the_class_counts_of_the_idx_files(
    idx_run: dict[str, Any], folder_run: dict[str, Any]
) -> None:
    counts = [
        pd.read_parquet(run["folder"] / "dataset" / "manifest.parquet").query("split == 'test'")["label"].value_counts()
        for run in (idx_run, folder_run)
    ]
    assert counts[0].sort_index().equals(counts[1].sort_index())


@pytest.mark.parametrize("kind", ["best", "last"])
def test_plain_keras_opens_the_checkpoint_without_dlexp(
    idx_run: dict[str, Any], kind: str, workspace: pathlib.Path
) -> None:
    (path,) = (path for path in (idx_run["folder"] / "checkpoints").iterdir() if f"__{kind}__" in path.name)
    script = (
        "import gzip, sys, numpy as np\n"
        "sys.modules['dlexp'] = None  # as if it were not installed\n"
        "import keras\n"
        "read = lambda name, skip: np.frombuffer(gzip.open(f'{sys.argv[2]}/{name}').read(), np.uint8, offset=skip)\n"
        "images = read('t10k-images-idx3-ubyte.gz', 16).reshape(-1, 28, 28, 1)\n"
        "labels = read('t10k-labels-idx1-ubyte.gz', 8)\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "print(model.evaluate(images, labels, verbose=0, return_dict=True)['accuracy'])\n"
    )
    command = [sys.executable, "-c", script, str(path), str(FASHION_MNIST)]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=os.environ.copy(), check=True)
    accuracy = float(done.stdout.splitlines()[-1])
    if kind == "best":
        assert accuracy == pytest.approx(idx_run["metrics"]["test_accuracy"], abs=1e-6)
    assert accuracy >= 0.88
