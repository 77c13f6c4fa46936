"""The batch that `dlexp batch-size` chooses: trainings with it are measured from outside their process."""

import itertools
import json
import pathlib

import numpy as np
import pytest

from dlexp.runs.store import list_runs
from tests.support.outside import Ended, run_dlexp

MIB = 2**20
# Not needed here, and half of the memory of a small network otherwise.
LIGHT = ("--notensorboard", "--nomlflow_autolog", "--nosample_pictures", "--nosystem_metrics", "--verbose=0")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of 6,000 random images."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (6000, 28, 28, 1), dtype=np.uint8)
    np.savez(path, x=pixels, y=np.arange(6000) % 10)
    return f"npz:{path}"


def flags_of(images: str, model: str) -> list[str]:
    return [f"--dataset={images}", f"--model={model}", "--image_size=32", *LIGHT]


def train(folder: pathlib.Path, images: str, model: str, batch_size: int) -> Ended:
    """Trains for 20 steps or more, with validation and report."""
    epochs = -(-20 * batch_size // 4200)
    words = ["train", *flags_of(images, model), f"--batch_size={batch_size}", f"--epochs={epochs}"]
    return run_dlexp([*words, f"--experiment={batch_size}"], folder=folder)


# TensorFlow, Keras and MLflow take about 1,030 MiB: with a smaller budget, the margin has room for twice the batch.
@pytest.mark.parametrize(("budget_mib", "margin", "model"), [(1400, 5, "small_cnn"), (1536, 5, "resnet20")])
def test_chosen_batch_trains_within_the_budget_and_twice_the_batch_does_not(
    images: str, tmp_path: pathlib.Path, budget_mib: int, margin: int, model: str
) -> None:
    words = ["batch-size", *flags_of(images, model), f"--memory_budget={budget_mib}MiB", f"--margin={margin}%"]
    searched = run_dlexp([*words, "--multiple_of=8", "--format=json"], folder=tmp_path)
    assert searched.code == 0, searched.output
    chosen = int((tmp_path / "batch_size.flags").read_text().splitlines()[-1].removeprefix("--batch_size="))

    fitting, double = (train(tmp_path, images, model, size) for size in (chosen, 2 * chosen))

    assert (fitting.code, double.code) == (0, 0), fitting.output + double.output
    assert fitting.peak_bytes <= budget_mib * MIB
    assert double.peak_bytes > budget_mib * MIB


def test_models_are_ranked_as_their_trainings_are_measured(images: str, tmp_path: pathlib.Path) -> None:
    models = ["mlp", "small_cnn", "resnet20", "vit_tiny"]
    words = ["batch-size", f"--models={','.join(models)}", *flags_of(images, "mlp"), "--memory_budget=1500MiB"]
    searched = run_dlexp([*words, "--format=json"], folder=tmp_path)
    assert searched.code == 0, searched.output
    rows = json.loads(searched.output[searched.output.index("[\n") : searched.output.rindex("\n]") + 2])
    size = min(row["batch_size"] for row in rows)

    peaks = {model: train(tmp_path, images, model, size).peak_bytes for model in models}

    ranked = [peaks[row["model"]] for row in rows]
    assert rows[0]["model"] == max(peaks, key=lambda model: peaks[model])
    # Models that differ by less than what a measurement varies may have any order.
    assert all(heavier >= 0.98 * lighter for heavier, lighter in itertools.combinations(ranked, 2)), peaks


def test_sweep_with_the_written_flagfile_keeps_its_batch_size(images: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "batch_size.flags").write_text("--batch_size=128\n")
    common = ["--flagfile=batch_size.flags", *flags_of(images, "mlp"), "--epochs=1", "--experiment=fair"]
    swept = run_dlexp(["sweep", *common, "--sweep_name=s", "--space=learning_rate=choice(0.01,0.001)"], folder=tmp_path)
    assert swept.code == 0, swept.output

    refused = run_dlexp(["train", *common, "--batch_size=64"], folder=tmp_path)
    assert refused.code == 2
    assert "experiment 'fair' trains with batch_size=128" in refused.output
    assert "--allow_batch_size_change" in refused.output

    allowed = run_dlexp(["train", *common, "--batch_size=64", "--allow_batch_size_change"], folder=tmp_path)
    assert allowed.code == 0, allowed.output
    runs = list_runs(tmp_path / "mlruns", sort_by="started")
    assert runs["batch_size"].tolist() == [128, 128, 64]
    assert runs["batch_size_change"].fillna("").tolist() == ["", "", "128 -> 64"]
    assert "batch size differs" in runs["caution"].iloc[-1]
