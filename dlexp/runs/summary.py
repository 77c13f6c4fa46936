"""Prints the result at the end of a training run, and suggests the next command."""

import sys

from rich.console import Console
from rich.table import Table

from dlexp.config.spelling import store_option
from dlexp.runs.result import ExperimentResult


def print_summary(result: ExperimentResult, *, store: str) -> None:
    """Prints the result to stdout; the last line is the path of the run folder."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(result):
        table.add_row(name, text)
    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(table, highlight=False)
    option = store_option(store)
    console.print(f"\nnext: dlexp runs{option}, or dlexp ui{option}", highlight=False, markup=False)
    print(result.run.path)


def _rows(result: ExperimentResult) -> list[tuple[str, str]]:
    metrics = result.metrics
    return [
        ("run", f"{result.name} ({result.run.id[:8]})"),
        ("best epoch", str(result.best_epoch)),
        *((key, f"{metrics[key]:.4f}") for key in metrics if key.startswith(("val_", "test_"))),
        *([("caution", caution)] if (caution := result.run.record().get("caution")) else []),
        ("time", f"{result.seconds:.1f} s"),
    ]
