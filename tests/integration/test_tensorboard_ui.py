"""TensorBoard as `dlexp ui` opens it: what its own data layer makes of the files."""

import json
import pathlib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from dlexp.runs.run import Run
from dlexp.runs.store import find_run, list_runs
from dlexp.tracking.base import RunDescription
from dlexp.tracking.tensorboard import TensorBoardTracker
from dlexp.tracking.ui import serve_tensorboard
from tests.integration.conftest import dlexp
from tests.support.ports import free_port
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A store of two finished runs on digits, one of them resumed for a further epoch."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for model in ("mlp", "small_cnn"):
        dlexp("train", f"--model={model}", "--epochs=1", f"--run_name=run-{model}", cwd=folder)
    dlexp("train", "--resume=run-mlp", "--epochs=2", cwd=folder)
    return folder / "mlruns"


@pytest.fixture(scope="module")
def url(store: pathlib.Path) -> Iterator[str]:
    with serve_tensorboard(store, port=free_port()) as url:
        wait_for(lambda: len(get(f"{url}/data/runs")) == 2)
        yield url


def get(url: str, values: Any = None) -> Any:
    """The JSON that a URL answers, to the values that are posted to it, if any."""
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def session_groups(url: str) -> dict[str, Any]:
    """The rows of the HParams tab, by the name of the trial."""
    experiment = get(f"{url}/data/plugin/hparams/experiment", {"experimentName": "", "hparamsLimit": 0})
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": info["name"]} for info in experiment["metricInfos"]],
        "startIndex": 0,
        "sliceSize": 10,
    }
    rows = get(f"{url}/data/plugin/hparams/session_groups", asked)["sessionGroups"]
    return {row["name"]: row for row in rows}


def test_hparams_tab_has_a_row_for_each_run_with_its_results(url: str, store: pathlib.Path) -> None:
    wait_for(lambda: len(session_groups(url)) == 2)
    rows = session_groups(url)
    for run in list_runs(store).to_dict("records"):
        row = rows[f"{run['name']} {run['run_id'][:8]}"]
        assert row["hparams"]["model"] == run["model"]
        assert row["hparams"]["epochs"] == run["epochs"]
        shown = {value["name"]["tag"]: value["value"] for value in row["metricValues"]}
        assert shown["test_accuracy"] == pytest.approx(run["test_accuracy"])
        assert shown["best/val_accuracy"] == pytest.approx(run["val_accuracy"])
        assert {"best/val_loss", "test_loss"} <= set(shown)
        assert len(row["sessions"]) == 1


def test_pictures_are_served_as_they_are(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Grey ones too, below a name with a slash, which is how the page groups them."""
    run = find_run("run-small_cnn", store)
    target = tmp_path / "artifacts" / "logs"
    target.mkdir(parents=True)
    Image.new("L", (6, 4), 77).save(tmp_path / "grey.png")
    tracker = TensorBoardTracker(run.config().tracking)
    (target / "run.json").write_text(json.dumps(run.record()))
    tracker.start(RunDescription(Run(run.id, target), "run", run.config(), "digits", "0123", {}, {}))
    tracker.log_image("confusion/test", tmp_path / "grey.png", step=3)
    with serve_tensorboard(tmp_path, port=free_port()) as url:
        tags = f"{url}/data/plugin/images/tags"
        wait_for(lambda: get(tags))
        ((name, found),) = get(tags).items()
        assert list(found) == ["confusion/test"]
        query = urllib.parse.urlencode({"tag": "confusion/test", "run": name, "sample": 0})
        (picture,) = get(f"{url}/data/plugin/images/images?{query}")
        assert picture["step"] == 3
        with urllib.request.urlopen(f"{url}/data/plugin/images/individualImage?{picture['query']}") as answer:
            assert answer.read() == (tmp_path / "grey.png").read_bytes()
