"""How a sweep looks on the terminal: lines, the live table, and --status."""

import contextlib
import io
import pathlib
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from dlexp.sweeps import display
from dlexp.sweeps.display import Display, LiveDisplay, build_display, describe_trial, print_status
from dlexp.sweeps.driver import SweepDriver
from dlexp.sweeps.folder import Trial, TrialState
from dlexp.sweeps.launchers.base import Outcome
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.plan import SweepPlan
from tests.support.scripted_launcher import end, finish
from tests.support.small_sweeps import begin, commands_plan, drive, ended, plan_of

RATES = "learning_rate=choice(0.001,0.01,0.1)"
BOTH = parse_objectives("val_accuracy,val_loss")


def trial(number: int, accuracy: float | None = None, **values: Any) -> Trial:
    return ended(number, accuracy, **{"point": {"learning_rate": (0.001, 0.01, 0.1)[number % 3]}} | values)


# One line a trial.


def test_a_line_tells_number_state_values_time_and_what_is_particular(tmp_path: pathlib.Path) -> None:
    line = describe_trial(trial(1, 0.98765, seconds=12.34), plan_of(tmp_path, RATES))
    assert line == "trial 1  finished  val_accuracy 0.9877  12.3 s  learning_rate=0.01"


def test_a_line_tells_the_seed_where_there_are_several(tmp_path: pathlib.Path) -> None:
    line = describe_trial(trial(1, 0.5, seed=2), plan_of(tmp_path, RATES, seeds=3))
    assert line.endswith("learning_rate=0.01 seed=2")


def test_a_line_tells_the_first_line_of_the_reason(tmp_path: pathlib.Path) -> None:
    line = describe_trial(trial(1, reason="it broke\nTraceback", seconds=2), plan_of(tmp_path, RATES))
    assert line == "trial 1  failed  2.0 s  learning_rate=0.01  (it broke)"


def test_a_reused_trial_took_no_time(tmp_path: pathlib.Path) -> None:
    reused = trial(3, 0.5, reused_from=0, reason="equal to trial 0, whose run it shares")
    line = describe_trial(reused, plan_of(tmp_path, RATES))
    assert line == (
        "trial 3  finished  val_accuracy 0.5000  learning_rate=0.001  (equal to trial 0, whose run it shares)"
    )


def test_a_line_of_a_command_tells_its_changes(tmp_path: pathlib.Path) -> None:
    plan = commands_plan(tmp_path, {"model": "mlp"})
    assert describe_trial(ended(0, 0.5, point={"model": "mlp"}), plan).endswith("0.0 s  model=mlp")


def test_each_trial_that_ends_is_told_once(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, RATES)
    drive(plan, observers=[Display(plan)])
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[:2] for line in err.splitlines()] == [[f"trial {n}", "finished"] for n in range(3)]


def test_a_trial_that_is_started_again_is_told_once_each_time(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, "learning_rate=0.1")
    drive(plan, end(Outcome.DIED, "its process was ended by SIGKILL"), observers=[Display(plan)], retries=2)
    again = "trial 0  its process was ended by SIGKILL: it will be started again from its checkpoint"
    first, second, third = capsys.readouterr().err.splitlines()
    assert [first, second] == [again, again]
    assert third.startswith("trial 0  failed")
    hint = "if memory ran out, dlexp batch-size finds a batch that fits"
    assert third.endswith(f"(its process was ended by SIGKILL, 3 times: {hint})")


def test_lines_are_what_is_shown_without_a_terminal(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(build_display(plan_of(tmp_path, RATES))) is Display


# --status.


def status_of(plan: SweepPlan, trials: Sequence[Trial], capsys: pytest.CaptureFixture[str]) -> list[str]:
    folder = begin(plan)
    for trial in trials:
        folder.write_trial(trial)
    print_status(folder)
    out, err = capsys.readouterr()
    assert err == ""
    *lines, last = out.splitlines()
    assert last == str(folder.path)
    return lines


def test_status_of_a_new_sweep(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(plan_of(tmp_path, RATES), [], capsys) == ["sweep s: 0 of 3 trials: none yet"]


def test_status_tells_counts_the_best_points_and_failures(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial(0, 0.5), trial(1, 0.9), trial(2, reason="it broke\nat line 3", seconds=2)]
    assert status_of(plan_of(tmp_path, RATES), trials, capsys) == [
        "sweep s: 3 of 3 trials: 2 finished, 1 failed",
        "best by val_accuracy:",
        "  1. val_accuracy 0.9000  learning_rate=0.01  trial 1",
        "  2. val_accuracy 0.5000  learning_rate=0.001  trial 0",
        "  trial 2  failed  2.0 s  learning_rate=0.1  (it broke)",
    ]


def test_status_shows_five_points_and_five_failures_at_the_most(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial(number, 0.5 if number < 7 else None, reason="it broke") for number in range(14)]
    lines = status_of(plan_of(tmp_path, "learning_rate=log(0.001,0.1)", search="random"), trials, capsys)
    assert lines[0] == "sweep s: 14 trials: 7 finished, 7 failed"
    assert len(lines) == 2 + 5 + 5


def test_status_of_several_seeds_tells_their_mean(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial(0, 0.5, point_number=0), ended(1, 0.7, point_number=0, point={"learning_rate": 0.001}, seed=1)]
    assert status_of(plan_of(tmp_path, RATES, seeds=2), trials, capsys) == [
        "sweep s: 2 of 6 trials: 2 finished",
        "best by val_accuracy:",
        "  1. val_accuracy 0.6000 (mean of 2)  learning_rate=0.001  trial 0, 1",
    ]


def test_status_of_several_objectives_tells_the_front(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [(0.9, 0.9), (0.5, 0.1), (0.4, 0.2)]
    trials = [trial(n, 0, values={"val_accuracy": a, "val_loss": b}) for n, (a, b) in enumerate(losses)]
    assert status_of(plan_of(tmp_path, RATES, objectives=BOTH), trials, capsys)[1:] == [
        "Pareto front:",
        "  1. val_accuracy 0.9000  val_loss 0.9000  learning_rate=0.001  trial 0",
        "  2. val_accuracy 0.5000  val_loss 0.1000  learning_rate=0.01  trial 1",
    ]


def test_status_of_several_objectives_without_a_result_has_no_front(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = status_of(plan_of(tmp_path, RATES, objectives=BOTH), [trial(0)], capsys)
    assert len(lines) == 2
    assert lines[1].startswith("  trial 0  failed")


@pytest.mark.parametrize("driven", [True, False])
def test_status_tells_what_is_running_only_while_the_sweep_is_driven(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], driven: bool
) -> None:
    plan = plan_of(tmp_path, RATES)
    with begin(plan).hold() if driven else contextlib.nullcontext():
        lines = status_of(plan, [trial(1, state=TrialState.RUNNING, epochs=4)], capsys)
    running = ["  running: trial 1  epoch 4  learning_rate=0.01"]
    assert lines == [f"sweep s: 1 of 3 trials{', in progress' * driven}: 1 running", *running * driven]


# The live table.

NOW = 1000.0


def driver_of(plan: SweepPlan, trials: Sequence[Trial], *, running: Sequence[int] = (), elapsed: float) -> SweepDriver:
    """What the table looks at, of a driver that began some seconds before `NOW`."""
    stand_in = SimpleNamespace(
        plan=plan,
        trials={trial.number: trial for trial in trials},
        running={number: NOW - 30 for number in running},
        started=NOW - elapsed,
        ended_now=sum(trial.state.has_ended for trial in trials),
    )
    return cast(SweepDriver, stand_in)


def table_of(driver: SweepDriver, width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(display._live_table(driver, NOW))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_table_tells_what_runs_the_best_the_rate_and_the_time_left(tmp_path: pathlib.Path) -> None:
    trials = [trial(0, 0.5), trial(1, 0.9), trial(2, state=TrialState.RUNNING, epochs=1)]
    assert table_of(driver_of(plan_of(tmp_path, RATES), trials, running=[2], elapsed=120)) == [
        "trial 2  epoch 1/2  30 s  learning_rate=0.1",
        "best     val_accuracy 0.9000  learning_rate=0.01  trial 1",
        "         1 running, 2 finished  2 min 0 s  60 trials/h  1 min 0 s left",
    ]


def test_the_table_of_a_sweep_that_has_just_begun_tells_no_rate(tmp_path: pathlib.Path) -> None:
    trials = [trial(0, state=TrialState.RUNNING)]
    assert table_of(driver_of(plan_of(tmp_path, RATES), trials, running=[0], elapsed=5)) == [
        "trial 0  epoch 0/2  30 s  learning_rate=0.001",
        "         1 running  5 s",
    ]


def test_the_table_of_a_sweep_without_end_tells_no_time_left(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=log(0.001,0.1)", search="random")
    assert table_of(driver_of(plan, [trial(0, 0.5)], elapsed=60))[-1] == "      1 finished  1 min 0 s  60 trials/h"


def test_the_time_left_counts_every_seed(tmp_path: pathlib.Path) -> None:
    driver = driver_of(plan_of(tmp_path, RATES, seeds=2), [trial(0, 0.5)], elapsed=60)
    assert table_of(driver)[-1].endswith("60 trials/h  5 min 0 s left")


def test_no_time_is_left_where_a_resume_wants_fewer_trials_than_there_are(tmp_path: pathlib.Path) -> None:
    driver = driver_of(plan_of(tmp_path, RATES, num_points=1), [trial(n, 0.5) for n in range(3)], elapsed=60)
    assert table_of(driver)[-1].endswith("180 trials/h  0 s left")


def test_the_table_shows_epochs_of_the_trial_itself_where_they_vary(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "epochs=choice(5,7)")
    running = ended(0, point={"epochs": 7}, state=TrialState.RUNNING, epochs=3)
    assert table_of(driver_of(plan, [running], running=[0], elapsed=5))[0].startswith("trial 0  epoch 3/7  30 s")


def test_text_in_brackets_is_no_markup(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "model_args.x=choice('[bold]','[/red]')")
    running = ended(0, point={"model_args.x": "[/red]"}, state=TrialState.RUNNING)
    assert "model_args.x=[/red]" in table_of(driver_of(plan, [running], running=[0], elapsed=5))[0]


def test_lines_stand_above_the_live_table_and_it_is_taken_away(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(display, "_SECONDS_BETWEEN_TABLES", 0.0)
    plan = plan_of(tmp_path, RATES)
    with contextlib.closing(LiveDisplay(plan)) as live:
        drive(plan, finish, observers=[live])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "trials/h" in text
    assert [line for line in text.splitlines() if " finished  val_accuracy" in line] == [
        describe_trial(trial, plan) for trial in begin(plan).trials()
    ]
