"""A folder of 300 pictures in five classes is learned, far above chance; what stays at chance is marked."""

import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlexp import ExperimentConfig, run_experiment
from dlexp.config.flags import config_from_words
from dlexp.runs.summary import print_summary
from dlexp.tracking.mlflow.logged_model import CAUTION_TAG
from tests.support.image_folders import write_digits_folder
from tests.support.mlflow_store import client_of

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")
CHANCE = 0.2


@pytest.fixture
def pictures(tmp_path: pathlib.Path) -> pathlib.Path:
    """300 pictures in five classes."""
    root = write_digits_folder(tmp_path / "pictures", 605, side=32)
    for label in range(5, 10):
        shutil.rmtree(root / str(label))
    return root


@pytest.mark.parametrize(
    "words",
    [
        ["--image_size=32,32", "--augment=crop", "--epochs=10"],
        ["--flagfile=flags/resnet20.flags", "--image_size=16,16", "--epochs=12"],
    ],
    ids=["first command of README", "preset resnet20"],
)
def test_small_folder_is_learned_by(words: list[str], pictures: pathlib.Path, tmp_path: pathlib.Path) -> None:
    quiet: list[Any] = ["--verbose=0", "--noevaluation_report", "--nosample_pictures", "--nosystem_metrics"]
    config = config_from_words([*words, f"--dataset=folder:{pictures}", f"--store={tmp_path / 'store'}", *quiet])
    result = run_experiment(config)
    assert result.metrics["val_accuracy"] > CHANCE + 0.4
    assert "cautions" not in result.run.record()


def test_images_of_noise_are_memorized_and_the_run_is_marked(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "noise" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    values = {"model": "mlp", "batch_size": 14, "epochs": 30, "verbose": 0, "store": str(tmp_path / "store")}
    result = run_experiment(ExperimentConfig.of(dataset=f"folder:{tmp_path / 'noise'}", **values))
    record = result.run.record()
    assert (record["verified"], record["caution"]) == (True, "validation at chance")
    text = record["cautions"]["validation at chance"]
    assert text.startswith("training accuracy is 1.00, but validation accuracy never rose above 0.")
    page = (result.run.path / "evaluation/test/report.html").read_text()
    assert f"<strong>validation at chance</strong>: {text}" in page
    assert client_of(tmp_path / "store").get_run(result.run.id).data.tags[CAUTION_TAG] == "validation at chance"
    print_summary(result, store=str(tmp_path / "store"))
    assert re.search(r"^caution +validation at chance *$", capsys.readouterr().out, re.MULTILINE)
