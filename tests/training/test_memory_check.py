"""A training that cannot fit into memory is warned of before its first step, in one line with both figures."""

import logging
from typing import Any

import keras
import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import ModelConfig
from dlexp.models import build_model
from dlexp.training import memory_check
from dlexp.training.memory_check import warn_of_memory
from dlexp.training.memory_estimate import estimate_memory

SHAPE = (8, 8, 1)
GIB = 2**30


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = build_model(ModelConfig(model="mlp"), SHAPE, 10, dtype_policy="float32")
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(autouse=True)
def _one_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_check, "available_memory_bytes", lambda: GIB)


def warnings_of(model: keras.Model, caplog: pytest.LogCaptureFixture, **values: Any) -> list[str]:
    with caplog.at_level(logging.WARNING):
        warn_of_memory(model, ExperimentConfig.of(model="mlp", **values), SHAPE, 10)
    return [record.getMessage() for record in caplog.records]


def have_gpus(monkeypatch: pytest.MonkeyPatch, *totals: int) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] if kind == "GPU" else [])
    monkeypatch.setattr(memory_check, "read_gpu_memory", lambda: list(totals))


def test_a_training_that_fits_is_silent(model: keras.Model, caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of(model, caplog, batch_size=64)


def test_a_training_that_cannot_fit_is_warned_of_with_what_to_do(
    model: keras.Model, caplog: pytest.LogCaptureFixture
) -> None:
    (warning,) = warnings_of(model, caplog, batch_size=10**6)
    assert warning == (
        "training mlp with batches of 1000000 images needs about 2.91 GiB of memory, but 1.00 GiB are available: "
        "dlexp batch-size finds the largest batch that fits"
    )


def test_micro_batches_that_fit_are_silent(model: keras.Model, caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of(model, caplog, batch_size=10**6, micro_batch_size=1000)


def test_micro_batches_that_cannot_fit_are_in_the_warning(model: keras.Model, caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = warnings_of(model, caplog, batch_size=4 * 10**6, micro_batch_size=10)
    assert warning.startswith("training mlp with batches of 4000000 images, 10 at once, needs about 1.16 GiB")


def test_variables_that_exist_already_need_no_memory_that_is_available(
    model: keras.Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = estimate_memory(model, ExperimentConfig(), SHAPE, 10)
    variables = sum(array.nbytes for array in model.get_weights())
    enough = estimate.at(64) - 3 * variables
    monkeypatch.setattr(memory_check, "available_memory_bytes", lambda: enough)
    assert not warnings_of(model, caplog, batch_size=64)
    monkeypatch.setattr(memory_check, "available_memory_bytes", lambda: enough // 2)
    assert warnings_of(model, caplog, batch_size=64)


def test_a_system_that_reports_no_memory_is_silent(
    model: keras.Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "available_memory_bytes", lambda: None)
    assert not warnings_of(model, caplog, batch_size=10**6)


def test_on_gpus_the_largest_counts(
    model: keras.Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_gpus(monkeypatch, GIB, 2 * GIB)
    (warning,) = warnings_of(model, caplog, batch_size=10**6)
    assert "but the GPU has 2.00 GiB: dlexp batch-size" in warning


def test_a_gpu_of_unknown_memory_is_silent(
    model: keras.Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_gpus(monkeypatch)
    assert not warnings_of(model, caplog, batch_size=10**6)
