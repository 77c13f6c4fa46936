"""Tables of a comparison: all numbers for programs, and few columns of text for people."""

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dlexp.comparison.compare import Comparison, Pair, Summary
from dlexp.comparison.fairness import spelled
from dlexp.comparison.groups import Entry
from dlexp.comparison.seeds import Interval, Mean
from dlexp.comparison.sweep import SweepAnalysis
from dlexp.comparison.units import Unit
from dlexp.machine.units import format_bytes, format_seconds

_COSTS = ("seconds", "num_parameters", "peak_memory_bytes")
_MOST_STANDINGS = 20
_SHORT = 10.0  # seconds, which have a decimal


def tabulate_groups(comparison: Comparison) -> pd.DataFrame:
    """Makes a table with one row per group, best mean first, and numbers in the units of the metric.

    Columns: group; every setting by which runs are grouped; finished and started (runs); mean, sd, low, high (95 %
    interval of the mean), least and greatest; difference to the baseline with difference_low, difference_high, p (by
    Holm, where several are compared) and verdict, empty for the baseline; and the costs, medians over the runs:
    seconds, num_parameters, peak_memory_bytes.
    """
    of_group = {pair.a: pair for pair in comparison.pairs}
    return pd.DataFrame([_row(summary, of_group.get(summary.group.name)) for summary in comparison.summaries])


def tabulate_for_people(comparison: Comparison) -> pd.DataFrame:
    """Makes a table of text with one row per group, best mean first."""
    of_group, unit = {pair.a: pair for pair in comparison.pairs}, comparison.unit
    rows = []
    for summary in comparison.summaries:
        row = {"group": summary.group.name, "runs": summary.ended}
        if mean := summary.mean:
            row[unit.metric] = _spell_mean(mean)
            row["95 % interval"] = f"{mean.interval.low:.4f} to {mean.interval.high:.4f}" if mean.interval else ""
        row |= _compared(summary, of_group.get(summary.group.name), unit)
        costs = _costs(summary.group.entries)
        row["time"] = _spell_seconds(costs["seconds"])
        row["parameters"] = f"{costs['num_parameters']:,.0f}" if costs["num_parameters"] is not None else ""
        row["peak memory"] = format_bytes(int(costs["peak_memory_bytes"])) if costs["peak_memory_bytes"] else ""
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def tabulate_standings(analysis: SweepAnalysis) -> pd.DataFrame:
    """Makes a table with one row per setting of a sweep, best first.

    Columns: rank; every setting by which runs are grouped; n (finished seeds); validation, sd, low, high (95 % interval
    over seeds); win_share; p (of the difference to the winner, by Holm); separable.
    """
    return pd.DataFrame(
        [
            {
                "rank": rank,
                **standing.group.settings,
                "n": standing.validation.n,
                "validation": standing.validation.value,
                "sd": standing.validation.sd,
                **_ends("", standing.validation.interval),
                "win_share": standing.win_share,
                "p": standing.adjusted_p,
                "separable": standing.is_separable,
            }
            for rank, standing in enumerate(analysis.standings, start=1)
        ]
    )


def tabulate_standings_for_people(analysis: SweepAnalysis) -> pd.DataFrame:
    """Makes a table of text with the winner of a sweep and the settings that cannot be told from it, best first."""
    shown = [analysis.standings[0], *analysis.inseparable][:_MOST_STANDINGS]
    return pd.DataFrame(
        [
            {
                **{name: spelled(value) for name, value in standing.group.settings.items()},
                "runs": str(standing.validation.n),
                analysis.unit.metric: _spell_mean(standing.validation),
                "wins": "" if standing.win_share is None else f"{standing.win_share:.1%}",
                "p": "winner" if standing is shown[0] else _spell_p(standing.adjusted_p),
            }
            for standing in shown
        ]
    )


def to_markdown(table: pd.DataFrame) -> str:
    """Returns a table of text as Markdown."""
    rows = [table.columns.tolist(), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    cells = ([str(cell).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def to_latex(table: pd.DataFrame) -> str:
    """Returns a table of text as LaTeX for the package booktabs."""
    return str(
        table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1).to_latex(hrules=True)
    )


def _spell_mean(mean: Mean) -> str:
    return f"{mean.value:.4f}" + (f" ± {mean.sd:.4f}" if mean.sd is not None else "")


def _spell_seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s" if seconds < _SHORT else format_seconds(seconds)


def _spell_p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 1e-3 else f"{p:.3f}"


def _compared(summary: Summary, pair: Pair | None, unit: Unit) -> dict[str, str]:
    if pair is None:
        return {"difference": "baseline" if summary.mean else "none finished", "p": "", "verdict": ""}
    found = pair.difference or pair.checkpoints
    assert found is not None or summary.mean is not None
    if found is None:
        return {"verdict": str(pair.verdict.outcome)}
    text = unit.number(found.value, signed=True)
    if found.interval is not None:
        text += f" ({unit.number(found.interval.low, signed=True)} to {unit.number(found.interval.high, signed=True)})"
    p = found.p if pair.adjusted_p is None else pair.adjusted_p
    return {"difference": text, "p": _spell_p(p), "verdict": str(pair.verdict.outcome)}


def _row(summary: Summary, pair: Pair | None) -> dict[str, Any]:
    mean, group = summary.mean, summary.group
    found = (pair.difference or pair.checkpoints) if pair else None
    p = (found.p if pair is None or pair.adjusted_p is None else pair.adjusted_p) if found else None
    return {
        "group": group.name,
        **group.settings,
        "finished": len(group.values),
        "started": summary.started,
        "mean": mean.value if mean else None,
        "sd": mean.sd if mean else None,
        **_ends("", mean.interval if mean else None),
        "least": mean.least if mean else None,
        "greatest": mean.greatest if mean else None,
        "difference": found.value if found else None,
        **_ends("difference_", found.interval if found else None),
        "p": p,
        "verdict": str(pair.verdict.outcome) if pair else "",
        **_costs(group.entries),
    }


def _ends(prefix: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _costs(entries: Sequence[Entry]) -> dict[str, float | None]:
    costs = {}
    for name in _COSTS:
        known = [float(entry.columns[name]) for entry in entries if entry.columns.get(name) is not None]
        costs[name] = statistics.median(known) if known else None
    return costs
