"""The peak memory of a training: what counts, of which device, and what is recorded if a part is not known."""

import itertools
import pathlib
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.machine import memory
from dlexp.runs.run import Run, create_run
from dlexp.training import peak_memory
from dlexp.training.peak_memory import PeakMeter
from tests.support.allocation import take_and_give_back

SIZE = 64 * 2**20


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was trained before."""
    monkeypatch.setattr(peak_memory, "_meters_made", itertools.count())


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    return create_run(tmp_path, "a" * 32, name="first", config=ExperimentConfig())


def recorded(run: Run) -> tuple[int | None, str | None]:
    record = run.record()
    return record.get("peak_memory_bytes"), record.get("peak_memory_of")


def have_gpus(monkeypatch: pytest.MonkeyPatch, **peaks: Any) -> list[str]:
    """Makes TensorFlow report GPUs with these peaks; returns the names of those whose statistics were reset."""
    reset: list[str] = []

    def info(device: str) -> dict[str, int]:
        peak = peaks[device.replace(":", "")]
        if isinstance(peak, Exception):
            raise peak
        return {"current": 1, "peak": peak}

    devices = [SimpleNamespace(name=f"/device:{name[:3]}:{name[3:]}") for name in peaks]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", reset.append)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", info)
    return reset


def test_the_peak_of_the_process_is_recorded_and_an_earlier_one_does_not_count(run: Run) -> None:
    take_and_give_back(4 * SIZE)
    with PeakMeter().recording(run):
        before = memory.peak_memory_bytes()
        take_and_give_back(SIZE)
    peak, kind = recorded(run)
    assert kind == "process"
    assert before is not None
    assert peak is not None
    assert peak - before == pytest.approx(SIZE, abs=SIZE / 8)


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyboardInterrupt(), tf.errors.ResourceExhaustedError(None, None, "")]
)
def test_a_training_that_fails_has_a_peak(run: Run, error: BaseException) -> None:
    with pytest.raises(type(error)), PeakMeter().recording(run):
        raise error
    assert recorded(run)[1] == "process"


def test_a_resumed_run_keeps_the_larger_peak_of_its_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for peak in (300, 500, 400):
        monkeypatch.setattr(peak_memory, "_meters_made", itertools.count())
        monkeypatch.setattr(peak_memory, "peak_memory_bytes", lambda peak=peak: peak)
        with PeakMeter().recording(run):
            pass
    assert recorded(run) == (500, "process")


def test_the_peak_of_a_process_that_has_trained_before_says_so(run: Run) -> None:
    PeakMeter()
    with PeakMeter().recording(run):
        pass
    assert recorded(run)[1] == "process of several runs"


def test_a_peak_that_the_system_does_not_report_is_not_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "peak_memory_bytes", lambda: None)
    with PeakMeter().recording(run):
        pass
    assert recorded(run) == (None, None)


@pytest.mark.parametrize(("during", "expected"), [(300, (None, None)), (500, (500, "process"))])
def test_where_no_reset_is_allowed_only_a_new_highest_peak_is_known_to_be_of_the_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, during: int, expected: tuple[int | None, str | None]
) -> None:
    monkeypatch.setattr(peak_memory, "reset_peak_memory", lambda: False)
    monkeypatch.setattr(peak_memory, "peak_memory_bytes", lambda: 300)
    meter = PeakMeter()
    monkeypatch.setattr(peak_memory, "peak_memory_bytes", lambda: during)
    with meter.recording(run):
        pass
    assert recorded(run) == expected


def test_on_a_gpu_its_own_peak_is_recorded_since_the_start_of_the_training(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = have_gpus(monkeypatch, GPU0=700)
    with PeakMeter().recording(run):
        assert reset == ["GPU:0"]
    assert recorded(run) == (700, "GPU")


def test_of_several_gpus_the_fullest_counts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reset = have_gpus(monkeypatch, GPU0=700, GPU1=900, GPU2=0)
    with PeakMeter().recording(run):
        pass
    assert recorded(run) == (900, "GPU")
    assert reset == ["GPU:0", "GPU:1", "GPU:2"]


@pytest.mark.parametrize("unknown", [0, ValueError("no stats"), tf.errors.InvalidArgumentError(None, None, "no stats")])
def test_a_peak_that_tensorflow_does_not_know_is_not_recorded_as_0_bytes(
    run: Run, monkeypatch: pytest.MonkeyPatch, unknown: Any
) -> None:
    have_gpus(monkeypatch, GPU0=unknown)
    with PeakMeter().recording(run):
        pass
    assert recorded(run) == (None, None)


def test_the_peaks_of_a_process_and_of_a_gpu_are_not_compared(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with PeakMeter().recording(run):
        pass
    have_gpus(monkeypatch, GPU0=700)
    with PeakMeter().recording(run):
        pass
    assert recorded(run) == (700, "GPU")
