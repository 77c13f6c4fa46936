"""`dlexp batch-size`: measures which model needs the most memory, and the largest batch that fits all of them."""

import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlexp.commands.tables import check_format, write_table
from dlexp.config.command import Command, CommandLine
from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.spelling import parse_names
from dlexp.errors import ConfigError
from dlexp.machine.atomic import write_text_atomically
from dlexp.machine.console import note
from dlexp.machine.units import format_bytes, parse_seconds
from dlexp.sweeps.space.candidates import read_candidates
from dlexp.sweeps.space.runs_file import Commands

if TYPE_CHECKING:
    from dlexp.memory.throughput import Speed

_SOURCES = ("models", "space", "space_file", "runs_file", "flagfiles")
_FLAGS: dict[str, tuple[Any, str]] = {
    "models": ("", "Names of the models, such as resnet20,vit_tiny; by default that of --model."),
    "space": ("", "The space of a sweep: every combination of its values that may need another amount of memory."),
    "space_file": ("", "JSON file with such a space."),
    "runs_file": ("", "File with the flags of one run on each line."),
    "flagfiles": ("", "Flagfiles of one run each, joined by commas."),
    "memory_budget": (
        "",
        "Memory that a training may use, such as 8GiB; by default that of the GPU, or without one what is available.",
    ),
    "margin": ("10%", "Share of the budget that stays free, for what a short measurement does not see."),
    "device": ("auto", "Device to measure on: auto (the first GPU, or the CPU if there is none), cpu, gpu or gpu:N."),
    "multiple_of": (0, "Choose multiples of this number; 0: powers of two."),
    "probe_time_limit": ("10m", "Give up a model if one of its probes takes longer: 90s, 10m."),
    "throughput": (
        False,
        "Then measure how fast the heaviest model trains with this batch and smaller ones, whole and in micro-batches, "
        "and choose the fastest.",
    ),
    "output": ("batch_size.flags", "Flagfile to write, with --batch_size and how it was found."),
    "picture": ("", "PNG file to draw; by default that of --output, with .png."),
    "format": ("table", "Output format: table (for people), json or csv (sizes in bytes)."),
}
_DESCRIPTION = (
    "Trains every model for a few steps in separate processes, with two batches, predicts the largest batch that fits "
    "from them, and confirms it with a third training. Accepts every flag of dlexp train too, for all models: see "
    "dlexp train --help."
)


def _find_batch_size(line: CommandLine) -> int:
    """Runs `dlexp batch-size`; returns 0, or 1 if no batch size was found."""
    from dlexp.memory.budget import find_budget
    from dlexp.memory.choice import unlike_candidates
    from dlexp.memory.largest_batch import SearchSettings, common_size, find_largest_batches, heaviest_of
    from dlexp.memory.results import advice_lines, flagfile_text, problem_lines, result_sentence
    from dlexp.memory.throughput import measure_speeds

    options = line.options
    check_format(options["format"])
    if options["multiple_of"] < 0:
        raise ConfigError(f"--multiple_of={options['multiple_of']} must be 0 (powers of two) or more")
    budget = find_budget(device=options["device"], memory=options["memory_budget"], margin=options["margin"])
    limit = parse_seconds("probe_time_limit", options["probe_time_limit"])
    output = pathlib.Path(options["output"])
    _make_folder(output)
    candidates = unlike_candidates(
        config.replace(batch_size=1, micro_batch_size=0) for config in _read_configs(options, line.config)
    )
    models = "1 model" if len(candidates) == 1 else f"{len(candidates)} models"
    note(f"measuring {models} within {budget}, {budget.margin:.0%} of it free")
    found = find_largest_batches(
        candidates, budget, SearchSettings(multiple_of=options["multiple_of"], time_limit_s=limit), report=note
    )
    _print_table(found, options["format"])
    size, heaviest = common_size(found), heaviest_of(found)
    for line_of_problem in problem_lines(found):
        note(line_of_problem)
    note(result_sentence(found, budget))
    if size is None or heaviest is None:
        return 1
    flags = {"batch_size": size}
    if options["throughput"]:
        speeds = measure_speeds(heaviest.config, size, budget, time_limit_s=limit, report=note)
        if speeds and options["format"] == "table":
            note(f"speed of {heaviest.name}, the fastest first:")
            _print_speeds(speeds)
        flags = _flags_of_fastest(speeds) or flags
    for advice in advice_lines(found, line.config):
        note(advice)
    write_text_atomically(output, flagfile_text(found, budget, flags))
    picture = pathlib.Path(options["picture"] or output.with_suffix(".png"))
    from dlexp.memory.picture import draw_memory

    draw_memory(found, budget, picture)
    note(f"{output} fixes {_spelled(flags)} for dlexp train and dlexp sweep; {picture} shows the measurements")
    return 0


def _read_configs(options: Mapping[str, Any], base: ExperimentConfig) -> Iterable[ExperimentConfig]:
    from dlexp.memory.choice import MEMORY_FIELDS

    given = [name for name in _SOURCES if options[name]]
    if len(given) > 1:
        raise ConfigError(f"--{' and --'.join(given)} each name models: give one of them")
    if not given:
        return [base]
    if options["models"]:
        names = parse_names(options["models"])
        if not names:
            raise ConfigError(f"--models={options['models']} names no model: give names, such as resnet20,vit_tiny")
        return [base.replace(model=name) for name in names]
    if options["flagfiles"]:
        lines = [f"--flagfile={shlex.quote(path)}" for path in parse_names(options["flagfiles"])]
        return Commands.parse(lines, base, origin="--flagfiles").corner_configs()
    return read_candidates(options, base).combinations(MEMORY_FIELDS)


def _make_folder(output: pathlib.Path) -> None:
    """Makes the folder of a file, before minutes are spent on what it will hold."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"--output={output} cannot be written: {err}: give another path") from err
    if output.is_dir():
        raise ConfigError(f"--output={output} is a folder: give the path of a file")


def _print_speeds(speeds: Sequence["Speed"]) -> None:
    import pandas as pd

    rows = [
        {
            "batch size": str(speed.batch_size),
            "micro-batch": str(speed.micro_batch_size or "whole"),
            "images/s": f"{speed.images_per_second:,.0f}",
            "peak": format_bytes(speed.peak_bytes),
        }
        for speed in speeds
    ]
    write_table(pd.DataFrame(rows), output_format="table", columns=list(rows[0]))


def _flags_of_fastest(speeds: Sequence["Speed"]) -> dict[str, int]:
    """The flags of the fastest training; none if nothing was measured."""
    if not speeds:
        return {}
    best = speeds[0]
    micro = {"micro_batch_size": best.micro_batch_size} if best.micro_batch_size else {}
    return {"batch_size": best.batch_size, **micro}


def _spelled(flags: Mapping[str, int]) -> str:
    return " ".join(f"--{name}={value}" for name, value in flags.items())


def _print_table(found: Sequence[Any], output_format: str) -> None:
    import pandas as pd

    from dlexp.memory.results import table_rows, table_texts

    table = pd.DataFrame(table_texts(found) if output_format == "table" else table_rows(found))
    write_table(table, output_format=output_format, columns=list(table.columns))


COMMAND = Command(
    run=_find_batch_size,
    example="--models=resnet20,vit_tiny --dataset=digits --memory_budget=2GiB",
    description=_DESCRIPTION,
    flags=_FLAGS,
    config_flags=config_fields(),
    listed_config_flags=("dataset", "image_size", "store"),
)
