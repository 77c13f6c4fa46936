"""`dlexp evaluate` and `evaluate_checkpoint`: what was recorded comes out again, and anything else is evaluated too."""

import json
import pathlib
import shutil
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from dlexp import (
    ArraySource,
    ExperimentConfig,
    Tracker,
    build_datasets,
    evaluate_checkpoint,
    load_checkpoint,
    register_source,
    register_tracker,
    run_experiment,
)
from dlexp.commands.cli import main
from dlexp.errors import ConfigError, DataError, EvaluationError
from dlexp.evaluation import folder as evaluation_folder
from dlexp.evaluation.options import parse_tta
from dlexp.evaluation.plan import plan_evaluation
from dlexp.evaluation.tta_views import make_views
from dlexp.runs.run import Run
from tests.support.image_folders import write_digits_folder


def train(store: pathlib.Path, **values: Any) -> Run:
    """A run of a second: a small network."""
    quick: dict[str, Any] = {
        "model": "mlp", "model_args": {"hidden_sizes": [32]}, "epochs": 2, "verbose": 0, "tensorboard": False,
        "metrics": ("F1Score",), "store": str(store),
    }  # fmt: skip
    return run_experiment(ExperimentConfig.of(**(quick | values))).run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def run(store: pathlib.Path) -> Run:
    return train(store)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn in test_evaluation_folder.py, and take most of the time."""
    monkeypatch.setattr(evaluation_folder, "draw_pictures", lambda *_: {})


def call(*words: str) -> int:
    return main(["dlexp", "evaluate", *words])


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_run_evaluates_its_best_checkpoint_on_test_and_validation(run: Run, split: str) -> None:
    folder = run.path / "evaluation" / split
    report = json.loads((folder / "report.json").read_text())
    recorded = run.record()
    assert report["weights_digest"] == recorded["weights_digest"]
    assert (report["dataset_id"], report["split"]) == (recorded["dataset_id"], split)
    assert report["calibration"]["temperature_fitted_on"] == "validation"
    assert report["calibration"]["with_temperature"]["nll"] < report["calibration"]["nll"]
    prefix = {"test": "test", "validation": "val"}[split]
    for name, value in report["metrics"].items():
        assert value == pytest.approx(recorded["metrics"][f"{prefix}_{name}"], rel=1e-5)


def test_recorded_evaluation_comes_out_again_bit_for_bit(run: Run, store: pathlib.Path) -> None:
    folder = run.path / "evaluation" / "test"
    before = files(folder)
    written = evaluate_checkpoint(run.id, store=store)["test"]
    recorded = run.record()["metrics"]
    assert written.metrics == {name.removeprefix("test_"): recorded[name] for name in recorded if "test_" in name}
    assert written.path == folder
    assert files(folder) == before


def test_trackers_are_given_every_picture_once(tmp_path: pathlib.Path) -> None:
    run = train(tmp_path, trackers=("keep_pictures",))
    pictures = ("confusion", "per_class", "roc", "precision_recall", "reliability", "mistakes", "least_confident")
    expected = [f"evaluation/{split}/{name}" for split in ("validation", "test") for name in pictures]
    given = [(key, path) for key, path in KeepPictures.given if key.startswith("evaluation/")]
    assert [key for key, _ in given] == expected
    assert all(path == run.path / f"{key}.png" and path.is_file() for key, path in given)


@pytest.mark.usefixtures("without_pictures")
def test_other_metrics_than_the_recorded_ones_are_an_error_and_the_record_stays(
    run: Run, store: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    report = copy / "evaluation" / "test" / "report.json"
    report.write_text(report.read_text().replace('"accuracy": 0.', '"accuracy": 0.1'))
    before = files(report.parent)
    with pytest.raises(EvaluationError, match=rf"now differ from those recorded by run {run.id[:8]}: accuracy 0"):
        evaluate_checkpoint(copy, store=store)
    assert files(report.parent) == before
    assert evaluate_checkpoint(copy, store=store, output=tmp_path / "out")["test"].path == tmp_path / "out" / "test"


@pytest.mark.usefixtures("without_pictures")
def test_run_of_micro_batches_is_evaluated_in_batches_of_their_size(tmp_path: pathlib.Path) -> None:
    run = train(tmp_path, batch_size=64, micro_batch_size=20)
    again = evaluate_checkpoint(run.id, store=tmp_path)["test"]
    assert again.path == run.path / "evaluation" / "test"
    assert again.report["batch_size"] == 20
    other = evaluate_checkpoint(run.id, store=tmp_path, dataset="digits", split_seed=3, dataset_name="other")["test"]
    assert other.report["batch_size"] == 20


@pytest.mark.parametrize("batch_size", [10, 64, 100])
@pytest.mark.usefixtures("without_pictures")
def test_given_batch_size_takes_the_place_of_that_of_micro_batches(batch_size: int, tmp_path: pathlib.Path) -> None:
    run = train(tmp_path, batch_size=64, micro_batch_size=20)
    written = evaluate_checkpoint(run.id, store=tmp_path, batch_size=batch_size)["test"]
    assert written.report["batch_size"] == batch_size


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tta": ("shift", "flip")}, "digits-test-flip-shift"),
        ({"kind": "last"}, "digits-test-last-epoch002"),
        ({"splits": ("train",), "batch_size": 100}, "digits-train"),
        ({"metrics": ("AUC",)}, "digits-test"),
        ({"dataset": "digits", "split_seed": 3, "dataset_name": "other"}, "other-test"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("without_pictures")
def test_evaluation_by_hand_has_a_folder_of_its_own(run: Run, store: pathlib.Path, changes: Any, name: str) -> None:
    (written,) = evaluate_checkpoint(run.id, store=store, **changes).values()
    assert written.path == run.path / "evaluation" / name
    assert written.metrics["accuracy"] == pytest.approx(written.report["accuracy"]["value"])


@pytest.mark.usefixtures("without_pictures")
def test_mirrored_views_are_averaged(run: Run, store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    written = evaluate_checkpoint(run.id, store=store, tta=("flip",), output=tmp_path)["test"]
    model, datasets = load_checkpoint(run.path).model, build_datasets(run.config())
    images = np.concatenate([images for images, _ in datasets.test])
    both = [keras.ops.softmax(model(view)).numpy() for view in (images, images[:, :, ::-1])]
    probabilities = written.predictions().filter(like="probability_").to_numpy()
    assert probabilities == pytest.approx(np.mean(both, axis=0), abs=1e-5)


def test_views_keep_the_edge_and_come_with_the_image_first() -> None:
    images = tf.reshape(tf.constant(np.arange(16, dtype=np.uint8)), (1, 4, 4, 1))
    first, left, _, up, _ = (view[0, ..., 0].numpy() for view in make_views(images, ("shift",)))
    assert first.tolist() == images[0, ..., 0].numpy().tolist()
    assert left[0].tolist() == [0, 0, 1, 2]
    assert up[:, 0].tolist() == [0, 0, 4, 8]
    assert len(make_views(images, ("flip", "shift"))) == 10
    assert parse_tta("shift,flip,shift") == ("flip", "shift")
    assert parse_tta("none") == ()


@pytest.mark.usefixtures("without_pictures")
def test_dataset_with_some_of_the_classes_in_another_order_and_size_is_evaluated(
    run: Run, store: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_digits_folder(tmp_path / "photos", 300, side=20)
    for label in range(5):
        shutil.rmtree(folder / str(label))
    words = [f"--dataset=folder:{folder}", f"--store={store}", f"--output={tmp_path / 'out'}", "--split=train,test"]
    assert call(run.id[:8], *words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == str(tmp_path / "out" / "test")
    assert any("95 % interval" in line for line in shown)
    predictions = pd.read_parquet(tmp_path / "out" / "train" / "predictions.parquet")
    assert predictions["label"].tolist() == [int(key.split("/")[0]) for key in predictions["key"]]
    assert (predictions["label"] == predictions["prediction"]).mean() > 0.3
    report = json.loads((tmp_path / "out" / "test" / "report.json").read_text())
    assert report["per_class"]["0"]["recall"] is None
    assert report["dataset_name"] == "photos"


@pytest.mark.usefixtures("without_pictures")
def test_file_in_no_run_folder_is_evaluated_on_the_dataset_it_names(
    run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(run.path / run.record()["best_checkpoint"], "mine.keras")
    written = evaluate_checkpoint("mine.keras")["test"]
    assert written.metrics["accuracy"] == run.record()["metrics"]["test_accuracy"]
    assert written.path == pathlib.Path("evaluation", "mine", "digits-test")


@pytest.mark.usefixtures("without_pictures")
def test_grey_images_are_repeated_for_a_model_that_takes_colours_and_not_the_other_way(tmp_path: pathlib.Path) -> None:
    grey = write_digits_folder(tmp_path / "grey", 100)
    for path in grey.rglob("*.png"):
        colored = tmp_path / "colored" / path.relative_to(grey)
        colored.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").save(colored)
    of_colored = train(tmp_path / "store", dataset=f"folder:{tmp_path / 'colored'}", batch_size=16)
    of_grey = train(tmp_path / "store", dataset=f"folder:{grey}", batch_size=16)
    own = pd.read_parquet(of_colored.path / "evaluation" / "test" / "predictions.parquet").set_index("key")
    written = evaluate_checkpoint(of_colored.path, dataset=f"folder:{grey}", splits=("train",))["train"]
    of_both = written.predictions().set_index("key").join(own, rsuffix="_own", how="inner")
    assert len(of_both) > 5
    assert of_both["loss"].to_numpy() == pytest.approx(of_both["loss_own"].to_numpy(), rel=1e-5)
    with pytest.raises(DataError, match="has images of 3 channels, but the checkpoint takes 1"):
        evaluate_checkpoint(of_grey.path, dataset=f"folder:{tmp_path / 'colored'}")


@pytest.mark.usefixtures("without_pictures")
def test_run_is_not_evaluated_on_data_that_has_changed_and_is_on_data_that_has_moved(tmp_path: pathlib.Path) -> None:
    folder = write_digits_folder(tmp_path / "photos", 100)
    of_folder = train(tmp_path / "store", dataset=f"folder:{folder}", batch_size=16)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder, tmp_path / "elsewhere" / "photos")
    moved = evaluate_checkpoint(of_folder.path, data_dir=str(tmp_path / "elsewhere"))["test"]
    assert moved.path == of_folder.path / "evaluation" / "test"
    next((tmp_path / "elsewhere").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="but dataset_id="):
        evaluate_checkpoint(of_folder.path, data_dir=str(tmp_path / "elsewhere"))


@register_tracker("keep_pictures")
class KeepPictures(Tracker):
    """Remembers which pictures it was given."""

    name = "keep_pictures"
    given: ClassVar[list[tuple[str, pathlib.Path]]] = []

    def __init__(self, tracking: Any) -> None:
        self.given.clear()

    def start(self, description: Any) -> None:
        pass

    def resume(self, description: Any, points: Any) -> None:
        pass

    def log_points(self, points: Any) -> None:
        pass

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        self.given.append((key, path))

    def finish(self, status: Any) -> None:
        pass


@register_source("letters")
def open_letters(spec: str, *, data_dir: str) -> ArraySource:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    return ArraySource("letters", images, np.arange(40) % 4, ("1", "x", "y", "z"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "letters"}, "3 of 4 classes of letters are not among the 10 of the checkpoint: 'x', 'y', 'z'"),
        ({"splits": ("tests",)}, "unknown split 'tests': did you mean test"),
        ({"splits": ()}, "no split was given"),
        ({"kind": "bset"}, "did you mean best"),
        ({"tta": ("flap",)}, "did you mean flip"),
        ({"split_seed": 3}, "split_seed would change the run's own dataset: give --dataset too"),
        ({"dataset": "digit"}, "did you mean digits"),
        ({"datset": "digits"}, "did you mean dataset"),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_refused_before_tensorflow_with_nothing_left_behind(
    run: Run, store: pathlib.Path, tmp_path: pathlib.Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        plan_evaluation(run.id, store=store, output=tmp_path / "out", **changes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_pictures")
def test_image_that_cannot_be_read_is_named_and_nothing_is_left_behind(
    run: Run, store: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_digits_folder(tmp_path / "photos", 100)
    (folder / "3" / "cut.png").write_bytes((folder / "3" / "0003.png").read_bytes()[:-20])
    words = [run.id, f"--store={store}", f"--dataset=folder:{folder}", f"--output={tmp_path / 'out'}"]
    assert call(*words) == 1
    assert "3/cut.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert call(*words, "--on_bad_image=skip") == 0


def test_what_other_data_leave_out_is_warned_of(
    store: pathlib.Path, run: Run, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = write_digits_folder(tmp_path / "photos", 60)
    (photos / "1" / "scan.psd").touch()
    (photos / "again").symlink_to("2")
    plan_evaluation(run.id, store=str(store), dataset=f"folder:{photos}")
    [message] = caplog.messages
    assert (
        "1 link in place of a class or split folder (again), 1 image in a format that is not read (1 .psd)" in message
    )


def test_command_needs_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert "needs a run or the path of a checkpoint" in capsys.readouterr().err
