"""One measurement, made in this process: every kind of training can be made short."""

import pathlib
from multiprocessing.connection import Connection
from typing import Any, cast

import keras
import pytest
import tensorflow as tf

from dlexp import run_experiment
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import TrainingError
from dlexp.memory import probe as module
from dlexp.memory.messages import ProbeReport, ProbeRequest, decode
from dlexp.memory.probe import measure
from dlexp.registry import CALLBACKS, MODELS
from dlexp.runs.store import iterate_runs
from tests.support.networks import Base, registered

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")
QUICK = {
    "model": "mlp", "model_args": {"hidden_sizes": [8]}, "epochs": 5, "batch_size": 64, "verbose": 0,
    "tensorboard": False, "sample_pictures": False, "system_metrics": False, "mlflow_autolog": False,
}  # fmt: skip


class FakeConnection:
    """Answers whatever it is sent, and keeps the words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def send_bytes(self, data: bytes) -> None:
        self.words.append(decode(data)[0])

    def recv_bytes(self) -> bytes:
        return b""


def measured(
    store: pathlib.Path, *, whole_run: bool = True, timed_calls: int = 0, connection: Any = None, **values: Any
) -> ProbeReport:
    request = ProbeRequest(
        config=ExperimentConfig.of(**QUICK | values).to_json(),
        folder=".",
        store=str(store),
        log_path="",
        device="cpu",
        limit_bytes=2**40,
        whole_run=whole_run,
        timed_calls=timed_calls,
    )
    return measure(request, cast(Connection, connection or FakeConnection()))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one epoch": {"epochs": 1},
    "one image in a batch": {"batch_size": 1},
    "one image in a batch, and metrics that need several classes": {
        "batch_size": 1, "metrics": ("auc", "balanced_accuracy", "macro_f1"), "monitor": "val_auc",
    },
    "the whole training set in a batch": {"batch_size": 1260},
    "all steps in a call": {"steps_per_execution": "20"},
    "moving average": {"ema_decay": 0.9},
    "folds": {"split_method": "folds", "fold": 2},
    "schedule": {"lr_schedule": "cosine", "warmup_epochs": 1.0, "gradient_clip_norm": 1.0},
    "plateau and early stopping": {"lr_schedule": "plateau", "early_stopping_patience": 1},
    "balanced": {"sampling": "balanced", "metrics": ("recall/3",), "monitor": "val_recall/3"},
    "weights of classes": {"class_weights": "balanced", "loss": "focal"},
    "logged steps": {"log_every_steps": 1, "save_every_steps": 1, "histograms": True},
    "micro-batches": {"micro_batch_size": 16},
    "augmented": {"augment": ("flip", "mixup")},
    "half precision": {"dtype_policy": "mixed_float16"},
    "joined": {"dataset": "digits*2+digits"},
    "without a report": {"evaluation_report": False},
    "a monitor with a mode": {"metrics": ("auc",), "monitor": "val_auc", "monitor_mode": "max", "batch_size": 2},
    "a rate that diverges": {"learning_rate": 1e9, "optimizer": "sgd"},
}  # fmt: skip


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_every_kind_of_training_is_measured(values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    report = measured(tmp_path, **values)
    assert 0 < report.training_bytes <= report.whole_bytes
    assert not report.is_training_only
    (run,) = iterate_runs(tmp_path)
    assert run.status() == "FINISHED"
    assert "test_accuracy" in run.record()["metrics"]
    assert run.points()["epoch"].max() == min(2, values.get("epochs", 5))


def test_probe_of_training_alone_ends_without_an_evaluation(tmp_path: pathlib.Path) -> None:
    report = measured(tmp_path, whole_run=False)
    assert report.is_training_only
    assert report.whole_bytes >= report.training_bytes > 0
    (run,) = iterate_runs(tmp_path)
    assert run.status() == "PRUNED"
    assert not any((run.path / "evaluation").glob("**/predictions.parquet"))


def test_steps_that_are_timed_stand_between_hold_and_release(tmp_path: pathlib.Path) -> None:
    connection = FakeConnection()
    report = measured(tmp_path, timed_calls=2, connection=connection)
    assert connection.words == ["hold", "release"]
    assert report.images_per_second > 0


@pytest.mark.parametrize(
    "values", [{"epochs": 1, "steps_per_execution": "1"}, {"batch_size": 1260}, {"steps_per_execution": "2"}]
)
def test_speed_is_measured_with_few_steps_too(values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    assert measured(tmp_path, whole_run=False, timed_calls=2, **values).images_per_second > 0


def test_single_step_is_not_timed_as_it_traces(tmp_path: pathlib.Path) -> None:
    connection = FakeConnection()
    values = {"epochs": 1, "batch_size": 1260}
    report = measured(tmp_path, whole_run=False, timed_calls=2, connection=connection, **values)
    assert report.images_per_second == 0
    assert connection.words == []


def test_others_are_released_if_a_timed_step_fails(tmp_path: pathlib.Path) -> None:
    """The process ends with the error, which the prober takes for a release; nothing here waits for an answer."""

    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch > 0:
                raise RuntimeError("no such luck")

    connection = FakeConnection()
    with CALLBACKS.override("failing", Failing), pytest.raises(RuntimeError, match="no such luck"):
        measured(tmp_path, timed_calls=2, connection=connection, callbacks=("failing",))


def test_numbers_of_the_estimate_and_the_model_are_reported(tmp_path: pathlib.Path) -> None:
    report = measured(tmp_path, whole_run=False)
    assert report.num_parameters == 64 * 8 + 8 + 8 * 10 + 10
    assert report.estimated_bytes >= 4 * 4 * report.num_parameters + report.estimated_bytes_per_example
    assert report.estimated_bytes_per_example > 3 * 64


@registered
class OwnValidation(Base):
    """Measures nothing but its own metric in its own validation step."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.sureness = keras.metrics.Mean(name="sureness")

    @property
    def metrics(self) -> list[Any]:
        return [*super().metrics, self.sureness]

    def test_step(self, data: Any) -> Any:
        images, _ = data
        self.sureness.update_state(tf.reduce_max(tf.nn.softmax(self(images, training=False)), axis=-1))
        return {"sureness": self.sureness.result()}


def test_model_with_its_own_validation_keeps_its_own_monitor(tmp_path: pathlib.Path) -> None:
    with MODELS.override("own_validation", lambda shape, num_classes: OwnValidation(num_classes)):
        report = measured(
            tmp_path, model="own_validation", model_args={}, monitor="val_sureness", monitor_mode="max", batch_size=8
        )
    assert report.training_bytes > 0


def test_initial_weights_may_come_from_a_run_of_another_store(tmp_path: pathlib.Path) -> None:
    from dlexp.memory.largest_batch import with_own_paths

    other = str(tmp_path / "other")
    run = run_experiment(ExperimentConfig.of(**QUICK | {"epochs": 1, "store": other})).run
    config = with_own_paths(ExperimentConfig.of(**QUICK | {"init_checkpoint": f"{run.id[:8]}:best", "store": other}))
    report = measured(tmp_path / "store", init_checkpoint=config.model.init_checkpoint)
    assert report.training_bytes > 0
    assert len(list(iterate_runs(other))) == 1


def test_peak_that_is_not_known_is_no_measurement(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peak_so_far", lambda: 0)
    with pytest.raises(TrainingError, match="the peak memory is not known on cpu: give a number"):
        measured(tmp_path, whole_run=False)


@pytest.mark.parametrize("err", [MemoryError("no memory"), tf.errors.ResourceExhaustedError(None, None, "OOM")])
def test_error_of_an_allocator_is_recognised_in_what_caused_an_error(err: Exception) -> None:
    outer = ValueError("the model cannot be built")
    outer.__cause__ = err
    assert module._is_out_of_memory(outer)
    assert module._is_out_of_memory(err)


@pytest.mark.parametrize("err", [RuntimeError("out of memory"), tf.errors.InternalError(None, None, "x"), OSError()])
def test_other_errors_are_no_lack_of_memory(err: Exception) -> None:
    assert not module._is_out_of_memory(err)
