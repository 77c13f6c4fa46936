"""Two folders and Fashion-MNIST as one dataset, trained on, moved, and trained on again from the recipe of the run."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.integration.conftest import FASHION_MNIST, dlexp
from tests.integration.test_fashion_mnist import read_idx

FLAGS = ("--model=mlp", "--epochs=1", "--batch_size=256", "--verbose=0", "--tensorboard=false")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folders `shirts` and `shoes` of 600 PNG files each, and `idx`, whose classes are named by numbers."""
    root = tmp_path_factory.mktemp("combined") / "data"
    images = read_idx(FASHION_MNIST / "train-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = read_idx(FASHION_MNIST / "train-labels-idx1-ubyte.gz", header=8)
    for folder, classes in (("shirts", {0: "t-shirt", 6: "shirt"}), ("shoes", {5: "sandal", 7: "sneaker"})):
        for label, name in classes.items():
            (root / folder / name).mkdir(parents=True)
            for number in np.flatnonzero(labels == label)[:300]:
                Image.fromarray(images[number]).save(root / folder / name / f"{number:05d}.png")
    (root / "idx").mkdir()
    for path in FASHION_MNIST.glob("*.gz"):
        shutil.copy(path, root / "idx")
    names = {"shirts/t-shirt": "0", "shirts/shirt": "6", "shoes/sandal": "5", "shoes/sneaker": "7"}
    (root / "names.json").write_text(json.dumps(names))
    return root


def train(*words: str, cwd: pathlib.Path) -> dict[str, Any]:
    folder = pathlib.Path(dlexp("train", *FLAGS, *words, cwd=cwd).splitlines()[-1])
    return json.loads((folder / "run.json").read_text()) | {"folder": folder}


def test_moved_copy_of_combined_data_gives_the_same_id_and_weights(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    expression = f"folder:{data / 'shirts'}*3+folder:{data / 'shoes'}+idx:{data / 'idx'}"
    first = train(f"--dataset={expression}", f"--class_map={data / 'names.json'}", cwd=tmp_path)
    for source in ("shirts", "shoes", "idx"):
        assert 0 < first["metrics"][f"test_accuracy/{source}"] <= 1
    manifest = pd.read_parquet(first["folder"] / "dataset" / "manifest.parquet")
    assert manifest["source"].value_counts().to_dict() == {"idx": 70_000, "shirts": 600, "shoes": 600}
    moved = tmp_path / "elsewhere"
    shutil.move(data, moved)
    again = train(f"--dataset=recipe:{first['run_id'][:8]}", f"--data_dir={moved}", cwd=tmp_path)
    assert again["dataset_id"] == first["dataset_id"]
    assert again["weights_digest"] == first["weights_digest"]
    dlexp("data", "verify", first["run_id"], f"--data_dir={moved}", cwd=tmp_path)
