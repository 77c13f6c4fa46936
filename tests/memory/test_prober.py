"""Probes in real processes: what they measure, how they may end, and what they leave behind."""

import multiprocessing.forkserver
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import psutil
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory import prober as module
from dlexp.memory.messages import encode
from dlexp.memory.prober import Outcome, Probe, Prober
from tests.support.waiting import is_alive, wait_for

MIB = 2**20
LIMIT_BYTES = 1600 * MIB
PLUGIN = """
import os, pathlib, signal, subprocess, sys, time
import keras, numpy as np, tensorflow as tf
from dlexp import register_callback, register_model

def linear(input_shape, num_classes):
    layers = keras.layers
    return keras.Sequential([layers.Input(input_shape), layers.Rescaling(1 / 16), layers.Flatten(),
                             layers.Dense(num_classes)])

@register_model("wide")
def wide(input_shape, num_classes):
    layers = keras.layers
    return keras.Sequential([layers.Input(input_shape), layers.Rescaling(1 / 16), layers.Conv2D(8, 1),
                             layers.GlobalAveragePooling2D(), layers.Dense(num_classes)])

def register(name, act):
    @register_model(name)
    def build(input_shape, num_classes, folder="."):
        act(pathlib.Path(folder))
        return linear(input_shape, num_classes)

def throw(err):
    raise err

def abort(*lines):
    for line in lines:
        print(line, file=sys.stderr)
    os.abort()

def allocate(folder):
    held = np.ones(1_000 * 2**20, np.uint8)
    time.sleep(1000)

def wait(folder):
    (folder / "pid").write_text(str(os.getpid()))
    while not (folder / "stop").exists():
        time.sleep(0.01)

def start_another(folder):
    child = subprocess.Popen(["sleep", "1000"])
    (folder / "child").write_text(str(child.pid))
    raise RuntimeError("a child is left")

register("fine", lambda folder: None)
register("raises", lambda folder: throw(RuntimeError("no such luck")))
register("exits", lambda folder: os._exit(3))
register("aborts", lambda folder: abort("the last words"))
register("bad_alloc", lambda folder: abort("terminate called after throwing an instance of 'std::bad_alloc'"))
register("memory_error", lambda folder: throw(MemoryError("no memory for 3 GiB")))
register("exhausted", lambda folder: throw(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")))
register("chatty", lambda folder: print("x" * 5_000_000))
register("greedy", allocate)
register("waits", wait)
register("starts_another", start_another)

@register_callback("kill_in_a_step")
class KillInAStep(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGKILL)

@register_callback("wait_while_timed")
class WaitWhileTimed(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.is_last = epoch == 1

    def on_train_batch_end(self, batch, logs=None):
        folder = pathlib.Path(__file__).parent
        if self.is_last and not (folder / "timing").exists():
            (folder / "timing").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
            if (folder / "die").exists():
                os._exit(1)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plugin") / "odd_models.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _new_server() -> None:
    """The server of another test's processes may have imported other modules."""
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def prober(_new_server: None) -> Iterator[Prober]:
    with Prober(device="cpu", limit_bytes=LIMIT_BYTES, time_limit_s=120) as prober:
        yield prober


def config_of(plugin: str, model: str = "fine", **values: Any) -> ExperimentConfig:
    quick = {"model": model, "plugins": (plugin,), "batch_size": 16, "num_threads": 1, "verbose": 0}
    return ExperimentConfig.of(**quick | values)


@pytest.fixture(scope="module")
def probes(prober: Prober, plugin: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Probe]:
    """One probe of every odd model, two at a time."""
    folder = tmp_path_factory.mktemp("folder")
    configs = {
        name: config_of(plugin, name, model_args={"folder": str(folder)})
        for name in ("fine", "raises", "exits", "aborts", "bad_alloc", "memory_error", "exhausted", "chatty", "greedy")
    }
    configs["starts_another"] = config_of(plugin, "starts_another", model_args={"folder": str(folder)})
    configs["kill_in_a_step"] = config_of(plugin, callbacks=("kill_in_a_step",))
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda config: prober.measure(config, whole_run=False, timed_calls=2), configs.values())
        measured = dict(zip(configs, found, strict=True))
    assert (folder / "child").exists()
    wait_for(lambda: not psutil.pid_exists(int((folder / "child").read_text())))
    return measured


def test_probe_reports_peak_speed_and_parameters(probes: Mapping[str, Probe]) -> None:
    probe = probes["fine"]
    assert (probe.outcome, probe.reason) == (Outcome.MEASURED, "")
    assert probe.report is not None
    assert 400 * MIB < probe.peak_bytes < LIMIT_BYTES
    assert probe.report.training_bytes <= probe.report.whole_bytes == probe.peak_bytes
    assert probe.report.is_training_only
    assert probe.report.images_per_second > 0
    assert probe.report.num_parameters == 64 * 10 + 10
    assert probe.report.estimated_bytes_per_example > 0
    assert probe.seconds > 0


def test_probe_of_a_whole_run_measures_evaluation_and_report_too(prober: Prober, plugin: str) -> None:
    probe = prober.measure(config_of(plugin), whole_run=True)
    assert probe.report is not None, probe.reason
    assert not probe.report.is_training_only
    assert probe.report.training_bytes < probe.report.whole_bytes
    assert probe.report.images_per_second > 0


def test_probe_with_another_batch_size_takes_more_memory(prober: Prober, plugin: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        small, large = pool.map(
            lambda size: prober.measure(
                config_of(plugin, "wide", image_size=(64, 64), batch_size=size, steps_per_execution="1"),
                whole_run=False,
            ),
            (16, 1024),
        )
    assert small.report is not None
    assert large.report is not None
    activations = 1024 * 64 * 64 * 8 * 4  # bytes; more than the preparation of the images takes
    assert large.peak_bytes - small.peak_bytes > 0.5 * activations


def test_model_that_needs_more_than_the_limit_is_killed_and_the_reason_names_it(probes: Mapping[str, Probe]) -> None:
    probe = probes["greedy"]
    assert (probe.outcome, probe.reason) == (Outcome.NO_MEMORY, "needs more than 1.56 GiB")
    assert probe.report is None
    assert probe.peak_bytes > LIMIT_BYTES


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("raises", Outcome.FAILED, "RuntimeError: no such luck"),
        ("exits", Outcome.FAILED, "its process ended with exit code 3"),
        ("aborts", Outcome.FAILED, "its process was ended by SIGABRT: the last words"),
        ("bad_alloc", Outcome.NO_MEMORY, "its process was ended by SIGABRT, as happens when memory runs out"),
        ("memory_error", Outcome.NO_MEMORY, "no memory for 3 GiB"),
        ("exhausted", Outcome.NO_MEMORY, "OOM when allocating"),
        ("kill_in_a_step", Outcome.NO_MEMORY, "its process was ended by SIGKILL, as happens when memory runs out"),
        ("starts_another", Outcome.FAILED, "a child is left"),
    ],
)
def test_model_that_ends_its_process_in_any_way_is_no_harm_to_others(
    probes: Mapping[str, Probe], name: str, outcome: Outcome, reason: str
) -> None:
    probe = probes[name]
    assert probe.outcome is outcome
    assert reason in probe.reason
    assert probe.report is None
    assert probes["fine"].outcome is Outcome.MEASURED


def test_model_that_prints_megabytes_is_measured_and_prints_nothing_here(
    probes: Mapping[str, Probe], capfd: pytest.CaptureFixture[str]
) -> None:
    assert probes["chatty"].outcome is Outcome.MEASURED
    assert capfd.readouterr() == ("", "")


def test_probe_leaves_nothing_in_the_store_and_the_working_folder(
    prober: Prober, plugin: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    work.mkdir()
    monkeypatch.chdir(work)
    probe = prober.measure(config_of(plugin, store=str(store), tensorboard=True), whole_run=True)
    assert probe.outcome is Outcome.MEASURED
    assert list(work.iterdir()) == []
    assert not store.exists()


def test_relative_paths_start_from_the_working_folder(
    prober: Prober, plugin: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "data" / "small.npz", images=images, labels=np.arange(60) % 2)
    pathlib.Path(plugin).rename(tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    try:
        config = config_of("mine.py", dataset="npz:small.npz", data_dir="data")
        probe = prober.measure(config, whole_run=False)
    finally:
        (tmp_path / "mine.py").rename(plugin)
    assert probe.report is not None, probe.reason
    assert probe.report.num_parameters == 64 * 2 + 2


def test_probe_that_hangs_is_killed_after_its_time_and_the_temporary_folder_is_removed(
    plugin: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Prober(device="cpu", limit_bytes=LIMIT_BYTES, time_limit_s=2) as prober:
        config = config_of(plugin, "waits", model_args={"folder": str(tmp_path)})
        probe = prober.measure(config, whole_run=False)
        assert list(temporary.iterdir()) != []
    assert (probe.outcome, probe.reason) == (Outcome.FAILED, "took longer than 2 s")
    assert list(temporary.iterdir()) == []


def test_probe_that_runs_when_the_block_ends_is_killed(plugin: str, tmp_path: pathlib.Path) -> None:
    config = config_of(plugin, "waits", model_args={"folder": str(tmp_path)})
    found: list[Probe] = []
    with Prober(device="cpu", limit_bytes=LIMIT_BYTES, time_limit_s=120) as prober:
        thread = threading.Thread(target=lambda: found.append(prober.measure(config, whole_run=False)))
        thread.start()
        wait_for((tmp_path / "pid").exists)
    thread.join()
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert "SIGKILL" in found[0].reason
    with pytest.raises(RuntimeError, match="closed"):
        prober.measure(config, whole_run=False)


@pytest.mark.parametrize("end", ["reports", "dies"])
def test_others_stand_still_while_a_probe_is_timed_also_if_that_one_dies(
    prober: Prober, plugin: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    if end == "dies":
        (tmp_path / "die").touch()
    source = tmp_path / "timed_models.py"
    source.write_text(PLUGIN, encoding="utf-8")
    other = config_of(plugin, "waits", model_args={"folder": str(tmp_path)})
    timed = config_of(str(source), callbacks=("wait_while_timed",), steps_per_execution="1")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(prober.measure, other, whole_run=False)
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        second = pool.submit(prober.measure, timed, whole_run=False, timed_calls=2)
        try:
            wait_for(lambda: (tmp_path / "timing").exists() or second.done())
            held = psutil.Process(int((tmp_path / "pid").read_text()))
            wait_for(lambda: held.status() == psutil.STATUS_STOPPED)
            (tmp_path / "go").touch()
            wait_for(lambda: held.status() != psutil.STATUS_STOPPED)
        finally:
            (tmp_path / "go").touch()
            (tmp_path / "stop").touch()
    assert first.result().outcome is Outcome.MEASURED
    assert second.result().outcome is (Outcome.MEASURED if end == "reports" else Outcome.FAILED)


class FakeClock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class ScriptedConnection:
    """Takes a step of a script whenever it is asked for a message; after the last step there is one."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def poll(self, seconds: float) -> bool:
        if self.steps:
            self.steps.pop(0)()
            return False
        return True

    def recv_bytes(self) -> bytes:
        return encode("failed", "the last message")


@pytest.mark.parametrize(("is_held", "reason"), [(True, "the last message"), (False, "took longer than 2 min 0 s")])
def test_time_that_a_probe_stands_still_does_not_count(
    prober: Prober, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, is_held: bool, reason: str
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(module, "time", clock)

    def wait() -> None:
        clock.now += 1000

    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        running = module._Running(cast(Any, process), cast(Any, None))
        steps = [running.hold, wait, lambda: None, running.release, lambda: None] if is_held else [wait, lambda: None]
        running.connection = cast(Any, ScriptedConnection(*steps))
        try:
            assert prober._watch(running, tmp_path / "log", 2**33).reason == reason
        finally:
            process.kill()
    assert running.held_seconds == (1000 if is_held else 0)


PARENT = """
import sys
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory.prober import Prober

plugin, folder = sys.argv[1:]
with Prober(device="cpu", limit_bytes=2**33, time_limit_s=600) as prober:
    prober.measure(
        ExperimentConfig.of(model="waits", plugins=(plugin,), model_args={"folder": folder}), whole_run=False
    )
"""


def test_probe_is_killed_when_its_parent_is_killed(plugin: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", PARENT, plugin, str(tmp_path)]
    # The parent cannot remove what it has written. A path in tmp_path is too long for a socket of multiprocessing.
    with (
        tempfile.TemporaryDirectory() as temporary,
        subprocess.Popen(command, env=os.environ | {"TMPDIR": temporary}) as parent,
    ):
        wait_for(lambda: (tmp_path / "pid").exists() or parent.poll() is not None)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(int((tmp_path / "pid").read_text())))


QUIET_PARENT = """
import os, sys
import mlflow
from dlexp.memory.prober import Prober

before = mlflow.get_tracking_uri()
with Prober(device="cpu", limit_bytes=2**33, time_limit_s=600):
    assert mlflow.get_tracking_uri() == before
assert "MLFLOW_TRACKING_URI" not in os.environ
print({"tensorflow", "keras"} & set(sys.modules))
"""


def test_parent_imports_no_tensorflow_and_keeps_its_tracking_uri(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", QUIET_PARENT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
