"""The batch size of an experiment: who sets it, when another is refused, and what marks a run that has another."""

import json
import multiprocessing
import pathlib
import subprocess
import sys
import uuid
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, StoreError
from dlexp.runs.batch_sizes import CAUTION, FILE, check_batch_size, claim_batch_size, mark_batch_size
from dlexp.runs.batch_sizes import remembered_batch_size as remembered
from dlexp.runs.run import Run, Status, create_run


def config_of(store: pathlib.Path, batch_size: int | str, **values: Any) -> ExperimentConfig:
    return ExperimentConfig.of(batch_size=batch_size, store=str(store), **values)


def start(store: pathlib.Path, batch_size: int, *, sweep: str = "", **values: Any) -> Run:
    """Starts a run as a training does, up to its first checkpoint."""
    config = config_of(store, batch_size, **values)
    run = create_run(store, uuid.uuid4().hex, name="run", config=config)
    with run.hold():
        claim_batch_size(run, config, sweep=sweep)
        (run.checkpoints_folder / "last.keras").touch()
    return run


def end(run: Run, status: Status) -> None:
    run.update(status=status)


def refusal(store: pathlib.Path, batch_size: int, **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        start(store, batch_size, **values)
    return str(caught.value)


def test_a_run_with_another_batch_size_is_refused_in_one_sentence(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64)
    assert refusal(tmp_path, 128) == (
        "experiment 'dlexp' trains with batch_size=64, and runs with batch_size=128 cannot be compared with it: an "
        "epoch has another number of steps then, and a learning rate another meaning; give --batch_size=64, another "
        "--experiment, or --allow_batch_size_change"
    )


def test_a_check_refuses_as_the_start_does_and_writes_nothing(tmp_path: pathlib.Path) -> None:
    check_batch_size(config_of(tmp_path / "new", 128))
    assert not (tmp_path / "new").exists()
    start(tmp_path, 64)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError, match="trains with batch_size=64"):
        check_batch_size(config_of(tmp_path, 128))
    check_batch_size(config_of(tmp_path, 128, allow_batch_size_change=True))
    check_batch_size(config_of(tmp_path, "auto"))
    assert (tmp_path / FILE).read_bytes() == before


def test_a_run_with_the_same_batch_size_is_not_marked(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64)
    run = start(tmp_path, 64, allow_batch_size_change=True)
    assert not run.cautions()
    assert "batch_size_change" not in run.record()


def test_micro_batches_may_differ(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64)
    assert not start(tmp_path, 64, micro_batch_size=16).cautions()


def test_another_experiment_has_another_batch_size(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64)
    start(tmp_path, 128, experiment="large")
    assert remembered(tmp_path, "dlexp") == 64
    assert remembered(tmp_path, "large") == 128
    assert remembered(tmp_path, "other") is None


def test_another_store_has_another_batch_size(tmp_path: pathlib.Path) -> None:
    start(tmp_path / "one", 64)
    start(tmp_path / "two", 128)
    assert remembered(tmp_path / "one", "dlexp") == 64
    assert remembered(tmp_path / "two", "dlexp") == 128


def test_an_allowed_change_is_marked_and_changes_nothing_for_others(tmp_path: pathlib.Path) -> None:
    end(start(tmp_path, 64), Status.FINISHED)
    run = start(tmp_path, 128, allow_batch_size_change=True)
    assert run.record()["batch_size_change"] == "64 -> 128"
    assert run.record()["caution"] == CAUTION
    assert run.cautions()[CAUTION].startswith("this run trains with batch_size=128, but experiment 'dlexp' with")
    end(run, Status.FINISHED)
    assert "batch_size=64" in refusal(tmp_path, 128)


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED])
def test_after_a_first_run_that_gave_nothing_the_next_sets_another_batch_size(
    tmp_path: pathlib.Path, status: Status
) -> None:
    end(start(tmp_path, 4096), status)
    run = start(tmp_path, 64)
    assert not run.cautions()
    assert remembered(tmp_path, "dlexp") == 64


@pytest.mark.parametrize("status", [Status.RUNNING, Status.KILLED, Status.FINISHED, Status.PRUNED])
def test_a_first_run_that_runs_or_can_be_resumed_or_has_trained_keeps_its_batch_size(
    tmp_path: pathlib.Path, status: Status
) -> None:
    end(start(tmp_path, 64), status)
    assert "batch_size=64" in refusal(tmp_path, 128)


def test_a_first_run_that_was_killed_before_its_first_checkpoint_gave_nothing(tmp_path: pathlib.Path) -> None:
    run = start(tmp_path, 4096)
    (run.checkpoints_folder / "last.keras").unlink()
    start(tmp_path, 64)
    assert remembered(tmp_path, "dlexp") == 64


def test_a_first_run_that_has_no_checkpoint_yet_keeps_its_batch_size_while_it_runs(tmp_path: pathlib.Path) -> None:
    run = start(tmp_path, 64)
    (run.checkpoints_folder / "last.keras").unlink()
    with run.hold():
        assert "batch_size=64" in refusal(tmp_path, 128)


def test_a_failed_run_does_not_free_the_batch_size_of_another_that_runs(tmp_path: pathlib.Path) -> None:
    first = start(tmp_path, 64)
    start(tmp_path, 64)
    end(first, Status.FAILED)
    assert "batch_size=64" in refusal(tmp_path, 128)


def test_a_failed_run_that_is_resumed_holds_its_batch_size_again(tmp_path: pathlib.Path) -> None:
    run = start(tmp_path, 64)
    end(run, Status.FAILED)
    assert remembered(tmp_path, "dlexp") is None
    end(run, Status.RUNNING)
    assert "batch_size=64" in refusal(tmp_path, 128)


def test_a_finished_run_confirms_the_batch_size_also_when_later_runs_fail_or_are_removed(
    tmp_path: pathlib.Path,
) -> None:
    first = start(tmp_path, 64)
    end(first, Status.FINISHED)
    end(start(tmp_path, 64), Status.FAILED)
    (first.path / "run.json").unlink()
    assert "batch_size=64" in refusal(tmp_path, 128)


def test_runs_that_were_removed_before_any_finished_hold_nothing(tmp_path: pathlib.Path) -> None:
    (start(tmp_path, 64).path / "run.json").unlink()
    start(tmp_path, 128)
    assert remembered(tmp_path, "dlexp") == 128


def test_a_refused_run_holds_nothing(tmp_path: pathlib.Path) -> None:
    first = start(tmp_path, 64)
    refusal(tmp_path, 128)
    end(first, Status.FAILED)
    assert remembered(tmp_path, "dlexp") is None


def test_a_store_of_an_earlier_version_remembers_the_first_new_run(tmp_path: pathlib.Path) -> None:
    for size in (32, 64):
        create_run(tmp_path, uuid.uuid4().hex, name="old", config=config_of(tmp_path, size))
    start(tmp_path, 128)
    assert remembered(tmp_path, "dlexp") == 128


def test_a_trial_is_in_its_sweep_and_in_its_experiment(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64, sweep="tuning")
    assert "experiment 'dlexp'" in refusal(tmp_path, 128)
    assert "sweep 'tuning'" in refusal(tmp_path, 128, sweep="tuning", experiment="other")
    assert "another --sweep_name" in refusal(tmp_path, 128, sweep="tuning", experiment="other")


def test_a_trial_that_differs_from_both_names_both(tmp_path: pathlib.Path) -> None:
    start(tmp_path, 64)
    start(tmp_path, 32, sweep="tuning", experiment="other")
    run = start(tmp_path, 128, sweep="tuning", allow_batch_size_change=True)
    assert run.record()["batch_size_change"] == "64 -> 128"
    assert "experiment 'dlexp' with batch_size=64 and sweep 'tuning' with batch_size=32" in run.cautions()[CAUTION]


def test_a_resumed_run_is_never_refused_but_marked_if_others_have_another_batch_size_by_now(
    tmp_path: pathlib.Path,
) -> None:
    run = start(tmp_path, 64)
    end(run, Status.FAILED)
    start(tmp_path, 128)
    mark_batch_size(run, run.config())
    assert run.record()["batch_size_change"] == "128 -> 64"


def test_a_resumed_run_with_the_batch_size_of_the_others_is_not_marked(tmp_path: pathlib.Path) -> None:
    run = start(tmp_path, 64)
    mark_batch_size(run, run.config())
    assert not run.cautions()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"experiments": 3, "sweeps": {}}',
        '{"experiments": {"dlexp": {}}, "sweeps": {}}',
        '{"other": {}}',
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(
        StoreError, match=rf"'{tmp_path / FILE}' is damaged: restore it, or remove it, and the next run"
    ):
        check_batch_size(config_of(tmp_path, 64))


def test_a_store_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    run = create_run(tmp_path, "a" * 32, name="run", config=config_of(tmp_path, 64))
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match=r"cannot be written: .*: choose another --store"):
        claim_batch_size(run, config_of(tmp_path, 64))


def test_the_file_is_json_that_people_can_read(tmp_path: pathlib.Path) -> None:
    run = start(tmp_path, 64, sweep="tuning")
    entry = {"batch_size": 64, "is_confirmed": False, "runs": [run.id]}
    assert json.loads((tmp_path / FILE).read_text()) == {"experiments": {"dlexp": entry}, "sweeps": {"tuning": entry}}


@pytest.mark.parametrize("words", [["train"], ["sweep", "--space=seed=range(2)"]])
def test_a_command_refuses_before_tensorflow_is_imported(tmp_path: pathlib.Path, words: list[str]) -> None:
    end(start(tmp_path, 64), Status.FINISHED)
    code = (
        "import sys; from dlexp.commands.cli import main\ntry: main(['dlexp', *sys.argv[1:]])\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    words = [sys.executable, "-c", code, *words, "--batch_size=128", "--model=mlp", f"--store={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert "experiment 'dlexp' trains with batch_size=64, and runs with batch_size=128 cannot be" in done.stderr
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [remembered_run(tmp_path)]


def remembered_run(store: pathlib.Path) -> str:
    """The only run that the store remembers."""
    (run_id,) = json.loads((store / FILE).read_text())["experiments"]["dlexp"]["runs"]
    return str(run_id)


def _start_with_others(store: pathlib.Path, batch_size: int, barrier: Any, answers: Any) -> None:
    barrier.wait()
    try:
        start(store, batch_size)
    except ConfigError:
        answers.put((batch_size, False))
    else:
        answers.put((batch_size, True))


def test_of_processes_that_start_at_the_same_instant_all_accepted_ones_have_one_batch_size(
    tmp_path: pathlib.Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    sizes = (16, 32) * 3
    barrier, answers = context.Barrier(len(sizes)), context.Queue()
    processes = [context.Process(target=_start_with_others, args=(tmp_path, size, barrier, answers)) for size in sizes]
    for process in processes:
        process.start()
    given = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    (accepted,) = {size for size, is_accepted in given if is_accepted}
    assert sum(is_accepted for _, is_accepted in given) == 3
    assert remembered(tmp_path, "dlexp") == accepted
