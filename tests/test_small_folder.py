"""A folder of 300 pictures in five classes is learned: validation accuracy is well above chance."""

import pathlib
import shutil
from typing import Any

import pytest

from dlexp import run_experiment
from dlexp.config.flags import config_from_words
from tests.support.image_folders import write_digits_folder

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
    assert "validation_at_chance" not in result.run.record()
