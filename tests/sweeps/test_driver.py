"""The driver of a sweep: which trials it starts, and what it writes down of how they end."""

import dataclasses
import itertools
import pathlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.sweeps.driver import SweepDriver, SweepLimits
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState, create_sweep
from dlexp.sweeps.launchers.base import Event, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.ranking import pareto_front, rank_points
from dlexp.sweeps.space.space import Space
from tests.support.scripted_launcher import ScriptedLauncher, end, finish, write_run
from tests.support.small_sweeps import commands_plan, drive, plan_of


def states(trials: Sequence[Trial]) -> set[TrialState]:
    return {trial.state for trial in trials}


def test_every_point_of_a_grid_is_run_once(tmp_path: pathlib.Path) -> None:
    _, trials, launcher = drive(plan_of(tmp_path))
    points = [tuple(trial.point.items()) for trial in trials]
    assert len(points) == len(set(points)) == 6
    assert len(launcher.jobs) == 6
    assert states(trials) == {TrialState.FINISHED}


def test_the_best_point_comes_first(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    _, trials, _ = drive(plan)
    best = rank_points(trials, plan)[0]
    assert best.trials[0].point["learning_rate"] == 0.01
    assert best.values == {"val_accuracy": pytest.approx(1.0)}


def test_trials_limits_the_points(tmp_path: pathlib.Path) -> None:
    assert len(drive(plan_of(tmp_path, num_points=4))[1]) == 4


def test_more_trials_go_on_where_the_grid_was_left(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, num_points=4)
    drive(plan)
    _, trials, launcher = drive(dataclasses.replace(plan, num_points=6))
    assert len(trials) == 6
    assert [job.trial.trial for job in launcher.jobs] == [4, 5]


def test_a_point_is_judged_by_the_mean_over_its_seeds(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.01,0.1)", seeds=3)
    _, trials, _ = drive(plan)
    assert [trial.seed for trial in trials] == [0, 1, 2, 0, 1, 2]
    best = rank_points(trials, plan)[0]
    assert len(best.trials) == 3
    assert best.values["val_accuracy"] == pytest.approx(0.999)


def test_several_objectives_give_a_pareto_front(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, objectives=parse_objectives("val_accuracy,num_parameters"))
    _, trials, _ = drive(plan)
    front = pareto_front(rank_points(trials, plan), plan.objectives)
    assert {point.trials[0].point["learning_rate"] for point in front} == {0.01}


def test_an_equal_point_shares_the_run_of_the_first(tmp_path: pathlib.Path) -> None:
    folder, trials, launcher = drive(
        plan_of(tmp_path, "optimizer=choice(adam,sgd); sgd.momentum=0.9; seed=choice(1,2)")
    )
    assert len(launcher.jobs) == 4
    same = dataclasses.replace(commands_plan(tmp_path, {"seed": 1}, {"seed": 1}, {"seed": 1}), name="t")
    folder, trials, launcher = drive(same)
    assert len(launcher.jobs) == 1
    assert [trial.reused_from for trial in trials] == [None, 0, 0]
    assert states(trials) == {TrialState.FINISHED}
    assert "equal to trial 0" in trials[1].reason
    assert folder.run_of(trials[2]) == folder.run_of(trials[0])
    assert len(rank_points(trials, same)) == 1


@pytest.mark.parametrize("search", ["random", "tpe", "qmc", "nsgaii"])
def test_search_of_two_points_with_six_trials_runs_two_and_ends(tmp_path: pathlib.Path, search: str) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.01,0.1)", search=search, num_points=6)
    _, trials, launcher = drive(plan)
    assert sorted(trial.point["learning_rate"] for trial in trials) == [0.01, 0.1]
    assert len(launcher.jobs) == 2
    assert plan.total_points() == 2
    assert len(drive(plan)[1]) == 2


def test_sampler_that_only_repeats_itself_gives_no_more_trials(tmp_path: pathlib.Path) -> None:
    again = plan_of(tmp_path, "learning_rate=uniform(0.0999999,0.1)", search="random", num_points=3, search_seed=1)
    _, trials, _ = drive(dataclasses.replace(again, candidates=_OnePoint(again.candidates)))
    assert len(trials) == 1


def test_another_objective_judges_finished_trials_again_and_trains_none(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    drive(plan)
    other = dataclasses.replace(plan, objectives=parse_objectives("test_accuracy:min"))
    _, trials, launcher = drive(other)
    assert launcher.jobs == []
    assert rank_points(trials, other)[0].trials[0].point["learning_rate"] == 0.1
    assert all(trial.values.keys() == {"test_accuracy"} for trial in trials)


def test_trials_that_failed_by_a_wrong_objective_are_rescued_by_the_right_one(tmp_path: pathlib.Path) -> None:
    wrong = plan_of(tmp_path, objectives=parse_objectives("val_f1:max"))
    _, trials, _ = drive(wrong)
    assert states(trials) == {TrialState.FAILED}
    _, trials, launcher = drive(dataclasses.replace(wrong, objectives=parse_objectives("val_accuracy")))
    assert states(trials) == {TrialState.FINISHED}
    assert launcher.jobs == []


class _OnePoint(Space):
    """A space that always draws the same."""

    def __init__(self, space: Any) -> None:
        super().__init__(space.parameters, space.base)

    def draw(self, suggest: Callable[..., Any]) -> dict[str, Any]:
        super().draw(suggest)
        return {"learning_rate": 0.1}

    def with_base(self, base: ExperimentConfig) -> "_OnePoint":
        return _OnePoint(super().with_base(base))


# Failures.


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DIVERGED])
def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path: pathlib.Path, outcome: Outcome) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        return end(outcome, "it broke")(job) if job.trial.trial == 1 else finish(job)

    _, trials, launcher = drive(plan_of(tmp_path), script)
    assert [trial.number for trial in trials if trial.state is TrialState.FAILED] == [1]
    assert trials[1].reason.startswith("it broke")
    assert sum(trial.state is TrialState.FINISHED for trial in trials) == 5
    assert len(launcher.jobs) == 6


def test_the_end_of_the_log_of_a_failed_trial_is_kept(tmp_path: pathlib.Path) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        pathlib.Path(job.log_path).write_text("first line\nthe last words\n", encoding="utf-8")
        return end(Outcome.FAILED, "it broke")(job)

    _, trials, _ = drive(plan_of(tmp_path), script)
    assert trials[0].reason.splitlines() == ["it broke", "first line", "the last words"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_trial_whose_process_dies_is_retried_so_often_and_then_failed(tmp_path: pathlib.Path, retries: int) -> None:
    script = end(Outcome.DIED, "its process was ended by SIGKILL")
    plan = plan_of(tmp_path, "learning_rate=0.1")
    _, (trial,), launcher = drive(plan, script, retries=retries)
    assert len(launcher.jobs) == trial.attempts == 1 + retries
    assert trial.state is TrialState.FAILED
    assert trial.reason.startswith("its process was ended by SIGKILL")


def test_a_trial_that_is_retried_goes_on_with_its_run(tmp_path: pathlib.Path) -> None:
    deaths = iter([Outcome.DIED, Outcome.FINISHED])
    plan = plan_of(tmp_path, "learning_rate=0.1")
    _, (trial,), launcher = drive(plan, lambda job: end(next(deaths))(job))
    assert trial.state is TrialState.FINISHED
    assert len({job.trial.run_id for job in launcher.jobs}) == 1


def test_a_trial_over_its_time_is_killed(tmp_path: pathlib.Path) -> None:
    _, trials, launcher = drive(plan_of(tmp_path), lambda job: [], trial_seconds=0.001)
    assert states(trials) == {TrialState.FAILED}
    assert "longer than 0.001 s" in trials[0].reason
    assert len(launcher.jobs) == 6


def test_a_trial_over_its_memory_is_killed(tmp_path: pathlib.Path) -> None:
    _, trials, _ = drive(plan_of(tmp_path), lambda job: [], trial_bytes=4_000_000_000)
    assert "5.00 GB of memory, the limit is 4.00 GB" in trials[0].reason


def test_an_objective_that_no_run_has_fails_the_trial_and_names_those_there_are(tmp_path: pathlib.Path) -> None:
    _, trials, _ = drive(plan_of(tmp_path, objectives=parse_objectives("val_f1:max")))
    assert states(trials) == {TrialState.FAILED}
    assert "no value for the objective val_f1" in trials[0].reason
    assert "val_accuracy" in trials[0].reason


def test_failed_trials_are_run_again_only_if_asked_to(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    drive(plan, end(Outcome.FAILED, "it broke"))
    assert drive(plan)[2].jobs == []
    _, trials, launcher = drive(plan, retry_failed=True)
    assert len(launcher.jobs) == 6
    assert states(trials) == {TrialState.FINISHED}


def test_no_trial_starts_when_the_time_is_up(tmp_path: pathlib.Path) -> None:
    _, trials, launcher = drive(plan_of(tmp_path), time_budget_s=1e-9)
    assert launcher.jobs == []
    assert trials == []


# Stopping and resuming.


def test_a_stopped_sweep_leaves_its_running_trials_to_the_next(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    folder = create_sweep(tmp_path, plan.name, plan.to_dict())
    launcher = ScriptedLauncher(finish)
    driver = SweepDriver(folder, plan, SweepLimits(), launcher, [_StopAfter(3)])
    driver.run()
    trials = folder.trials()
    waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
    assert driver.stopping
    assert 1 <= len(waiting) <= 2
    assert all(trial.attempts == 0 for trial in waiting)
    _, trials, again = drive(plan)
    assert len(trials) == 6
    assert states(trials) == {TrialState.FINISHED}
    assert {trial.number for trial in waiting} <= {job.trial.trial for job in again.jobs}


def test_a_trial_that_is_about_to_start_when_the_sweep_is_stopped_is_stopped_too(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)

    class StoppingFolder(SweepFolder):
        def write_trial(self, trial: Trial) -> None:
            super().write_trial(trial)
            if trial.state is TrialState.RUNNING:
                driver.stop()  # as by a signal, before the launcher has the trial

    folder = StoppingFolder(create_sweep(tmp_path, plan.name, plan.to_dict()).path)
    driver = SweepDriver(folder, plan, SweepLimits(), ScriptedLauncher(lambda job: []))
    driver.run()
    assert [trial.state for trial in folder.trials()] == [TrialState.WAITING]


class _StopAfter:
    def __init__(self, refreshes: int) -> None:
        self._left = refreshes

    def changed(self, trial: Trial) -> None:
        pass

    def refresh(self, driver: SweepDriver) -> None:
        self._left -= 1
        if self._left == 0:
            driver.stop()


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("seed", range(10))
def test_a_driver_that_dies_at_any_instant_loses_and_repeats_nothing(tmp_path: pathlib.Path, seed: int) -> None:
    """Instants are the writes of trial files: the driver dies before or after one, again and again."""
    plan = plan_of(tmp_path, seeds=2)
    folder = create_sweep(tmp_path, plan.name, plan.to_dict())
    generator, runs = random.Random(seed), list[tuple[str, Outcome]]()

    def script(job: TrialJob) -> Sequence[Event]:
        runs.append((job.trial.run_id, Outcome.FINISHED))
        return finish(job)

    for _ in itertools.count():
        fatal = generator.randrange(1, 30)
        dying = _DyingFolder(folder.path, itertools.count(1), fatal)
        launcher = ScriptedLauncher(script)
        try:
            SweepDriver(dying, plan, SweepLimits(), launcher).run()
            break
        except _Killed:
            # A run may have come to its end while its driver was dying.
            for job in launcher.jobs[-1:]:
                if generator.random() < 0.5 and job.trial.trial in launcher.running:
                    write_run(job, Outcome.FINISHED)
    trials = folder.trials()
    assert [trial.number for trial in trials] == list(range(12))
    assert states(trials) == {TrialState.FINISHED}
    assert len({(tuple(trial.point.items()), trial.seed) for trial in trials}) == 12
    assert len({folder.run_of(trial).id for trial in trials}) == 12


@dataclasses.dataclass(frozen=True)
class _DyingFolder(SweepFolder):
    counter: Any
    fatal: int

    def write_trial(self, trial: Trial) -> None:
        number = next(self.counter)
        if number == self.fatal and number % 2:
            raise _Killed
        super().write_trial(trial)
        if number == self.fatal:
            raise _Killed


def test_a_run_that_ended_unnoticed_is_not_run_again(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=0.01")
    folder = create_sweep(tmp_path, plan.name, plan.to_dict())
    jobs: list[TrialJob] = []

    def dies_after_the_run(job: TrialJob) -> Sequence[Event]:
        write_run(job, Outcome.FINISHED)
        jobs.append(job)
        raise _Killed

    with pytest.raises(_Killed):
        SweepDriver(folder, plan, SweepLimits(), ScriptedLauncher(dies_after_the_run)).run()
    assert folder.trials()[0].state is TrialState.RUNNING
    _, (trial,), launcher = drive(plan)
    assert launcher.jobs == []
    assert trial.state is TrialState.FINISHED
    assert trial.values == {"val_accuracy": 1.0}


# Searching.


@pytest.mark.parametrize("search", ["random", "tpe", "qmc", "nsgaii"])
def test_a_resumed_search_does_not_propose_a_point_again(tmp_path: pathlib.Path, search: str) -> None:
    plan = plan_of(tmp_path, "learning_rate=log(1e-4,1e-1)", search=search, num_points=5)
    drive(plan)
    _, trials, _ = drive(dataclasses.replace(plan, num_points=10))
    assert len({trial.point["learning_rate"] for trial in trials}) == 10


def test_a_search_is_repeated_by_its_seed(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=log(1e-4,1e-1)", search="random", num_points=5)
    points = [
        [trial.point for trial in drive(dataclasses.replace(plan, name=name, search_seed=seed))[1]]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert points[0] == points[1] != points[2]


def test_tpe_learns_from_what_it_is_told(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=uniform(0.001,1.0)", search="tpe", num_points=60)
    _, trials, _ = drive(plan, slots=1)
    late = [abs(trial.point["learning_rate"] - 0.01) for trial in trials[40:]]
    early = [abs(trial.point["learning_rate"] - 0.01) for trial in trials[:10]]
    assert sum(late) / len(late) < sum(early) / len(early) / 2


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_a_pruner_gives_up_worse_trials_and_never_the_best(tmp_path: pathlib.Path, pruner: str) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.01,0.02,0.3,0.4,0.5,0.6,0.7,0.8,0.9)", epochs=9, pruner=pruner)
    _, trials, launcher = drive(plan, slots=1)
    assert states(trials) == {TrialState.FINISHED, TrialState.PRUNED}
    assert [trial.state for trial in trials if trial.point["learning_rate"] == 0.01] == [TrialState.FINISHED]
    assert not all(goes_on for _, goes_on in launcher.answers)


def test_the_seeds_of_a_point_are_given_up_with_its_first_and_else_run_to_their_end(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.01,0.3,0.5,0.7,0.9)", epochs=9, pruner="halving", seeds=3)
    _, trials, launcher = drive(plan)
    leaders = {trial.point_number: trial for trial in trials[::3]}
    assert {trial.state for trial in leaders.values()} == {TrialState.FINISHED, TrialState.PRUNED}
    followers = [trial for trial in trials if trial.number % 3]
    assert all(trial.state is leaders[trial.point_number].state for trial in followers)
    started = {job.trial.trial: job.waits_for_verdict for job in launcher.jobs}
    assert {number for number, waits in started.items() if waits} == {trial.number for trial in leaders.values()}
    assert {number for number, waits in started.items() if not waits} == {
        trial.number for trial in followers if trial.state is TrialState.FINISHED
    }
    assert [len(point.trials) for point in rank_points(trials, plan)] == [3] * len(rank_points(trials, plan))


def test_a_pruner_remembers_the_trials_before_a_resume(tmp_path: pathlib.Path) -> None:
    space = "learning_rate=choice(0.01,0.011,0.012,0.9)"
    plans = [plan_of(tmp_path, space, epochs=9, pruner="halving", num_points=3, search_seed=n) for n in range(30)]
    plan = next(plan for plan in plans if list(plan.grid())[-1]["learning_rate"] == 0.9)
    folder, _, launcher = drive(plan, slots=1)
    for job in launcher.jobs:
        log = folder.run_of(folder.trials()[job.trial.trial]).point_log()
        log.append(_points_of(job))
    _, trials, _ = drive(dataclasses.replace(plan, num_points=4), slots=1)
    assert trials[3].state is TrialState.PRUNED


def _points_of(job: TrialJob) -> list[Any]:
    from dlexp.runs.points import Point

    ends = [event for event in finish(job) if not isinstance(event, TrialEnded)]
    return [Point("val_accuracy", end.epoch, end.epoch, end.metrics["val_accuracy"], "2026-11-26") for end in ends]
