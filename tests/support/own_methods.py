"""Runs small trainings of models that override methods of Keras."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras

from dlexp import ExperimentConfig, run_experiment
from dlexp.registry import MODELS
from dlexp.runs.run import Run
from tests.support.networks import Base, registered


def variant(base: type[keras.Model] = Base, **methods: Callable[..., Any]) -> type[keras.Model]:
    """Makes a registered subclass that overrides the given methods."""
    return registered(type("Variant", (base,), methods))


def train(kind: type[keras.Model], store: pathlib.Path, **values: Any) -> Run:
    """Trains a class of models for two epochs on digits."""
    quick = {
        "model": "variant", "epochs": 2, "batch_size": 128, "learning_rate": 0.01, "verbose": 0, "tensorboard": False,
        "evaluation_report": False, "sample_pictures": False, "system_metrics": False, "store": str(store),
    }  # fmt: skip
    with MODELS.override("variant", lambda shape, num_classes: kind(num_classes)):
        return run_experiment(ExperimentConfig.of(**quick | values)).run
