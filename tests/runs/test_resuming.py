"""Which run is resumed and with which config: decided from the run folder, before TensorFlow is imported."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError, RunNotFoundError
from dlexp.runs.resuming import find_resumed, plan_resume
from dlexp.runs.run import Run, Status, create_run

RUN_ID = "a1b2c3d4" + "0" * 24
EPOCHS = 3


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """A run of three epochs that is finished."""
    config = ExperimentConfig.of(dataset="digits", model="mlp", epochs=EPOCHS, store=str(tmp_path))
    run = create_run(tmp_path, RUN_ID, name="mine", config=config)
    run.update(status=Status.FINISHED, best_epoch=2, metrics={"test_accuracy": 0.9}, weights_digest="0" * 32)
    return run


@pytest.mark.parametrize("status", [Status.KILLED, Status.FAILED, Status.PRUNED, Status.RUNNING])
def test_a_run_that_was_stopped_is_not_finished(run: Run, status: Status) -> None:
    run.update(status=status)
    assert not plan_resume(run, {}).is_finished


@pytest.mark.parametrize("changes", [{}, {"epochs": EPOCHS}, {"num_workers": 3}])
def test_a_finished_run_stays_finished_without_more_epochs(run: Run, changes: dict[str, Any]) -> None:
    assert plan_resume(run, changes).is_finished


def test_a_finished_run_is_continued_with_more_epochs(run: Run) -> None:
    plan = plan_resume(run, {"epochs": EPOCHS + 1})
    assert plan.run == run
    assert plan.config.optimization.epochs == EPOCHS + 1
    assert not plan.is_finished


def test_fields_that_no_result_depends_on_may_differ(run: Run) -> None:
    config = plan_resume(run, {"num_workers": 3, "cache": "memory"}).config
    assert config == run.config().replace(num_workers=3, cache="memory")


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.5}, {"model": "small_cnn"}, {"epochs": EPOCHS - 1}, {"run_name": "other"}]
)
def test_a_change_that_makes_another_training_is_refused_with_both_values(run: Run, changes: dict[str, Any]) -> None:
    ((field, value),) = changes.items()
    old = run.config().flat()[field]
    with pytest.raises(ConfigError, match="cannot be resumed with") as caught:
        plan_resume(run, changes)
    assert f"{field}={value!r} (the run has {old!r})" in str(caught.value)
    assert "--init_checkpoint=a1b2c3d4:best" in str(caught.value)


def test_a_run_that_diverged_is_refused(run: Run) -> None:
    run.update(status=Status.DIVERGED, diverged_step=17)
    with pytest.raises(ConfigError, match=r"diverged at step 17.*a smaller --learning_rate"):
        plan_resume(run, {})


def test_a_store_that_was_moved_is_the_store_of_the_plan(run: Run, tmp_path: pathlib.Path) -> None:
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    plan = plan_resume(Run(run.id, moved / run.path.relative_to(tmp_path)), {})
    assert plan.config.tracking.store == str(moved)


def test_auto_finds_the_unfinished_run_of_the_same_config(tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(store=str(tmp_path))
    assert find_resumed("auto", config) is None
    for number, (status, seed) in enumerate([("FINISHED", 0), ("KILLED", 0), ("KILLED", 1), ("DIVERGED", 0)]):
        run = create_run(tmp_path, f"{number:032x}", name=str(number), config=config.replace(seed=seed))
        run.update(status=Status(status))
    found = find_resumed("auto", config.replace(num_workers=2))
    assert found is not None
    assert found.id == f"{1:032x}"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"batch_size": AUTO}, {"batch_size": 512}),
        ({"batch_size": AUTO, "micro_batch_size": AUTO}, {"batch_size": 512, "micro_batch_size": 0}),
        ({"batch_size": 96, "micro_batch_size": AUTO}, {"batch_size": 96, "micro_batch_size": 32}),
        ({"bits": "auto"}, {"bits": "12"}),
    ],
)
def test_what_was_found_for_auto_is_kept_by_a_resume(
    tmp_path: pathlib.Path, asked: dict[str, Any], found: dict[str, Any]
) -> None:
    config = ExperimentConfig.of(store=str(tmp_path), **asked)
    run = create_run(tmp_path, RUN_ID, name="a", config=config.replace(**found))
    assert find_resumed("auto", config) == run
    assert find_resumed("auto", config.replace(learning_rate=0.5)) is None
    assert plan_resume(run, asked).config == config.replace(**found)


def test_auto_finds_a_run_of_an_earlier_version_whose_default_was_stratified(tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(store=str(tmp_path))
    run = create_run(
        tmp_path, "1" * 32, name="old", config=config.replace(split_method="stratified", batch_norm_momentum="keep")
    )
    run.update(status=Status.KILLED)
    found = find_resumed("auto", config)
    assert found is not None
    assert found.id == run.id
    assert find_resumed("auto", config.replace(split_method="hash")) is None


def test_a_missing_run_is_refused_and_no_reference_starts_a_new_one(run: Run) -> None:
    with pytest.raises(RunNotFoundError, match="no run 'other'"):
        find_resumed("other", run.config())
    assert find_resumed("", run.config()) is None


def decide_without_tensorflow(store: pathlib.Path, reference: str, changes: dict[str, Any]) -> str:
    """What becomes of a resume in a process where TensorFlow, Keras and MLflow cannot be imported."""
    code = (
        "import json, sys\n"
        "sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'mlflow')))\n"
        "from dlexp.config.experiment_config import ExperimentConfig\n"
        "from dlexp.errors import DlexpError\n"
        "from dlexp.runs.resuming import find_resumed, plan_resume\n"
        "store, reference, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
        "try:\n"
        "    plan = plan_resume(find_resumed(reference, ExperimentConfig.of(store=store)), changes)\n"
        "    print('finished' if plan.is_finished else plan.config.optimization.epochs)\n"
        "except DlexpError as err:\n"
        "    print(type(err).__name__)\n"
    )
    words = [sys.executable, "-c", code, str(store), reference, json.dumps(changes)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("reference", "changes", "decision"),
    [
        ("mine", {}, "finished"),
        ("mine", {"epochs": EPOCHS + 2}, str(EPOCHS + 2)),
        ("mine", {"seed": 7}, "ConfigError"),
        ("other", {}, "RunNotFoundError"),
    ],
)
def test_all_is_decided_without_tensorflow(
    run: Run, tmp_path: pathlib.Path, reference: str, changes: dict[str, Any], decision: str
) -> None:
    assert decide_without_tensorflow(tmp_path, reference, changes) == decision


def test_train_returns_the_result_of_a_finished_run_without_tensorflow(run: Run, tmp_path: pathlib.Path) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'mlflow')))\n"
        "from dlexp.commands.cli import main\n"
        "sys.exit(main(['dlexp', 'train', *sys.argv[1:]]))\n"
    )
    words = [sys.executable, "-c", code, "--resume=mine", f"--store={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run a1b2c3d4 is finished already: raise --epochs to continue it" in done.stderr
    assert done.stdout.splitlines()[-1] == str(run.path)


ENDING = ["cosine", "step", "exponential", "one_cycle"]


def scheduled(store: pathlib.Path, **values: Any) -> Run:
    """A finished run of three epochs."""
    run = create_run(store, RUN_ID, name="it", config=ExperimentConfig.of(epochs=EPOCHS, store=str(store), **values))
    run.update(status=Status.FINISHED)
    return run


@pytest.mark.parametrize("lr_schedule", ENDING)
def test_more_epochs_under_a_schedule_that_ends_are_refused_with_both_ways_out(
    tmp_path: pathlib.Path, lr_schedule: str
) -> None:
    run = scheduled(tmp_path, lr_schedule=lr_schedule)
    with pytest.raises(ConfigError, match=f"epochs=5, as lr_schedule={lr_schedule} was planned for 3") as caught:
        plan_resume(run, {"epochs": 5})
    assert "--init_checkpoint=a1b2c3d4:best" in str(caught.value)
    assert "--extend_schedule" in str(caught.value)
    assert plan_resume(run, {"num_workers": 2}).is_finished


@pytest.mark.parametrize("lr_schedule", ["constant", "plateau"])
def test_more_epochs_under_a_schedule_without_an_end_need_no_extension(
    tmp_path: pathlib.Path, lr_schedule: str
) -> None:
    plan = plan_resume(scheduled(tmp_path, lr_schedule=lr_schedule), {"epochs": 5}, extend_schedule=True)
    assert plan.config.optimization.extended_from == ()
    assert not plan.is_finished


def test_every_extension_is_recorded_in_config_and_name(tmp_path: pathlib.Path) -> None:
    run = scheduled(tmp_path, lr_schedule="cosine", run_name="mine")
    for epochs, planned in [(5, ("3",)), (8, ("3", "5"))]:
        config = plan_resume(run, {"epochs": epochs}, extend_schedule=True).config
        (run.path / "config.json").write_text(config.to_json())
        assert config.optimization.extended_from == planned
    assert config.tracking.run_name == "mine-from3-from5"


@pytest.mark.parametrize("planned", [("x",), ("4",), ("2", "2"), ("0",), ("-1",), ("2.5",)])
def test_an_extension_that_was_never_made_is_refused(planned: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="extended_from="):
        ExperimentConfig.of(epochs=4, lr_schedule="cosine", extended_from=planned)
    with pytest.raises(ConfigError, match="has no effect with lr_schedule=constant"):
        ExperimentConfig.of(epochs=4, extended_from=("2",))
