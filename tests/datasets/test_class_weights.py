"""Weights of classes in the training loss: read, computed, and put into the batches of the training alone."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest

from dlexp.config.class_weights import parse_class_weights
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import build_datasets
from dlexp.datasets.class_weights import weights_of_classes
from dlexp.errors import ConfigError
from dlexp.training.preparation import prepare
from dlexp.training.step_counter import StepCounter
from tests.support.image_folders import write_digits_folder


def config(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    small = {"model": "mlp", "model_args": {"hidden_sizes": [8]}, "epochs": 1, "store": str(store)}
    return ExperimentConfig.of(**(small | values))


@pytest.mark.parametrize(
    ("text", "weights"),
    [("a:2,b:0.5", {"a": 2, "b": 0.5}), ("a b:1", {"a b": 1}), ("x:y:2", {"x:y": 2}), ('{"a,b": 3}', {"a,b": 3})],
)
def test_weights_are_read_by_class_name(text: str, weights: dict[str, float]) -> None:
    assert parse_class_weights(text) == weights


@pytest.mark.parametrize("text", ["", "a", "a:", "a:x", ":2", "a:-1", "a:nan", "a:inf", "a:0", "a:1,a:2", "{", "{1:2}"])
def test_weights_that_cannot_be_read_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="class_weights="):
        ExperimentConfig.of(class_weights=text)


def test_unknown_class_is_refused_with_the_known_ones(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"class_weights=10:2.*unknown class '10'"):
        build_datasets(config(tmp_path, class_weights="10:2"))


def test_balancing_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose one"):
        ExperimentConfig.of(class_weights="balanced", sampling="balanced")


def test_balanced_weights_are_those_of_scikit_learn(tmp_path: pathlib.Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    dataset = build_datasets(config(tmp_path)).dataset
    labels = dataset.manifest["label"][dataset.manifest["split"] == "train"].to_numpy()
    expected = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    assert weights_of_classes("balanced", dataset) == pytest.approx(expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_training_loss_is_that_of_the_class_weight_of_keras_and_validation_is_not_weighted(
    tmp_path: pathlib.Path, label_smoothing: float
) -> None:
    setup = prepare(config(tmp_path, class_weights="3:5,7:0.25", label_smoothing=label_smoothing))
    images, labels, weights = next(iter(setup.datasets.train_dataset()))
    class_weight = {label: 1.0 for label in range(10)} | {3: 5.0, 7: 0.25}
    ours = setup.model.train_on_batch(images, labels, sample_weight=weights, return_dict=True)["loss"]
    again = prepare(config(tmp_path, class_weights="3:5,7:0.25", label_smoothing=label_smoothing)).model
    theirs = again.train_on_batch(images, labels, class_weight=class_weight, return_dict=True)["loss"]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    assert len(next(iter(setup.datasets.validation))) == 2


def test_mixed_labels_have_the_mean_weight_of_their_classes(tmp_path: pathlib.Path) -> None:
    datasets = build_datasets(config(tmp_path, class_weights="3:5", augment=("mixup",)))
    _, labels, weights = next(iter(datasets.train_dataset()))
    assert weights.numpy() == pytest.approx(1 + 4 * labels.numpy()[:, 3], rel=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class OwnStep(keras.Model):
    """Computes its loss itself."""

    def train_step(self, data: Any) -> Any:
        """Takes images and labels only."""
        images, labels = data
        return super().train_step((images, labels))


def test_model_with_a_train_step_refuses_class_weights_and_names_the_other_way(tmp_path: pathlib.Path) -> None:
    from dlexp.training.compiling import compile_model

    pixels = keras.Input((8, 8, 1))
    model = OwnStep(pixels, keras.layers.Dense(10)(keras.layers.Flatten()(pixels)))
    given = config(tmp_path, class_weights="balanced")
    with pytest.raises(ConfigError, match="use --sampling=balanced"):
        compile_model(model, given, build_datasets(given), steps=StepCounter())


def test_unbalanced_folder_is_shown_in_equal_numbers(tmp_path: pathlib.Path) -> None:
    write_digits_folder(tmp_path / "digits", 200)
    for path in sorted((tmp_path / "digits").glob("3/*"))[3:]:
        path.unlink()
    datasets = build_datasets(config(tmp_path, dataset=f"folder:{tmp_path}/digits", sampling="balanced", batch_size=10))
    labels = np.concatenate([labels.numpy().argmax(axis=1) for _, labels in datasets.train_dataset()])
    assert len(set(np.bincount(labels))) == 1
