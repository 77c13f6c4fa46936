"""One experiment from config to record, for real on digits, and how it fails."""

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from dlexp import (
    ExperimentConfig,
    ExperimentResult,
    evaluate_checkpoint,
    list_checkpoints,
    list_runs,
    load_checkpoint,
    resume_experiment,
    run_experiment,
)
from dlexp.checkpoints.metadata import STATE_MEMBER, read_metadata
from dlexp.comparison.predictions import load_predictions
from dlexp.config.sections import DataConfig
from dlexp.datasets import build_datasets, open_dataset
from dlexp.datasets.packing import write_pack
from dlexp.errors import ConfigError, DataError, DivergedError, DlexpError
from dlexp.evaluation.split_prediction import Predictions
from dlexp.experiment import metrics_of_test
from dlexp.runs.recipe import resolve_recipe
from dlexp.runs.store import iterate_runs
from tests.support.image_folders import write_digits_folder
from tests.support.mlflow_store import client_of

EPOCHS = 3
pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def tiny(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    """A training of a second: a small network on digits."""
    quick = {"model": "mlp", "model_args": {"hidden_sizes": [32], "dropout": 0.1}, "epochs": EPOCHS, "verbose": 0}
    return ExperimentConfig.of(**(quick | {"store": str(store)} | values))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def result(store: pathlib.Path) -> ExperimentResult:
    return run_experiment(tiny(store, histograms=True, tags={"note": "tiny"}, metrics=("F1Score",)))


def test_run_folder_holds_what_the_design_names(result: ExperimentResult) -> None:
    for name in (
        "config.json", "run.flags", "run.json", "metrics.jsonl", "environment/packages.txt", "environment/machine.json",
        "dataset/manifest.parquet", "dataset/samples.png", "evaluation/test/predictions.parquet",
        "evaluation/test/report.json", "evaluation/test/report.html", "evaluation/test/confusion.png",
        "evaluation/test/mistakes.png", "evaluation/validation/report.json",
    ):  # fmt: skip
        assert (result.run.path / name).stat().st_size > 0, name
    kinds = sorted(read_metadata(path)["kind"] for path in result.run.checkpoints_folder.iterdir())
    assert kinds == ["best", "last"]
    assert list((result.run.path / "tensorboard").iterdir())


def test_record_says_finished_with_best_epoch_and_metrics(result: ExperimentResult) -> None:
    record = result.run.record()
    assert record["status"] == "FINISHED"
    assert 1 <= record["best_epoch"] <= EPOCHS
    assert {"loss", "val_accuracy", "val_f1_score", "test_accuracy", "test_f1_score"} <= set(record["metrics"])
    assert record["started"] < record["ended"]


def test_every_metric_has_one_point_an_epoch(result: ExperimentResult) -> None:
    points = result.run.points()
    assert not points.duplicated(["key", "step"]).any()
    for key in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second"):
        assert points[points["key"] == key]["epoch"].tolist() == [1, 2, 3]
    assert points[points["key"] == "test_accuracy"]["value"].tolist() == [result.metrics["test_accuracy"]]


def test_best_epoch_is_the_last_value_that_trackers_sort_by(result: ExperimentResult, store: pathlib.Path) -> None:
    shown = client_of(store).get_run(result.run.id).data.metrics
    assert shown["best/val_accuracy"] == result.metrics["val_accuracy"]
    assert shown["best_epoch"] == result.best_epoch
    assert "best/test_accuracy" not in shown


def test_mlflow_has_the_same_points_params_and_dataset(result: ExperimentResult, store: pathlib.Path) -> None:
    client = client_of(store)
    run = client.get_run(result.run.id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", result.name)
    for name, value in result.run.config().flat().items():
        assert name in run.data.params
        if isinstance(value, str) and name not in ("dataset_name", "dataset_id"):  # empty: the record has them
            assert run.data.params[name] == value
    points = result.run.points()
    history = client.get_metric_history(result.run.id, "val_accuracy")
    assert [(m.step, m.value) for m in history] == list(
        points[points["key"] == "val_accuracy"][["step", "value"]].itertuples(index=False, name=None)
    )
    assert run.data.params["optimizer_weight_decay"] == "0.0"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", result.run.record()["dataset_id"])
    assert run.data.tags["note"] == "tiny"
    artifacts = {artifact.path for artifact in client.list_artifacts(result.run.id)}
    assert {"checkpoints", "evaluation", "config.json", "model_summary.txt"} <= artifacts


def test_peak_memory_is_recorded_and_in_mlflow(result: ExperimentResult, store: pathlib.Path) -> None:
    record = result.run.record()
    assert record["peak_memory_of"].startswith("process")
    assert 50 * 2**20 < record["peak_memory_bytes"] < 2**40
    assert client_of(store).get_run(result.run.id).data.metrics["peak_memory_bytes"] == record["peak_memory_bytes"]


def test_another_batch_size_in_the_experiment_is_refused_with_nothing_left_behind(
    result: ExperimentResult, store: pathlib.Path
) -> None:
    runs = {run.id for run in iterate_runs(store)}
    with pytest.raises(ConfigError, match="experiment 'dlexp' trains with batch_size=64"):
        run_experiment(tiny(store, batch_size=32))
    assert {run.id for run in iterate_runs(store)} == runs
    assert len(client_of(store).search_runs(["1"])) == len(runs)


def test_another_batch_size_that_is_allowed_is_marked_wherever_the_run_is_shown(
    result: ExperimentResult, store: pathlib.Path
) -> None:
    run = run_experiment(tiny(store, batch_size=32, allow_batch_size_change=True, epochs=1)).run
    assert run.record()["batch_size_change"] == "64 -> 32"
    tags = client_of(store).get_run(run.id).data.tags
    assert (tags["batch_size_change"], tags["dlexp.caution"]) == ("64 -> 32", "batch size differs")
    report = json.loads((run.path / "evaluation/test/report.json").read_text())
    assert "another number of steps" in report["cautions"]["batch size differs"]
    rows = list_runs(store, where="caution == 'batch size differs'")
    assert rows["batch_size_change"].tolist() == ["64 -> 32"]


def test_no_metric_of_autolog_is_repeated_at_one_step(result: ExperimentResult, store: pathlib.Path) -> None:
    client = client_of(store)
    for key in client.get_run(result.run.id).data.metrics:
        steps = [metric.step for metric in client.get_metric_history(result.run.id, key)]
        assert len(steps) == len(set(steps)), key


def test_best_checkpoint_gives_the_recorded_metrics(result: ExperimentResult, store: pathlib.Path) -> None:
    checkpoint = load_checkpoint(result.run.id, store=store)
    datasets = build_datasets(checkpoint.config)
    images = np.concatenate([images for images, _ in datasets.test])
    labels = np.concatenate([labels for _, labels in datasets.test]).argmax(axis=1)
    measured = checkpoint.model.evaluate(images, labels, verbose=0, return_dict=True)
    assert measured["accuracy"] == pytest.approx(result.metrics["test_accuracy"], abs=1e-6)
    assert measured["loss"] == pytest.approx(result.metrics["test_loss"], rel=1e-4)
    assert checkpoint.class_names == tuple("0123456789")
    assert checkpoint.image_size == (8, 8)


def test_predictions_agree_with_the_report(result: ExperimentResult) -> None:
    folder = result.run.path / "evaluation" / "test"
    table = pd.read_parquet(folder / "predictions.parquet")
    report = json.loads((folder / "report.json").read_text())
    assert (table["label"] == table["prediction"]).mean() == pytest.approx(report["metrics"]["accuracy"])
    pairs = table.groupby(["label", "prediction"], as_index=False).size()
    assert report["confusion"] == pairs.to_numpy().tolist()
    assert np.allclose(table.filter(like="probability_").sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_predictions_are_loaded_with_the_names_of_classes(result: ExperimentResult, split: str) -> None:
    table = load_predictions(result.run.path, split)
    assert table["right"].mean() == pytest.approx(result.metrics[f"{split.replace('validation', 'val')}_accuracy"])
    assert set(table["label"]) == set("0123456789")
    rows = table[table["right"]]
    assert all(row["confidence"] == row[f"probability_{row['label']}"] for row in rows.to_dict("records"))


def test_run_without_a_report_keeps_its_answers_on_validation(store: pathlib.Path) -> None:
    run = run_experiment(tiny(store, evaluation_report=False)).run
    table = load_predictions(run.path, "validation")
    assert table["right"].mean() == pytest.approx(run.record()["metrics"]["val_accuracy"])
    assert table["label_probability"].between(0, 1).all()
    assert (run.path / "evaluation/validation/compact.parquet").stat().st_size < 8_000


def test_last_checkpoint_keeps_the_state_of_optimizer_and_dropout(result: ExperimentResult) -> None:
    import io
    import zipfile

    (last,) = (path for path in result.run.checkpoints_folder.iterdir() if "__last__" in path.name)
    with zipfile.ZipFile(last) as archive:
        state = np.load(io.BytesIO(archive.read(STATE_MEMBER)), allow_pickle=False)
    assert int(state["optimizer_0"]) == read_metadata(last)["step"]
    assert "seed_0" in state


def test_run_and_checkpoints_are_listed_with_config_and_metrics(result: ExperimentResult, store: pathlib.Path) -> None:
    (row,) = list_runs(store, where=f"run_id == '{result.run.id}'").to_dict("records")
    assert (row["model"], row["test_accuracy"]) == ("mlp", result.metrics["test_accuracy"])
    best = list_checkpoints(store, kind="best", where=f"model == 'mlp' and run_id == '{result.run.id}'")
    assert best["test_accuracy"].tolist() == [result.metrics["test_accuracy"]]
    assert best["weights_digest"].tolist() == [result.weights_digest]


def test_same_config_twice_gives_equal_weights_and_another_seed_others(
    result: ExperimentResult, store: pathlib.Path
) -> None:
    config = result.run.config()
    again = run_experiment(config.replace(mlflow_autolog=False, tensorboard=False, histograms=False))
    assert again.weights_digest == result.weights_digest
    assert again.metrics == result.metrics
    other = run_experiment(config.replace(seed=1, histograms=False))
    assert other.weights_digest != result.weights_digest
    assert other.run.record()["dataset_id"] == result.run.record()["dataset_id"]


def test_split_seed_alone_changes_the_split(store: pathlib.Path) -> None:
    one, other = (build_datasets(tiny(store, split_seed=seed)).dataset for seed in (0, 1))
    assert one.id != other.id
    assert one.manifest.set_index("key")["split"].to_dict() != other.manifest.set_index("key")["split"].to_dict()


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path: pathlib.Path) -> None:
    result = run_experiment(tiny(tmp_path, ema_decay=0.9, epochs=2))
    points = result.run.points()
    recorded = points[(points["key"] == "val_accuracy") & (points["epoch"] == result.best_epoch)]["value"].item()
    checkpoint = load_checkpoint(result.run.path)
    images, labels = next(iter(build_datasets(result.run.config()).validation.unbatch().batch(10_000)))
    measured = checkpoint.model.evaluate(images, labels.numpy().argmax(axis=1), verbose=0, return_dict=True)
    assert measured["accuracy"] == pytest.approx(recorded, abs=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "sgd", "lr_schedule": "one_cycle", "label_smoothing": 0.1, "gradient_clip_norm": 1.0},
        {"augment": ("flip", "crop", "mixup"), "lr_schedule": "cosine", "warmup_epochs": 0.5},
        {"dtype_policy": "mixed_bfloat16", "deterministic": False, "early_stopping_patience": 1},
        {"dtype_policy": "mixed_float16", "ema_decay": 0.5},
        {"monitor": "val_loss", "optimizer": "lion", "learning_rate": 1e-4, "steps_per_execution": "1"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_training_runs_with(tmp_path: pathlib.Path, values: dict[str, Any]) -> None:
    result = run_experiment(tiny(tmp_path, epochs=1, **values))
    assert result.run.record()["status"] == "FINISHED"
    assert result.metrics["test_accuracy"] > 0.05


def test_training_goes_on_without_a_database(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    result = run_experiment(tiny(tmp_path, epochs=1))
    assert result.run.record()["status"] == "FINISHED"
    assert "continues without MLflow" in caplog.text
    assert len(result.run.points()) > 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"monitor": "val_acc"}, "did you mean val_accuracy"),
        ({"metrics": ("F1Scor",)}, "f1_score"),
        ({"batch_size": 5000}, "batch_size=5000"),
        ({"model_args": {"hiden_sizes": 3}}, "hidden_sizes"),
        ({"model": "ResNet50", "model_args": {}}, "32"),
        ({"dataset": "folder:/nowhere"}, "/nowhere"),
        ({"steps_per_execution": "7"}, "does not divide"),
        ({"freeze_backbone": True}, "freeze_backbone"),
    ],
)
def test_what_cannot_work_is_refused_with_nothing_left_behind(
    tmp_path: pathlib.Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DlexpError, match=message) as caught:
        run_experiment(tiny(tmp_path / "store", **values))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_training_that_fails_is_recorded_with_its_reason(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    def fail(self: keras.Model, *args: Any, **kwargs: Any) -> None:
        raise DataError("the disk is on fire")

    monkeypatch.setattr(keras.Model, "make_train_function", fail)
    with pytest.raises(DataError):
        run_experiment(tiny(tmp_path))
    (row,) = list_runs(tmp_path).to_dict("records")
    assert (row["status"], row["error"]) == ("FAILED", "DataError: the disk is on fire")
    assert row["peak_memory_bytes"] > 0
    run = client_of(tmp_path).get_run(row["run_id"])
    assert run.info.status == "FAILED"


def test_interrupted_training_is_recorded_as_killed(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    def interrupt(self: keras.Model, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "make_train_function", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(tiny(tmp_path))
    assert list_runs(tmp_path)["status"].tolist() == ["KILLED"]


def test_run_whose_loss_is_not_finite_is_diverged_and_leaves_no_checkpoint_of_it(tmp_path: pathlib.Path) -> None:
    config = tiny(tmp_path, optimizer="sgd", learning_rate=1e30, steps_per_execution="1", save_every_steps=1)
    with pytest.raises(DivergedError, match="not finite at step"):
        run_experiment(config)
    run = next(iterate_runs(tmp_path))
    record = run.record()
    assert record["status"] == "DIVERGED"
    assert 1 <= record["diverged_step"] <= 20
    for path in run.checkpoints_folder.iterdir():
        assert all(np.isfinite(weight).all() for weight in load_checkpoint(path).model.get_weights())
    tags = client_of(tmp_path).get_run(run.id).data.tags
    assert tags["dlexp.status"] == "DIVERGED"
    with pytest.raises(ConfigError, match="diverged at step"):
        resume_experiment(run.path)


def test_image_that_is_damaged_during_the_run_is_named(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    folder = write_digits_folder(tmp_path / "digits", 200)
    spoiled = next(folder.rglob("*.png"))
    make_train_function = keras.Model.make_train_function

    def spoil_then_train(self: keras.Model, *args: Any, **kwargs: Any) -> None:
        spoiled.write_bytes(b"no image any more")
        make_train_function(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "make_train_function", spoil_then_train)
    with pytest.raises(DataError, match=spoiled.name):
        run_experiment(tiny(tmp_path / "store", dataset=f"folder:{folder}", batch_size=16))
    assert list_runs(tmp_path / "store")["status"].tolist() == ["FAILED"]


def test_image_in_two_official_splits_is_told_and_counted(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, count in (("train", 100), ("test", 20)):
        write_digits_folder(tmp_path / "photos" / split, count)
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "batch_size": 8, "verbose": 0, "tensorboard": False}
    config = ExperimentConfig.of(dataset=f"folder:{tmp_path / 'photos'}", store=str(tmp_path / "store"), **values)
    assert run_experiment(config).run.record()["exact_leaks"] == 20
    assert "20 images of photos are in more than one split" in caplog.text


def test_run_keeps_official_splits_and_its_recipe_pack_and_evaluation_agree(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 100), ("test", 40)):
        write_digits_folder(tmp_path / "photos" / split, count)
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "batch_size": 8, "tensorboard": False}
    store = str(tmp_path / "store")
    dataset = f"folder:{tmp_path / 'photos'}"
    run = run_experiment(ExperimentConfig.of(dataset=dataset, store=store, **values)).run
    assert "official splits are kept: train 100, test 40; validation is taken from train" in capsys.readouterr().err
    record, manifest = run.record(), run.manifest()
    assert record["split_method_chosen"] == "official"
    assert json.loads((run.path / "dataset" / "recipe.json").read_text())["split_method"] == "official"
    assert manifest["split"][manifest["key"].str.startswith("test/")].unique().tolist() == ["test"]
    write_pack(open_dataset(DataConfig(dataset=dataset)), tmp_path / "pack")
    for same in (f"recipe:{run.id}", f"pack:{tmp_path / 'pack'}"):
        assert (
            open_dataset(resolve_recipe(ExperimentConfig.of(dataset=same, store=store)).data).id == record["dataset_id"]
        )
    (evaluation,) = evaluate_checkpoint(run.id, store=store).values()
    assert evaluation.path == run.path / "evaluation" / "test"


def test_metrics_are_told_by_source(tmp_path: pathlib.Path) -> None:
    folder = write_digits_folder(tmp_path / "photos", 200)
    values: dict[str, Any] = {"model": "mlp", "epochs": 1, "verbose": 0, "tensorboard": False}
    result = run_experiment(
        ExperimentConfig.of(dataset=f"folder:{folder}+digits", store=str(tmp_path / "store"), **values)
    )
    report = json.loads((result.run.path / "evaluation" / "test" / "report.json").read_text())
    predictions = pd.read_parquet(result.run.path / "evaluation" / "test" / "predictions.parquet")
    for source, of_source in predictions.groupby("source"):
        accuracy = (of_source["label"] == of_source["prediction"]).mean()
        assert result.metrics[f"test_accuracy/{source}"] == pytest.approx(accuracy)
        assert report["per_source"][source]["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert set(predictions["source"]) == {"photos", "digits"}


def test_sources_whose_names_look_alike_keep_their_own_metrics() -> None:
    shares = {
        "site A": 0.6,
        "site@A": 1.0,
        "Z rich": 0.5,
        "Zürich": 0.7,
        "東京": 0.1,
        "京都": 0.2,
        "errors (loss)": 0.3,
    }
    per_source = {source: {"accuracy": share} for source, share in shares.items()}
    measured = metrics_of_test(Predictions("test", {"accuracy": 0.5}, per_source, pd.DataFrame(), np.empty((0, 2))))
    assert list(measured.values()) == [0.5, *shares.values()]
    assert measured["test_accuracy/site A"] == 0.6
    assert measured["test_accuracy/東京"] == 0.1
