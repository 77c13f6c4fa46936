"""`dlexp data`: what a dataset holds, how it looks, what is wrong with it, and whether it is still the recorded one."""

import json
import logging
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from absl import flags

from dlexp.config.dataset_expression import parse_expression
from dlexp.config.experiment_config import ExperimentConfig, config_sections
from dlexp.config.flags import config_from_flags, define_experiment_flags, define_flags, parse_flags
from dlexp.config.help import HELP_WORDS, command_help, field_help
from dlexp.errors import ConfigError, unknown_name
from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import SOURCES, load_plugins

if TYPE_CHECKING:
    from dlexp.datasets import Dataset
    from dlexp.runs.run import Run

_CONFIG_FLAGS = (*config_sections()["data"], "store", "plugins")
_FORMAT = ("table", "table (for people), json or csv.")


@dataclass(frozen=True)
class DataTarget:
    """What a subcommand is about.

    Attributes:
        config: whose data section names the dataset.
        run: the run that was named; None if it was a dataset.
        options: own flags of the subcommand, by name.
    """

    config: ExperimentConfig
    run: "Run | None"
    options: Mapping[str, Any]

    def open(self, *, pixels: bool = True, **changes: Any) -> "Dataset":
        """Opens the dataset, even one that could not be trained on.

        Args:
            pixels: they will be read, for which encoded images need TensorFlow.
            changes: fields of the config with other values.
        """
        from dlexp.datasets import open_dataset
        from dlexp.datasets.sources.combined import are_encoded

        dataset = open_dataset(replace(self.config.data, **changes), trainable=False)
        if pixels and are_encoded(dataset.source).any():
            with importing_tensorflow():
                import dlexp.datasets.images.decoding  # noqa: F401
        return dataset


@dataclass(frozen=True)
class Subcommand:
    """One of `dlexp data`: what its help says, its own flags with default and text, and what it does."""

    summary: str
    flags: Mapping[str, tuple[Any, str]]
    act: Callable[[DataTarget], int]


def data(argv: Sequence[str]) -> int:
    """Runs `dlexp data SUBCOMMAND DATASET|RUN`.

    Args:
        argv: how the command is called, then its words.

    Returns:
        Exit code; errors are raised.
    """
    program, *words = argv
    if not words or words[0] in HELP_WORDS:
        print(_usage(program))
        return 0
    name, *words = words
    if name not in SUBCOMMANDS:
        raise unknown_name("subcommand", name, SUBCOMMANDS)
    subcommand = SUBCOMMANDS[name]
    if any(word in HELP_WORDS for word in words):
        print(command_help(f"{program} {name} DATASET|RUN", subcommand.summary, {**subcommand.flags, **_config_help()}))
        return 0
    values = flags.FlagValues()
    define_experiment_flags(values, names=_CONFIG_FLAGS)
    define_flags(values, subcommand.flags)
    named = parse_flags(values, [f"{program} {name}", *words], max_positionals=1)
    if not named and not values["dataset"].present:
        raise ConfigError(f"{program} {name} needs a dataset or a run: {program} {name} folder:photos")
    logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)
    options = {option: values[option].value for option in subcommand.flags}
    return subcommand.act(_find_subject(config_from_flags(values), named, options))


def _usage(program: str) -> str:
    commands = "\n".join(f"  {name:<10}{subcommand.summary}" for name, subcommand in SUBCOMMANDS.items())
    return (
        f"usage: {program} SUBCOMMAND DATASET|RUN [--flag=value ...]\n\nsubcommands:\n{commands}\n\n"
        "DATASET is written as for dlexp train --dataset; RUN is a run ID or prefix, a name, a folder or latest, of\n"
        "--store=mlruns.\n"
        f"{program} SUBCOMMAND --help lists the flags."
    )


def _config_help() -> dict[str, tuple[Any, str]]:
    defaults = ExperimentConfig().flat()
    return {name: (defaults[name], field_help(name)) for name in _CONFIG_FLAGS}


def _find_subject(config: ExperimentConfig, named: Sequence[str], options: Mapping[str, Any]) -> DataTarget:
    from dlexp.runs.recipe import config_of_moved_data, resolve_recipe
    from dlexp.runs.store import find_run

    load_plugins(config.plugins)
    text = named[0] if named else config.data.dataset
    if text.startswith("recipe:") or ":" in text or parse_expression(text, SOURCES.names())[0].kind in SOURCES:
        return DataTarget(resolve_recipe(config.replace(dataset=text)), None, options)
    run = find_run(text, config.tracking.store)
    of_run = config_of_moved_data(run, config.data.data_dir) if config.data.data_dir else run.config()
    load_plugins(of_run.plugins)
    return DataTarget(of_run, run, options)


def _describe(subject: DataTarget) -> int:
    from dlexp.datasets.inspection.description import describe_dataset, describe_in_lines, measure_channels

    dataset = subject.open()
    description = describe_dataset(dataset)
    channels = measure_channels(dataset)
    if subject.options["format"] == "json":
        print(json.dumps(description | {"channels": channels}, indent=2))
        return 0
    print("\n".join(describe_in_lines(description)))
    sizes = ", ".join(f"{size} ({count:,})" for size, count in description["sizes"].items())
    print(f"\nsizes (height x width): {sizes}")
    print(f"channels: mean {channels['mean']}, std {channels['std']} over {channels['images']:,} training images")
    return 0


def _draw_samples(subject: DataTarget) -> int:
    from dlexp.reports.dataset_samples import write_samples

    dataset = subject.open()
    path = pathlib.Path(subject.options["output"] or f"samples-{dataset.name}.png")
    write_samples(dataset, path, per_class=subject.options["per_class"])
    print(path)
    return 0


def _check(subject: DataTarget) -> int:
    from dlexp.commands.tables import write_table
    from dlexp.datasets.inspection.duplicates import find_duplicates
    from dlexp.datasets.inspection.findings import SEVERITIES, find_problems
    from dlexp.datasets.sources.combined import damage_of

    dataset, options = subject.open(on_bad_image="skip"), subject.options
    duplicates = find_duplicates(dataset, near_duplicates=options["near_duplicates"])
    problems = find_problems(dataset, duplicates, damage_of(dataset.source))
    write_table(problems, output_format=options["format"], columns=list(problems.columns))
    counts = problems["severity"].value_counts()
    told = ", ".join(f"{counts.get(severity, 0)} {severity}(s)" for severity in SEVERITIES)
    print(f"{dataset.name} ({dataset.id}), {len(dataset.manifest):,} examples: {told}", file=sys.stderr)
    if options["output"]:
        from dlexp.reports.duplicates import draw_duplicates

        draw_duplicates(pathlib.Path(options["output"]), dataset, duplicates.groups)
        print(options["output"], file=sys.stderr)
    return int(options["strict"] and bool(counts.get("error", 0)))


def _verify(subject: DataTarget) -> int:
    from dlexp.datasets.inspection.verification import compare_with_record

    if subject.run is None:
        raise ConfigError(
            "dlexp data verify needs a run, whose record the data is compared with: dlexp data verify RUN"
        )
    differences = compare_with_record(subject.run.manifest(), subject.config.data)
    if subject.options["format"] == "json":
        print(json.dumps(differences.to_dict("records"), indent=2))
    else:
        print(_tell_differences(subject.run.id[:8], differences))
    return int(not differences.empty)


def _tell_differences(run: str, differences: Any) -> str:
    if differences.empty:
        return f"the data is what run {run} saw: every byte was read"
    first = "\n".join(f"  {row.key}: {row.difference}" for row in differences.head(_MOST_TOLD).itertuples())
    more = f"\n  ... and {len(differences) - _MOST_TOLD:,} more" if len(differences) > _MOST_TOLD else ""
    return f"the data is not what run {run} saw, {len(differences):,} differences:\n{first}{more}"


def _pack(subject: DataTarget) -> int:
    from dlexp.datasets.packing import write_pack

    dataset = subject.open()
    folder = pathlib.Path(subject.options["output"] or f"{dataset.name}.pack")
    write_pack(dataset, folder, shard_bytes=subject.options["shard_mb"] * 2**20)
    print(folder)
    return 0


def _write_recipe(subject: DataTarget) -> int:
    from dlexp.machine.atomic import write_text_atomically
    from dlexp.runs.recipe import make_recipe, recipe_text

    dataset = subject.open(pixels=False)
    recipe = make_recipe(subject.config.data, dataset_name=dataset.name, dataset_id=dataset.id)
    output = subject.options["output"]
    text = recipe_text(recipe, as_flags=output.endswith(".flags"))
    if not output:
        sys.stdout.write(text)
        return 0
    write_text_atomically(pathlib.Path(output), text)
    print(output)
    return 0


_MOST_TOLD = 20
SUBCOMMANDS: dict[str, Subcommand] = {
    "describe": Subcommand("name, ID, sources, counts, sizes and channel statistics", {"format": _FORMAT}, _describe),
    "samples": Subcommand(
        "draw the first examples of each class",
        {
            "output": ("", "PNG file to write; samples-NAME.png by default."),
            "per_class": (10, "Examples of each class."),
        },
        _draw_samples,
    ),
    "check": Subcommand(
        "find damaged files, copies, leaks between splits, contradicting labels, odd sizes and modes",
        {
            "format": _FORMAT,
            "strict": (False, "Exit with 1 if there is an error: a damaged file, a leak, a contradiction."),
            "near_duplicates": (True, "Look for re-encoded, resized and mirrored copies too, which reads every image."),
            "output": ("", "PNG file for a picture of the groups of copies; empty: none."),
        },
        _check,
    ),
    "verify": Subcommand(
        "is the data still what a run saw? Reads every byte; exits with 1 if not", {"format": _FORMAT}, _verify
    ),
    "pack": Subcommand(
        "write a dataset into a few large files, for --dataset=pack:PATH",
        {"output": ("", "Folder to write; NAME.pack by default."), "shard_mb": (256, "About the size of a file.")},
        _pack,
    ),
    "recipe": Subcommand(
        "write what --dataset=recipe:PATH makes the same dataset from",
        {"output": ("", "File to write: JSON, or lines of a flagfile if it ends with .flags; empty: to stdout.")},
        _write_recipe,
    ),
}
