"""W&B: what an offline run holds, that it needs neither key nor network, and that a resume logs nothing twice."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest
import wandb
from PIL import Image

from dlexp.commands.cli import main
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import TrackingConfig
from dlexp.errors import ConfigError
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status, create_run
from dlexp.runs.store import iterate_runs
from dlexp.tracking import wandb as tracking_wandb
from dlexp.tracking.base import BestModel, RunDescription
from dlexp.tracking.wandb import WandbTracker
from tests.support.killing import finish, only_run, start_training, train
from tests.support.waiting import wait_for
from tests.support.wandb_files import WandbContents, read_wandb

RUN = "a1b2c3d4" + "0" * 24
A_KEY = "0123456789" * 4
SETTINGS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_CONFIG_DIR")


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, no settings; and W&B reads them anew."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def description(tmp_path: pathlib.Path) -> RunDescription:
    config = ExperimentConfig.of(
        store=str(tmp_path / "store"),
        experiment="team/vision: 1",
        tags={"paper": "ours", "long": "x" * 100},
        model_args={"hidden_sizes": [8, 4]},
    )
    run = create_run(config.tracking.store, RUN, name="my run", config=config)
    return RunDescription(run, "my run", config, "digits", "0123456789abcdef", {"train": 3}, {"num_parameters": 7})


def points(*steps: int) -> list[Point]:
    return [
        Point(key, step, 1, step / 7, f"2026-11-23T20:15:{step:02d}.000Z")
        for step in steps
        for key in ("loss", "val_loss")
    ]


def contents(run: Run) -> WandbContents:
    return read_wandb(run.path / "wandb")


def offline_folders(run: Run) -> list[pathlib.Path]:
    return list((run.path / "wandb").glob("offline-run-*"))


def test_offline_run_has_the_identity_the_params_and_the_results_of_the_run(description: RunDescription) -> None:
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_points(points(5))
    metrics = {"val_accuracy": 0.75, "test_accuracy": 0.5}
    checkpoint = description.run.checkpoints_folder / "b.keras"
    tracker.log_best(BestModel(checkpoint, 2, 40, metrics, (8, 8, 1), ("even", "odd"), "f00d"))
    tracker.finish(Status.FINISHED)
    held = contents(description.run)
    assert (held.run.run_id, held.run.display_name, held.run.project) == (RUN, "my run", "team-vision- 1")
    assert list(held.run.tags) == ["paper=ours", "long=" + "x" * 59]
    assert held.config["model_args"] == {"hidden_sizes": [8, 4]}
    assert (held.config["dataset_id"], held.config["num_parameters"]) == ("0123456789abcdef", 7)
    best = {**metrics, "epoch": 2, "step": 40, "checkpoint": "b.keras", "weights_digest": "f00d"}
    assert held.summary["best"] == best
    assert (held.summary["status"], held.exit_code) == ("FINISHED", 0)


def test_points_have_the_times_when_they_were_measured(description: RunDescription) -> None:
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_points(points(5, 9))
    tracker.finish(Status.KILLED)
    expected = [datetime.fromisoformat(f"2026-11-23T20:15:0{step}Z").timestamp() for step in (5, 9)]
    assert contents(description.run).times == expected
    assert contents(description.run).exit_code == 1


def test_resume_keeps_pictures_and_histograms_in_the_one_run_that_is_left(description: RunDescription) -> None:
    picture = description.run.path / "confusion.png"
    Image.new("L", (5, 4)).save(picture)
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_points(points(5))
    tracker.log_image("confusion/validation", picture, step=5)
    tracker.log_histograms({"weights/kernel": np.arange(10), "weights/lost": np.full(3, np.nan)}, step=5)
    tracker.finish(Status.KILLED)
    before = contents(description.run)
    picture.unlink()
    with (description.run.path / "wandb" / "media.jsonl").open("a") as journal:
        journal.write('{"key": "torn')
    for number in (6, 7):
        tracker = WandbTracker(description.config.tracking)
        tracker.resume(description, points(*range(5, number)))
        tracker.log_points(points(number))
        tracker.finish(Status.KILLED)
    after = contents(description.run)
    assert [place[:2] for place in after.media] == [("confusion/validation", 5), ("weights/kernel", 5)]
    assert after.media[1] == before.media[1]
    (copy,) = description.run.path.rglob("*.png")
    assert after.media[0][2]["path"] in str(copy)
    assert sorted(after.points) == sorted((point.key, point.step, point.value) for point in points(5, 6, 7))


def test_run_of_the_user_stays_open(description: RunDescription, tmp_path: pathlib.Path) -> None:
    own = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.finish(Status.FINISHED)
    still_open: bool = wandb.run is own
    assert still_open
    own.log({"loss": 1.0})
    own.finish()


def test_key_without_an_answer_makes_the_run_an_offline_one(
    description: RunDescription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", A_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking_wandb, "_START_TIMEOUT_S", 1)
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_points(points(5))
    tracker.finish(Status.FINISHED)
    assert "W&B cannot be reached" in caplog.text
    (folder,) = offline_folders(description.run)
    assert len(read_wandb(folder).points) == 2


def mode() -> str:
    return WandbTracker(TrackingConfig())._mode


def test_mode_is_offline_where_there_is_no_key() -> None:
    assert mode() == "offline"


def test_mode_is_online_where_there_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", A_KEY)
    assert mode() == "online"


def test_mode_is_online_where_wandb_login_has_stored_a_key(tmp_path: pathlib.Path) -> None:
    host = wandb.setup().settings.base_url.removeprefix("https://")
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / ".netrc").write_text(f"machine {host}\n  login user\n  password {A_KEY}\n")
    assert mode() == "online"


@pytest.mark.parametrize("wish", ["offline", "disabled"])
def test_mode_of_the_user_is_kept(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", A_KEY)
    monkeypatch.setenv("WANDB_MODE", wish)
    assert mode() == wish


def test_disabled_mode_writes_nothing(description: RunDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = WandbTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_points(points(5))
    tracker.log_histograms({"weights": np.arange(3)}, step=5)
    tracker.finish(Status.KILLED)
    tracker = WandbTracker(description.config.tracking)
    tracker.resume(description, points(5))
    tracker.finish(Status.FINISHED)
    assert not (description.run.path / "wandb").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WANDB_MODE", "online", "WANDB_MODE=online needs a key"),
        ("WANDB_MODE", "sometimes", "W&B cannot be used .*offline"),
        ("WANDB_API_KEY", "short", "W&B cannot be used .*WANDB_API_KEY invalid"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        mode()


def test_missing_package_stops_the_run_before_anything_is_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["--model=mlp", "--epochs=1", "--verbose=0", f"--store={tmp_path / 'store'}"]
    assert main(["dlexp", "train", "--wandb", *words]) == 2
    assert "pip install 'wandb>=0.31'" in capsys.readouterr().err
    assert not list(iterate_runs(tmp_path / "store"))


def test_training_without_key_and_network_asks_nothing_and_gives_nothing_away(tmp_path: pathlib.Path) -> None:
    """Fault 20: in a process of its own, with stdin closed, whose every way to the network would be noticed."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), address)
        words = ["--wandb", "--model=mlp", "--epochs=2", "--verbose=0", "--tensorboard=false", "--tags=note=visible"]
        ended = subprocess.run(
            [sys.executable, "-m", "dlexp.commands.cli", "train", *words, f"--store={tmp_path / 'store'}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **proxies, "SOME_TOKEN": "hunter2-of-the-environment"},
            check=False,
        )
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert ended.returncode == 0, ended.stderr
    assert "wandb" not in (ended.stdout + ended.stderr).lower()
    run = only_run({"store": tmp_path / "store"})
    held = contents(run)
    measured = [
        (key, step, value) for key, step, value in run.points()[["key", "step", "value"]].itertuples(index=False)
    ]
    assert sorted(held.points) == sorted(measured)
    written = b"".join(path.read_bytes() for path in (run.path / "wandb").rglob("*") if path.is_file())
    assert b"visible" in written  # as the params hold it
    assert b"hunter2" not in written
    assert b"--tags" not in written  # no command line, which may hold more than the params


def test_run_that_is_killed_has_each_point_once(tmp_path: pathlib.Path) -> None:
    values = {"model": "mlp", "epochs": 30, "verbose": 0, "tensorboard": False, "wandb": True, "store": str(tmp_path)}
    process = start_training(values)
    wait_for(lambda: any(run.points()["step"].max() > 30 for run in iterate_runs(tmp_path)))
    process.kill()
    finish(process)
    assert only_run(values).status() == Status.KILLED
    assert len(offline_folders(only_run(values))) == 1
    run = train(values)
    assert len(offline_folders(run)) == 1
    logged = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert sorted(contents(run).points) == sorted((item["key"], item["step"], item["value"]) for item in logged)
