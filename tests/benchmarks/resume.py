"""How long a save stalls the training, and how soon a resumed training takes its first step."""

import pathlib
from collections.abc import Callable

import keras
import numpy as np

from dlexp import ExperimentConfig, build_datasets, run_experiment
from dlexp.checkpoints.archive import NetworkArchive
from dlexp.checkpoints.portable import build_portable_model
from dlexp.checkpoints.resume import find_resume_point, restore_model
from dlexp.checkpoints.snapshot import Position
from dlexp.checkpoints.writer import CheckpointContext, CheckpointWriter
from dlexp.runs.run import create_run
from dlexp.training.preparation import prepare
from tests.benchmarks.measuring import Row, interleave, seconds_of

_REPEATS = 5
_UNITS = 5_000  # 5,000 x 5,000 weights of 4 bytes: 100 MB; with Adam's two averages the state is 300 MB


def measure(folder: str) -> list[Row]:
    """Times a save, a restore, and the first batch after many steps.

    Args:
        folder: an empty folder for the files.
    """
    return [_compare_saves(pathlib.Path(folder)), _time_restore(folder), _compare_positions()]


def _compare_saves(folder: pathlib.Path) -> Row:
    model = keras.Sequential([keras.Input((_UNITS,)), keras.layers.Dense(_UNITS, use_bias=False)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    config = ExperimentConfig.of(store=str(folder))
    run = create_run(folder, "0" * 32, name="bench", config=config)
    subject = CheckpointContext(run, "bench", config, "none", "0" * 16, ("a", "b"), (1, 1, 1), ())

    def save_ours() -> float:
        with CheckpointWriter(model, NetworkArchive(build_portable_model(model, metrics=[])), subject) as writer:
            return seconds_of(lambda: writer.write("last", Position(1, 0), score=0.0, metrics={}))

    sides = {"dlexp": save_ours, "keras": lambda: seconds_of(lambda: model.save(folder / "model.keras"))}
    seconds = {side: min(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    what = "stall of a save, 100 MB of weights and Adam's 200 MB, s"
    met = seconds["dlexp"] < seconds["keras"] / 3
    return Row(what, seconds["dlexp"], seconds["keras"], "`model.save`", aim="< 1/3", met=met, digits=3)


def _time_restore(folder: str) -> Row:
    values = {"model": "small_cnn", "epochs": 1, "verbose": 0, "tensorboard": False}
    config = ExperimentConfig.of(**values, store=str(pathlib.Path(folder, "store")))
    run = run_experiment(config).run
    fresh = min(seconds_of(lambda: prepare(config)) for _ in range(_REPEATS))

    def resume() -> None:
        point, setup = find_resume_point(run), prepare(config)
        restore_model(setup.model, setup.portable.model, point, num_classes=setup.datasets.dataset.num_classes)

    resumed = min(seconds_of(resume) for _ in range(_REPEATS))
    what = "small_cnn: data and model ready to take a step, resumed, s"
    return Row(what, resumed, fresh, "a new run", aim="< 1 s more", met=resumed - fresh < 1)


def _compare_positions() -> Row:
    datasets = build_datasets(ExperimentConfig.of(dataset="digits", epochs=1000))

    def first_batch(step: int) -> Callable[[], float]:
        return lambda: seconds_of(lambda: np.asarray(next(iter(datasets.train_dataset(step)))[0]))

    sides = {"late": first_batch(10_000), "early": first_batch(10)}
    seconds = {side: min(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    met = seconds["late"] < 1.5 * seconds["early"]
    what = "first batch of a training that is resumed at step 10,000, s"
    return Row(what, seconds["late"], seconds["early"], "at step 10", aim="as fast", met=met, digits=3)
