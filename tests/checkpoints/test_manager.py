"""Checkpoint files and when they are written."""

import gc
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from dlexp.checkpoints.archive import NetworkArchive
from dlexp.checkpoints.files import load_checkpoint, weights_digest, write_checkpoint
from dlexp.checkpoints.manager import BestCheckpoint, LastCheckpoint
from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.names import parse_name
from dlexp.checkpoints.portable import build_portable_model
from dlexp.checkpoints.seal import UNSEALED, seal
from dlexp.checkpoints.search import list_checkpoints
from dlexp.checkpoints.snapshot import Position
from dlexp.checkpoints.writer import CheckpointContext, CheckpointWriter
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import CheckpointError, ConfigError, ModelError
from dlexp.runs.run import Run, create_run

RUN = "a1b2c3d4" + "0" * 24


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    return create_run(tmp_path, RUN, name="run", config=ExperimentConfig())


@pytest.fixture
def model() -> keras.Model:
    model = keras.Sequential(
        [keras.layers.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    )
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


def subject(run: Run, **values: Any) -> CheckpointContext:
    config = ExperimentConfig.of(**values)
    return CheckpointContext(run, "run", config, "toys", "0123456789abcdef", ("no", "yes"), (2, 2, 1), ())


def writer(run: Run, model: keras.Model, /, **values: Any) -> CheckpointWriter:
    return CheckpointWriter(model, NetworkArchive(build_portable_model(model, metrics=[])), subject(run, **values))


def save(
    run: Run, model: keras.Model, kind: str = "best", /, *, epoch: int = 1, score: float = 0.5, **values: Any
) -> pathlib.Path:
    with writer(run, model, **values) as opened:
        return opened.write(kind, Position(step=epoch, epoch=epoch), score=score, metrics={"val_accuracy": score})


def save_best(
    run: Run, model: keras.Model, scores: Sequence[float], *, mode: str = "max", keep_top: int = 1
) -> BestCheckpoint:
    """Drives the callback over epochs with these values of the monitored metric."""
    with writer(run, model) as opened:
        callback = BestCheckpoint(opened, run=run, monitor="val_accuracy", mode=mode, keep_top=keep_top)
        callback.set_model(model)
        callback.set_params({"steps": 1})
        for epoch, score in enumerate(scores):
            callback.on_epoch_end(epoch, {"val_accuracy": score})
    return callback


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.checkpoints_folder.iterdir())


def test_best_keeps_the_epoch_with_the_best_value_and_the_first_of_equal_ones(run: Run, model: keras.Model) -> None:
    save_best(run, model, [0.5, 0.9, 0.7, 0.9])
    (name,) = names(run)
    assert (parse_name(name).epoch, parse_name(name).score) == (2, 0.9)
    assert run.record()["best_epoch"] == 2
    assert run.record()["best_checkpoint"] == f"checkpoints/{name}"


def test_best_by_a_small_value(run: Run, model: keras.Model) -> None:
    assert save_best(run, model, [0.5, 0.2, 0.3], mode="min").kept_epochs[0].epoch == 2


def test_value_that_is_not_finite_is_never_best(run: Run, model: keras.Model) -> None:
    callback = save_best(run, model, [float("nan"), 0.3, float("inf"), float("nan")])
    assert [kept.epoch for kept in callback.kept_epochs] == [2]
    assert len(names(run)) == 1


def test_as_many_of_the_best_are_kept_as_were_asked_for(run: Run, model: keras.Model) -> None:
    save_best(run, model, [0.5, 0.9, 0.7, 0.6, 0.8], keep_top=3)
    assert sorted(parse_name(name).score for name in names(run)) == [0.7, 0.8, 0.9]
    assert run.record()["best_epoch"] == 2


def test_best_that_goes_on_from_its_state_is_not_beaten_by_a_worse_epoch(run: Run, model: keras.Model) -> None:
    state = json.loads(json.dumps(save_best(run, model, [0.9]).get_state()))
    with writer(run, model) as opened:
        callback = BestCheckpoint(opened, run=run, monitor="val_accuracy", mode="max")
        callback.set_params({"steps": 1})
        callback.set_state(state)
        callback.on_epoch_end(1, {"val_accuracy": 0.8})
    assert [parse_name(name).score for name in names(run)] == [0.9]


def test_last_keeps_only_the_newest(run: Run, model: keras.Model) -> None:
    with writer(run, model) as opened:
        callback = LastCheckpoint(opened, run=run, monitor="val_accuracy")
        callback.set_model(model)
        callback.set_params({"steps": 1})
        for epoch in range(3):
            callback.on_epoch_end(epoch, {"val_accuracy": 0.5})
    (name,) = names(run)
    assert (parse_name(name).kind, parse_name(name).epoch) == ("last", 3)


def test_saving_leaves_the_model_under_training_as_it_was(run: Run, model: keras.Model) -> None:
    before = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    save(run, model)
    after = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_averaged_weights_are_saved_and_the_own_ones_stay(run: Run, model: keras.Model) -> None:
    model.compile(keras.optimizers.Adam(use_ema=True, ema_momentum=0.5), "mse")
    model.fit(np.ones((4, 2, 2, 1)), np.ones((4, 2)), epochs=3, verbose=0)
    own = [weight.numpy() for weight in model.weights]
    path = save(run, model)
    saved = keras.saving.load_model(path).get_weights()
    averages = [average.numpy() for average in model.optimizer._model_variables_moving_average]
    assert all(np.array_equal(one, other) for one, other in zip(saved, averages, strict=True))
    assert all(np.array_equal(one, weight.numpy()) for one, weight in zip(own, model.weights, strict=True))


def test_plain_keras_opens_a_checkpoint_compiled_for_integer_labels(run: Run, model: keras.Model) -> None:
    path = save(run, model)
    loaded = keras.saving.load_model(path)
    assert np.isfinite(loaded.evaluate(np.ones((3, 2, 2, 1)), np.array([0, 1, 1]), verbose=0))
    digests = {weights_digest(item.get_weights()) for item in (loaded, model)}
    assert digests == {read_metadata(path)["weights_digest"]}


def test_metadata_tells_config_data_and_metrics(run: Run, model: keras.Model) -> None:
    path = save(run, model, epoch=3, model="mlp")
    metadata = read_metadata(path)
    assert metadata["config"]["model"] == "mlp"
    assert (metadata["dataset_id"], metadata["class_names"], metadata["epoch"]) == (
        "0123456789abcdef",
        ["no", "yes"],
        3,
    )
    assert metadata["metrics"] == {"val_accuracy": 0.5}
    assert {"dlexp", "keras", "tensorflow"} <= set(metadata["versions"])


def test_checkpoint_is_loaded_with_class_names_and_config(run: Run, model: keras.Model) -> None:
    path = save(run, model, learning_rate=0.5)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.class_names, checkpoint.image_size) == (("no", "yes"), (2, 2))
    assert checkpoint.config.optimization.learning_rate == 0.5


def test_save_that_fails_leaves_the_former_file_and_nothing_half_made(
    run: Run, model: keras.Model, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    path, network = run.checkpoints_folder / "x.keras", NetworkArchive(model)
    write_checkpoint(path, network, model.get_weights(), metadata={"number": 1}, state={})

    def fail(self: zipfile.ZipFile, *args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(path, network, model.get_weights(), metadata={"number": 2}, state={})
    assert names(run) == ["x.keras"]
    assert read_metadata(path) == {"number": 1}


@pytest.mark.parametrize("length", [0, 1, 500])
def test_damaged_file_is_refused_and_listed(run: Run, model: keras.Model, tmp_path: pathlib.Path, length: int) -> None:
    path = save(run, model)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)
    assert "is damaged" in list_checkpoints(tmp_path)["damaged"].item()


def test_file_of_plain_keras_is_told_from_a_checkpoint(model: keras.Model, tmp_path: pathlib.Path) -> None:
    model.save(tmp_path / "plain.keras")
    with pytest.raises(CheckpointError, match="not a checkpoint that dlexp wrote"):
        load_checkpoint(tmp_path / "plain.keras")


def test_missing_file_and_run_without_a_best_are_refused(run: Run, tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match="is not there"):
        load_checkpoint(tmp_path / "none.keras")
    with pytest.raises(CheckpointError, match="has no best checkpoint"):
        load_checkpoint(run.path)


def test_model_with_a_layer_that_is_not_loaded_says_which_plugin_has_it(run: Run, model: keras.Model) -> None:
    path = save(run, model)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["dlexp.json"]) | {"custom_layers": ["my_models.Mine"]}
    metadata["config"]["plugins"] = ["my_models.py"]
    members["dlexp.json"] = json.dumps(metadata).encode()
    members["config.json"] = members["config.json"].replace(b'"Dense"', b'"Mine"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = UNSEALED
    seal(path)
    with pytest.raises(CheckpointError, match=r"needs my_models.Mine.*my_models.py"):
        load_checkpoint(path)


def test_name_that_would_be_too_long_is_refused_before_training(run: Run, model: keras.Model) -> None:
    with pytest.raises(ConfigError, match="too long"):
        writer(run, model, model="m" * 240)


def test_checkpoints_are_found_by_kind_and_by_any_field(run: Run, model: keras.Model, tmp_path: pathlib.Path) -> None:
    save(run, model, "best", epoch=1, score=0.5, learning_rate=0.25)
    save(run, model, "last", epoch=2, score=0.4, learning_rate=0.25)
    assert list_checkpoints(tmp_path, kind="best")["epoch"].tolist() == [1]
    assert list_checkpoints(tmp_path, where="learning_rate == 0.25 and val_accuracy < 0.45")["kind"].item() == "last"
    with pytest.raises(ConfigError, match="did you mean best"):
        list_checkpoints(tmp_path, kind="bets")


class WithoutConfig(keras.Model):
    """Takes an argument that its config does not hold."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: Any) -> Any:
        return self.layer(keras.layers.Flatten()(inputs))

    def get_config(self) -> dict[str, Any]:
        return {}


def test_model_that_cannot_be_made_again_is_refused() -> None:
    model = WithoutConfig(keras.layers.Dense(2))
    model(np.ones((1, 2, 2, 1)))
    with pytest.raises(ModelError, match="no checkpoint could be loaded"):
        build_portable_model(model, metrics=[])


def test_a_thousand_saves_leave_one_file_hold_none_open_and_take_no_memory(run: Run, model: keras.Model) -> None:
    with writer(run, model) as opened:
        callback = LastCheckpoint(opened, run=run, monitor="val_accuracy")
        callback.set_model(model)
        callback.set_params({"steps": 1})
        before: tuple[int, int] | None = None
        for epoch in range(1100):
            callback.on_epoch_end(epoch, {"val_accuracy": 0.5})
            before = held() if epoch == 100 else before
    assert before is not None
    assert len(names(run)) == 1
    files, resident_bytes = held()
    assert files <= before[0]
    assert resident_bytes < 1.05 * before[1]


def held() -> tuple[int, int]:
    """Open files of this process, and its memory in bytes."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")
