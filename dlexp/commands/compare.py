"""`dlexp compare`: which of several settings is best, whether the comparison is fair, and what would settle it."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlexp.commands.tables import LISTING_FLAGS, write_table
from dlexp.config.command import Command, CommandLine, Positionals
from dlexp.config.json_values import json_value
from dlexp.config.spelling import parse_names
from dlexp.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from dlexp.comparison.compare import Comparison
    from dlexp.comparison.sweep import SweepAnalysis

_ONE_GROUP = "nothing is compared: the runs are one group, as they differ in no setting but their seeds"
_OF_GROUPS = ("baseline", "margin", "output", "strict", "verdict")
_FORMATS = ("table", "json", "csv", "markdown", "latex")


def _compare(line: CommandLine) -> int:
    options = line.options
    if options["format"] not in _FORMATS:
        raise unknown_name("format", options["format"], _FORMATS)
    if sum(map(bool, (line.positionals, options["where"], options["sweep"]))) != 1:
        raise ConfigError(f"{line.program} needs either runs, --where or --sweep: {line.program} {COMMAND.example}")
    if options["sweep"] and not options["group_by"]:
        if unused := [f"--{name}" for name in _OF_GROUPS if options[name]]:
            raise ConfigError(
                f"{' and '.join(unused)} cannot be used with --sweep={options['sweep']} alone, whose settings are "
                "compared with the winner: add --group_by, such as --group_by=model"
            )
        from dlexp.comparison.sweep import analyze_sweep

        metric = options["metric"] if "metric" in line.given else "val_accuracy"
        _show_sweep(analyze_sweep(options["sweep"], store=options["store"], metric=metric), options["format"])
        return 0
    from dlexp.comparison.compare import compare_runs
    from dlexp.comparison.verdict import EXIT_CODES

    comparison = compare_runs(
        line.positionals,
        where=f"sweep == {options['sweep']!r}" if options["sweep"] else options["where"],
        group_by=parse_names(options["group_by"]),
        metric=options["metric"],
        baseline=options["baseline"],
        margin=options["margin"],
        store=options["store"],
    )
    _show_comparison(comparison, options["format"])
    if options["output"]:
        from dlexp.comparison.page import write_page

        write_page(comparison, pathlib.Path(options["output"]))
        print(pathlib.Path(options["output"]).resolve(), file=sys.stderr if options["format"] == "json" else sys.stdout)
    if options["strict"] and comparison.disagreements:
        return 1
    return EXIT_CODES[comparison.outcome] if options["verdict"] else 0


def _show_comparison(comparison: "Comparison", output_format: str) -> None:
    from dlexp.comparison.tables import tabulate_for_people, tabulate_groups

    numbers = tabulate_groups(comparison)
    verdicts = [
        {"group": pair.a, "outcome": pair.verdict.outcome, "sentence": pair.verdict.sentence,
         "seeds_needed": pair.verdict.seeds}
        for pair in comparison.pairs
    ]  # fmt: skip
    values = {
        "metric": comparison.unit.metric,
        "baseline": comparison.baseline,
        "verdicts": verdicts,
        "disagreements": list(map(dataclasses.asdict, comparison.disagreements)),
        "groups": numbers.to_dict("records"),
    }
    unfair = [f"not fair: {disagreement}" for disagreement in comparison.disagreements]
    sentences = [pair.verdict.sentence for pair in comparison.pairs] or [_ONE_GROUP]
    _show(output_format, values, numbers, tabulate_for_people(comparison), [*sentences, *unfair])


def _show_sweep(analysis: "SweepAnalysis", output_format: str) -> None:
    from dlexp.comparison.tables import tabulate_standings, tabulate_standings_for_people

    numbers = tabulate_standings(analysis)
    values = {
        "sweep": analysis.name,
        "metric": analysis.unit.metric,
        "sentences": analysis.sentences(),
        "corrected": analysis.selection.corrected if analysis.selection else None,
        "optimism": analysis.selection.optimism if analysis.selection else None,
        "test": None if analysis.test is None else dataclasses.asdict(analysis.test),
        "unfinished": analysis.unfinished,
        "settings": numbers.to_dict("records"),
    }
    _show(output_format, values, numbers, tabulate_standings_for_people(analysis), analysis.sentences())


def _show(
    output_format: str,
    values: Mapping[str, Any],
    numbers: "pd.DataFrame",
    texts: "pd.DataFrame",
    sentences: Sequence[str],
) -> None:
    """Prints all values as JSON, or a table of numbers (CSV) or texts; sentences follow a table, else go to stderr."""
    from dlexp.comparison.tables import to_latex, to_markdown

    match output_format:
        case "json":
            print(json.dumps(json_value(values, strict=True), indent=2))
            return
        case "csv":
            write_table(numbers, output_format="csv", columns=())
        case "table":
            write_table(texts, output_format="table", columns=texts.columns.tolist())
        case _:
            print(to_markdown(texts) if output_format == "markdown" else to_latex(texts))
    for text in sentences:
        print(text, file=sys.stdout if output_format == "table" else sys.stderr)


COMMAND = Command(
    run=_compare,
    example="--where=\"experiment == 'fair'\" --group_by=model",
    description=(
        "Runs that differ only in their seeds are one group. Groups are compared by their means over seeds, two single "
        "runs by their answers to the same examples. With --sweep, the winner by validation is shown, and how much of "
        "its score is the luck of the selection.\n\n"
        "With --verdict the exit code is the verdict on the only group beside the baseline: 0 better, 10 equal within "
        "--margin, 11 worse, 12 undecided."
    ),
    flags={
        "store": LISTING_FLAGS["store"],
        "where": LISTING_FLAGS["where"],
        "sweep": ("", "Name of a sweep: its winner, how much of its score is luck, and what cannot be told from it."),
        "group_by": ("", "Columns that are compared on purpose, such as model,learning_rate; empty: all that differ."),
        "metric": ("test_accuracy", "Metric that is compared; with :min or :max for a metric of a plug-in."),
        "baseline": ("", "Group, or a run of it, that all others are compared with; empty: that of the first run."),
        "margin": (0.0, "Difference that does not matter, in points for accuracies (0.5: half a percent); 0: none."),
        "format": ("table", "Output format: table, json, csv, markdown or latex."),
        "output": ("", "HTML report to write: verdict, fairness, intervals, curves, cost and classes in one file."),
        "strict": (False, "Exit with 1 if the comparison is not fair."),
        "verdict": (False, "Exit with the verdict: 0 better, 10 equal, 11 worse, 12 undecided."),
    },
    positionals=Positionals(usage="RUN...", meaning="runs, --where or --sweep", most=None),
)
