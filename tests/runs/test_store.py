"""Run folders: made, listed, found."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, RunNotFoundError, StoreError
from dlexp.machine.timestamps import now
from dlexp.runs.points import Point
from dlexp.runs.preflight import check_store
from dlexp.runs.run import Status, create_run
from dlexp.runs.store import find_run, list_runs

FIRST, SECOND = "a1b2c3d4" + "0" * 24, "a1b2ffff" + "0" * 24


@pytest.fixture
def store(tmp_path: pathlib.Path) -> pathlib.Path:
    """A store of two runs, the second one newer and better."""
    config = ExperimentConfig()
    create_run(tmp_path, FIRST, name="first", config=config).update(
        started="2026-01-01T00:00:00.000Z", status=Status.FINISHED, metrics={"test_accuracy": 0.8, "val_loss": 0.5}
    )
    create_run(tmp_path, SECOND, name="second", config=config.replace(model="mlp", learning_rate=0.1)).update(
        started="2026-01-02T00:00:00.000Z", metrics={"test_accuracy": 0.9}
    )
    return tmp_path


def test_new_run_is_running_and_keeps_its_config(tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(model="mlp", epochs=3)
    run = create_run(tmp_path, FIRST, name="one", config=config, dataset_id="abc")
    assert run.config() == config
    assert run.record()["status"] == "RUNNING"
    assert run.record()["dataset_id"] == "abc"
    assert run.path == tmp_path / "artifacts" / FIRST / "artifacts"


def test_points_are_read_back_in_order(tmp_path: pathlib.Path) -> None:
    run = create_run(tmp_path, FIRST, name="one", config=ExperimentConfig())
    points = [Point("loss", 10, 1, 0.5, now()), Point("loss", 20, 2, float("nan"), now())]
    log = run.point_log()
    log.append(points[:1])
    log.append(points[1:])
    assert run.points()["step"].tolist() == [10, 20]
    assert json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])["key"] == "loss"


def test_listing_is_flat_and_newest_first(store: pathlib.Path) -> None:
    table = list_runs(store)
    assert table["run_id"].tolist() == [SECOND, FIRST]
    assert {"status", "path", "model", "learning_rate", "test_accuracy", "val_loss"} <= set(table.columns)


def test_listing_is_filtered_and_sorted(store: pathlib.Path) -> None:
    table = list_runs(store, where="test_accuracy > 0.7 and model == 'small_cnn'", sort_by="-test_accuracy")
    assert table["run_id"].tolist() == [FIRST]
    assert list_runs(store, sort_by="test_accuracy")["run_id"].tolist() == [FIRST, SECOND]


@pytest.mark.parametrize(
    "arguments",
    [{"where": "test_acc > 0.5"}, {"where": "test_accuracy >"}, {"sort_by": "accuracy"}, {"where": "@os.system('x')"}],
)
def test_query_that_cannot_be_understood_is_refused_in_one_sentence(
    store: pathlib.Path, arguments: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        list_runs(store, **arguments)
    assert "\n" not in str(caught.value)


def test_unknown_column_lists_the_nearest(store: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="test_accuracy"):
        list_runs(store, where="test_acuracy > 0.5")


def test_rows_are_sorted_by_several_columns(store: pathlib.Path) -> None:
    create_run(store, "b" * 32, name="third", config=ExperimentConfig()).update(metrics={"test_accuracy": 0.9})
    table = list_runs(store, sort_by="-test_accuracy,name")
    assert table["name"].tolist() == ["second", "third", "first"]


def test_arguments_and_tags_are_columns(store: pathlib.Path) -> None:
    config = ExperimentConfig.of(model_args={"width": 8}, tags={"phase": "final"})
    create_run(store, "b" * 32, name="third", config=config)
    table = list_runs(store, where="model_args.width == 8 and tags.phase == 'final'")
    assert table["name"].tolist() == ["third"]
    assert list_runs(store, where="tags.phase == 'model_args.width'").empty


def test_unknown_argument_lists_the_nearest(store: pathlib.Path) -> None:
    create_run(store, "b" * 32, name="third", config=ExperimentConfig.of(model_args={"width": 8}))
    with pytest.raises(ConfigError, match=r"model_args\.width"):
        list_runs(store, where="model_args.widht == 8")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
@pytest.mark.parametrize("file", ["run.json", "config.json"])
def test_damaged_run_is_left_out_and_counted(
    store: pathlib.Path, file: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (store / "artifacts" / FIRST / "artifacts" / file).write_text(text)
    assert list_runs(store)["run_id"].tolist() == [SECOND]
    assert f"1 of 2 runs are left out, as their run.json or config.json is damaged: {FIRST[:8]}" in caplog.text
    assert find_run("second", store).id == SECOND


def test_empty_store_lists_nothing(tmp_path: pathlib.Path) -> None:
    assert list_runs(tmp_path).empty


def test_foreign_folders_in_the_store_are_passed_over(store: pathlib.Path) -> None:
    (store / "artifacts" / "notes").mkdir()
    (store / "0").mkdir()
    (store / "0" / "meta.yaml").write_text("name: old file store")
    assert len(list_runs(store)) == 2


@pytest.mark.parametrize("reference", [FIRST, FIRST[:8], "first", "latest"])
def test_run_is_found_by(store: pathlib.Path, reference: str) -> None:
    assert find_run(reference, store).id == (SECOND if reference == "latest" else FIRST)


def test_run_is_found_by_its_folder(store: pathlib.Path) -> None:
    assert find_run(store / "artifacts" / FIRST / "artifacts", "elsewhere").id == FIRST


@pytest.mark.parametrize(
    ("reference", "message"),
    [("a1b2", "means 2 runs"), ("a1", "no run 'a1'"), ("x", "no run"), ("frist", "did you mean first")],
)
def test_run_that_is_not_one_is_refused(store: pathlib.Path, reference: str, message: str) -> None:
    with pytest.raises(RunNotFoundError, match=message):
        find_run(reference, store)


def test_store_that_is_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        check_store(tmp_path / "file" / "mlruns")


def test_store_on_a_file_system_that_takes_no_files_is_refused() -> None:
    with pytest.raises(StoreError, match="no permission in '/proc'"):
        check_store("/proc/mlruns")


def test_store_without_permission_is_refused(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o555)
    with unprivileged(), pytest.raises(StoreError, match=r"no permission in .*choose another --store"):
        check_store(tmp_path / "mlruns")


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Acts as a user whom permissions bind, also where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        os.seteuid(user)


def test_checking_a_store_makes_nothing(tmp_path: pathlib.Path) -> None:
    check_store(tmp_path / "deep" / "mlruns")
    assert os.listdir(tmp_path) == []
