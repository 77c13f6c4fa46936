"""Shows a running sweep on stderr: as a live table on a terminal, as plain lines otherwise."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dlexp.machine.units import format_seconds
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.plan import SweepPlan, read_plan
from dlexp.sweeps.ranking import RankedPoint, pareto_front, rank_points

if TYPE_CHECKING:
    from dlexp.sweeps.driver import SweepDriver

_SECONDS_BETWEEN_TABLES = 0.5
_MOST_SHOWN = 5


class Display:
    """Prints plain lines to stderr, one for each trial that ends.

    Args:
        plan: the plan of the sweep.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self._plan = plan
        self._shown: set[tuple[int, int]] = set()

    def changed(self, trial: Trial) -> None:
        """Prints a line when a trial has ended."""
        if trial.state.has_ended:
            self.print_line(describe_trial(trial, self._plan))
        elif trial.state is TrialState.WAITING and trial.reason and (trial.number, trial.attempts) not in self._shown:
            self._shown.add((trial.number, trial.attempts))
            self.print_line(f"trial {trial.number}  {trial.reason}: it will be started again from its checkpoint")

    def refresh(self, driver: "SweepDriver") -> None:
        """Redraws the display; plain lines need no redrawing."""

    def print_line(self, line: str) -> None:
        """Writes one line to stderr immediately."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Restores the terminal."""


class LiveDisplay(Display):
    """A table at the bottom of the terminal, with a line above it for each trial that ends."""

    def __init__(self, plan: SweepPlan) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(plan)
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._next_table = 0.0

    def refresh(self, driver: "SweepDriver") -> None:
        """Draws the table, at most twice a second."""
        if (now := time.monotonic()) < self._next_table:
            return
        self._next_table = now + _SECONDS_BETWEEN_TABLES
        self._live.update(_live_table(driver, now), refresh=True)

    def print_line(self, line: str) -> None:
        """Writes one line above the table."""
        self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        """Removes the table."""
        self._live.stop()


def build_display(plan: SweepPlan) -> Display:
    """Returns a live table if stderr is a terminal, else plain lines."""
    return LiveDisplay(plan) if sys.stderr.isatty() else Display(plan)


def describe_trial(trial: Trial, plan: SweepPlan) -> str:
    """Returns one line: number, state, values, time, the parameters that vary, and why it failed."""
    values = "  ".join(f"{name} {value:.4f}" for name, value in trial.values.items())
    parts = [f"trial {trial.number}", str(trial.state).lower(), values, _label(trial, plan)]
    if trial.reused_from is None:
        parts.insert(3, f"{trial.seconds:.1f} s")
    if trial.reason:
        parts.append(f"({trial.reason.splitlines()[0]})")
    return "  ".join(filter(None, parts))


def print_status(folder: SweepFolder) -> None:
    """Prints the state of a sweep to stdout: counts, running trials, best points, and last the path of its folder."""
    plan, trials = read_plan(folder.name, folder.record()["plan"]), folder.trials()
    counts = count_states(trials)
    total = plan.total_points()
    of = f" of {total * plan.seeds}" if total else ""
    driven = ", in progress" if folder.is_driven() else ""
    print(f"sweep {folder.name}: {len(trials)}{of} trials{driven}: {_counts_text(counts)}")
    for trial in trials:
        if trial.state is TrialState.RUNNING and driven:
            print(f"  running: trial {trial.number}  epoch {trial.epochs}  {_label(trial, plan)}")
    ranked = rank_points(trials, plan)
    if ranked and len(plan.objectives) > 1:
        print("Pareto front:")
        ranked = pareto_front(ranked, plan.objectives)
    elif ranked:
        print(f"best by {plan.objectives[0].name}:")
    for place, point in enumerate(ranked[:_MOST_SHOWN], start=1):
        print(f"  {place}. {describe_point(point, plan)}")
    for trial in [trial for trial in trials if trial.state is TrialState.FAILED][:_MOST_SHOWN]:
        print(f"  {describe_trial(trial, plan)}")
    print(folder.path)


def describe_point(point: RankedPoint, plan: SweepPlan) -> str:
    """Returns one line: mean values, number of seeds, the parameters that vary, and the trials of a point."""
    values = "  ".join(f"{name} {value:.4f}" for name, value in point.values.items())
    seeds = f" (mean of {len(point.trials)})" if plan.seeds > 1 else ""
    trials = ", ".join(str(trial.number) for trial in point.trials)
    return f"{values}{seeds}  {plan.candidates.label(point.trials[0].point)}  trial {trials}"


def count_states(trials: Iterable[Trial]) -> dict[TrialState, int]:
    """Counts the trials in each state."""
    counts = dict.fromkeys(TrialState, 0)
    for trial in trials:
        counts[trial.state] += 1
    return counts


def _counts_text(counts: dict[TrialState, int]) -> str:
    return ", ".join(f"{count} {str(state).lower()}" for state, count in counts.items() if count) or "none yet"


def _label(trial: Trial, plan: SweepPlan) -> str:
    seed = f" seed={trial.seed}" if plan.seeds > 1 else ""
    return plan.candidates.label(trial.point) + seed


def _live_table(driver: "SweepDriver", now: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    plan, trials = driver.plan, list(driver.trials.values())
    table = Table.grid(padding=(0, 2))
    for row in [*_running_rows(driver, now), *_best_rows(trials, plan), ("", _rate_text(driver, trials, now))]:
        table.add_row(*map(Text, row))  # brackets in a value are not markup
    return table


def _running_rows(driver: "SweepDriver", now: float) -> list[tuple[str, str]]:
    plan, rows = driver.plan, []
    for number, began in driver.running.items():
        trial = driver.trials[number]
        epochs = plan.candidates.config(trial.point).optimization.epochs
        rows.append((f"trial {number}", f"epoch {trial.epochs}/{epochs}  {now - began:.0f} s  {_label(trial, plan)}"))
    return rows


def _best_rows(trials: Sequence[Trial], plan: SweepPlan) -> list[tuple[str, str]]:
    ranked = rank_points(trials, plan)
    return [("best", describe_point(ranked[0], plan))] if ranked else []


def _rate_text(driver: "SweepDriver", trials: Sequence[Trial], now: float) -> str:
    """Returns counts, trials per hour since this start, and the time left at that rate."""
    elapsed = now - driver.started
    text = f"{_counts_text(count_states(trials))}  {format_seconds(elapsed)}"
    per_hour = 3600 * driver.ended_now / elapsed if elapsed > 0 else 0.0
    if not per_hour:
        return text
    text += f"  {per_hour:,.0f} trials/h"
    total = driver.plan.total_points()
    if total is None:
        return text
    left = max(0, total * driver.plan.seeds - sum(trial.state.has_ended for trial in trials))
    return f"{text}  {format_seconds(left / per_hour * 3600)} left"
