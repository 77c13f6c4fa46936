"""Weights that a new run begins with, and files that are not let in."""

import json
import pathlib
import pickle
import zipfile
from typing import Any

import keras
import numpy as np
import pytest

from dlexp import ExperimentConfig, run_experiment
from dlexp.checkpoints.initial_weights import initialize_weights
from dlexp.checkpoints.search import checkpoint_files
from dlexp.config.sections import ModelConfig
from dlexp.errors import CheckpointError
from dlexp.models import build_model
from dlexp.runs.run import Run

MLP: dict[str, Any] = {"model": "mlp", "model_args": {"hidden_sizes": [8]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = ExperimentConfig.of(**MLP, epochs=1, verbose=0, store=str(tmp_path_factory.mktemp("store")))
    return run_experiment(config).run


def build(num_classes: int = 10) -> keras.Model:
    return build_model(ModelConfig(**MLP), (8, 8, 1), num_classes, dtype_policy="float32")


def initialize(
    model: keras.Model, checkpoint: str | pathlib.Path, store: Any, *, trust: bool = False
) -> dict[str, Any]:
    settings = ModelConfig(**MLP, init_checkpoint=str(checkpoint), trust_checkpoint=trust)
    return initialize_weights(model, settings, store=str(store))


@pytest.mark.parametrize("kind", ["", ":best", ":last"])
def test_new_run_begins_with_the_weights_of_another_and_names_it(run: Run, kind: str) -> None:
    model, store = build(), run.path.parents[2]
    assert initialize(model, run.id[:8] + kind, store) == {"parent_run": run.id}
    path = next(path for path in checkpoint_files(run) if f"__{kind[1:] or 'best'}__" in path.name)
    saved = keras.saving.load_model(path).get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), saved, strict=True))


def test_head_for_other_classes_stays_new(run: Run) -> None:
    model = build(num_classes=3)
    head = model.get_weights()[-2:]
    initialize(model, run.id, run.path.parents[2])
    saved = keras.saving.load_model(run.path / run.record()["best_checkpoint"]).get_weights()
    assert np.array_equal(model.get_weights()[0], saved[0])
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights()[-2:], head, strict=True))


def test_weights_of_another_network_are_refused(run: Run) -> None:
    other = build_model(ModelConfig(model="small_cnn"), (8, 8, 1), 10, dtype_policy="float32")
    with pytest.raises(CheckpointError, match="weights of another network than small_cnn"):
        initialize(other, run.id, run.path.parents[2])


def test_record_of_a_run_names_its_parent(run: Run) -> None:
    config = ExperimentConfig.of(
        **MLP, epochs=1, verbose=0, store=str(run.path.parents[2]), init_checkpoint=f"{run.id[:8]}:last", seed=1
    )
    assert run_experiment(config).run.record()["parent_run"] == run.id


def test_foreign_file_is_taken_only_with_trust(tmp_path: pathlib.Path) -> None:
    foreign = build()
    foreign.save(tmp_path / "plain.keras")
    model = build()
    with pytest.raises(CheckpointError, match="not written by dlexp: give --trust_checkpoint"):
        initialize(model, tmp_path / "plain.keras", tmp_path)
    assert initialize(model, tmp_path / "plain.keras", tmp_path, trust=True) == {}
    assert np.array_equal(model.get_weights()[0], foreign.get_weights()[0])


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["model.pkl", "model.keras", "model.h5"])
def test_pickle_and_hdf5_are_refused_even_with_trust(tmp_path: pathlib.Path, name: str) -> None:
    path, marker = tmp_path / name, tmp_path / "marker"
    if name.endswith(".h5"):
        build().save_weights(tmp_path / "x.weights.h5")
        (tmp_path / "x.weights.h5").rename(path)
    else:
        path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(CheckpointError, match=r"is not a \.keras file"):
        initialize(build(), path, tmp_path, trust=True)
    assert not marker.exists()


def test_lambda_is_refused_even_with_trust(tmp_path: pathlib.Path) -> None:
    marker, text = tmp_path / "marker", str(tmp_path / "marker")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: (open(text, "w"), x)[1])])  # noqa: SIM115
    marker.unlink(missing_ok=True)  # building the model has called it
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(CheckpointError, match="risk of arbitrary code execution"):
        initialize(build(), tmp_path / "lambda.keras", tmp_path, trust=True)
    assert not marker.exists()


def test_unknown_class_is_refused_even_with_trust(tmp_path: pathlib.Path) -> None:
    build().save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b'"class_name": "Dense"', b'"class_name": "Evil"'))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        initialize(build(), tmp_path / "evil.keras", tmp_path, trust=True)


def test_saved_model_inside_a_layer_is_refused_even_with_trust(tmp_path: pathlib.Path) -> None:
    """A TFSMLayer would load a SavedModel from a path that the file names."""
    config = {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(tmp_path / "evil")}}
    build().save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    model = json.loads(members["config.json"])
    model["config"]["layers"][-1] |= config
    members["config.json"] = json.dumps(model).encode()
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        initialize(build(), tmp_path / "evil.keras", tmp_path, trust=True)
