"""`dlexp data`: describes, draws, checks, verifies and packs datasets, and writes their recipes."""

import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlexp.commands.tables import check_format, write_table
from dlexp.config.command import Command, CommandGroup, CommandLine, Positionals
from dlexp.config.dataset_expression import parse_expression
from dlexp.config.experiment_config import ExperimentConfig, config_sections
from dlexp.errors import ConfigError
from dlexp.machine.startup import importing_tensorflow
from dlexp.plugins import load_plugins
from dlexp.registry import SOURCES

if TYPE_CHECKING:
    import pandas as pd

    from dlexp.datasets import Dataset
    from dlexp.runs.run import Run

_WORDS = "DATASET|RUN"
_DESCRIPTION = """DATASET has the form of dlexp train --dataset. RUN is a run of the store, by default --store=mlruns: a
run ID or the start of one, a name, a folder, or latest."""
_MOST_SHOWN = 20
_FORMAT = ("table", "Output format: table (for people), json or csv.")


@dataclass(frozen=True)
class DataTarget:
    """The dataset or the run that a subcommand was given.

    Attributes:
        config: a config whose data section names the dataset.
        run: the run that was given; None if a dataset was given.
        options: values of the subcommand's own flags, by name.
    """

    config: ExperimentConfig
    run: "Run | None"
    options: Mapping[str, Any]

    def open(self, *, pixels: bool = True, **changes: Any) -> "Dataset":
        """Opens the dataset, even if no model could be trained on it.

        Args:
            pixels: whether pixels will be read; encoded images need TensorFlow for that.
            changes: config fields with other values.
        """
        from dlexp.datasets import open_dataset
        from dlexp.datasets.sources.combined import are_encoded

        dataset = open_dataset(replace(self.config.data, **changes), trainable=False)
        if pixels and are_encoded(dataset.source).any():
            with importing_tensorflow():
                import dlexp.datasets.images.decoding  # noqa: F401
        return dataset


def _find_target(line: CommandLine) -> DataTarget:
    from dlexp.runs.recipe import config_of_moved_data, resolve_recipe
    from dlexp.runs.store import find_run

    config, options = line.config, line.options
    _check_options(options)
    load_plugins(config.plugins)
    text = line.positionals[0] if line.positionals else config.data.dataset
    if text.startswith("recipe:") or ":" in text or parse_expression(text, SOURCES.names())[0].kind in SOURCES:
        return DataTarget(resolve_recipe(config.replace(dataset=text)), None, options)
    run = find_run(text, config.tracking.store)
    of_run = config_of_moved_data(run, config.data.data_dir) if config.data.data_dir else run.config()
    load_plugins(of_run.plugins)
    return DataTarget(of_run, run, options)


def _check_options(options: Mapping[str, Any]) -> None:
    check_format(options.get("format", "table"))
    for name in ("per_class", "shard_mb"):
        if options.get(name, 1) < 1:
            raise ConfigError(f"--{name}={options[name]} must be 1 or more")


def _check_output(output: str, *, ending: str = "", is_folder: bool = False) -> None:
    """Raises ConfigError if `--output` cannot be written, before a dataset is read; "" passes."""
    path = pathlib.Path(output)
    if not output:
        return
    if ending and path.suffix.lower() != ending:
        raise ConfigError(f"--output={output} must end with {ending}: only such a file is written")
    wanted, other = ("folder", "file") if is_folder else ("file", "folder")
    if path.exists() and path.is_dir() != is_folder:
        raise ConfigError(f"--output={output} is a {other}: give the path of a {wanted}")
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise ConfigError(f"--output={output} cannot be written into {str(parent)!r}: give another path")
            return


def _describe(target: DataTarget) -> int:
    from dlexp.datasets.inspection.description import describe_dataset, describe_in_lines, measure_channels

    if target.options["format"] == "csv":
        raise ConfigError("--format=csv is not available for dlexp data describe: use table or json")
    dataset = target.open()
    description = describe_dataset(dataset)
    channels = measure_channels(dataset)
    if target.options["format"] == "json":
        print(json.dumps(description | {"channels": channels}, indent=2))
        return 0
    print("\n".join(describe_in_lines(description)))
    sizes = ", ".join(f"{size} ({count:,})" for size, count in description["sizes"].items())
    print(f"\nsizes (height x width): {sizes}")
    print(f"channels: mean {channels['mean']}, std {channels['std']} over {channels['images']:,} training images")
    return 0


def _draw_samples(target: DataTarget) -> int:
    from dlexp.reports.dataset_samples import write_samples

    _check_output(target.options["output"], ending=".png")
    dataset = target.open()
    path = pathlib.Path(target.options["output"] or f"samples-{dataset.name}.png")
    write_samples(dataset, path, per_class=target.options["per_class"])
    print(path)
    return 0


def _check(target: DataTarget) -> int:
    from dlexp.datasets.inspection.duplicates import find_duplicates
    from dlexp.datasets.inspection.findings import SEVERITIES, find_problems
    from dlexp.datasets.sources.combined import damage_of

    _check_output(target.options["output"], ending=".png")
    dataset, options = target.open(on_bad_image="skip"), target.options
    duplicates = find_duplicates(dataset, near_duplicates=options["near_duplicates"])
    problems = find_problems(dataset, duplicates, damage_of(dataset.source))
    write_table(
        _spell_keys(problems, options["format"]), output_format=options["format"], columns=problems.columns.tolist()
    )
    counts = problems["severity"].value_counts()
    summary = ", ".join(f"{counts.get(severity, 0)} {severity}(s)" for severity in SEVERITIES)
    print(f"{dataset.name} ({dataset.id}), {len(dataset.manifest):,} examples: {summary}", file=sys.stderr)
    if options["output"]:
        from dlexp.reports.duplicates import draw_duplicates

        draw_duplicates(pathlib.Path(options["output"]), dataset, duplicates.groups)
        print(options["output"], file=sys.stderr)
    return int(options["strict"] and bool(counts.get("error", 0)))


def _spell_keys(problems: "pd.DataFrame", output_format: str) -> "pd.DataFrame":
    """Returns the findings with their keys as a format can hold them.

    JSON has the list of all keys, CSV one row for each key with the number of its finding, `table` the first five.
    """
    from dlexp.datasets.inspection.findings import cut_keys

    if output_format == "json":
        return problems.assign(keys=problems["keys"].map(list))
    if output_format == "table":
        return problems.assign(keys=problems["keys"].map(cut_keys))
    numbered = problems.assign(finding=range(len(problems)), keys=problems["keys"].map(lambda keys: keys or ("",)))
    rows = numbered.explode("keys").rename(columns={"keys": "key"})
    return rows[["finding", *(name if name != "keys" else "key" for name in problems)]]


def _verify(target: DataTarget) -> int:
    from dlexp.datasets.inspection.verification import compare_with_record

    if target.run is None:
        raise ConfigError(
            "dlexp data verify needs a run, not a dataset: it compares the data with what the run recorded"
        )
    run = target.run
    differences = compare_with_record(run.manifest(), target.config.data, dataset_id=run.record()["dataset_id"])
    if target.options["format"] == "json":
        print(json.dumps(differences.to_dict("records"), indent=2))
    elif target.options["format"] == "csv":
        write_table(differences, output_format="csv", columns=list(differences.columns))
    else:
        print(_describe_differences(target.run.id[:8], differences))
    return int(not differences.empty)


def _describe_differences(run: str, differences: Any) -> str:
    if differences.empty:
        return f"the data is what run {run} saw: every byte was read"
    first = "\n".join(
        f"  {row.key or 'the dataset'}: {row.difference}" for row in differences.head(_MOST_SHOWN).itertuples()
    )
    more = f"\n  ... and {len(differences) - _MOST_SHOWN:,} more" if len(differences) > _MOST_SHOWN else ""
    return f"the data is not what run {run} saw, {len(differences):,} differences:\n{first}{more}"


def _pack(target: DataTarget) -> int:
    from dlexp.datasets.packing import left_out_when_packed, write_pack
    from dlexp.datasets.sources.left_out import count_left_out, left_out_text

    _check_output(target.options["output"], is_folder=True)
    dataset = target.open()
    folder = pathlib.Path(target.options["output"] or f"{dataset.name}.pack")
    write_pack(dataset, folder, shard_bytes=target.options["shard_mb"] * 2**20)
    if left_out := left_out_text(count_left_out(left_out_when_packed(dataset.source))):
        print(f"left out: {left_out}", file=sys.stderr)
    print(folder)
    return 0


def _write_recipe(target: DataTarget) -> int:
    from dlexp.machine.atomic import write_text_atomically
    from dlexp.runs.recipe import make_recipe, recipe_text

    _check_output(target.options["output"])
    dataset = target.open(pixels=False)
    recipe = make_recipe(
        target.config.data, dataset_name=dataset.name, dataset_id=dataset.id, split_method=dataset.split_method
    )
    output = target.options["output"]
    text = recipe_text(recipe, as_flags=output.endswith(".flags"))
    if not output:
        sys.stdout.write(text)
        return 0
    write_text_atomically(pathlib.Path(output), text)
    print(output)
    return 0


def _subcommand(
    act: Callable[[DataTarget], int], flags: Mapping[str, tuple[Any, str]], *, example: str = "folder:photos"
) -> Command:
    return Command(
        run=lambda line: act(_find_target(line)),
        example=example,
        description=_DESCRIPTION,
        positionals=Positionals(usage=_WORDS, meaning="a dataset or a run", least=1, replaced_by="dataset"),
        flags=flags,
        config_flags=(*config_sections()["data"], "store", "plugins"),
    )


COMMAND = CommandGroup(
    usage=_WORDS,
    description=_DESCRIPTION,
    commands={
        "describe": (
            "print name, ID, sources, counts, sizes and channel statistics",
            _subcommand(_describe, {"format": ("table", "Output format: table (for people) or json.")}),
        ),
        "samples": (
            "draw the first examples of each class",
            _subcommand(
                _draw_samples,
                {
                    "output": ("", "PNG file to write; samples-NAME.png by default."),
                    "per_class": (10, "Number of examples of each class."),
                },
            ),
        ),
        "check": (
            "find damaged and left-out files, copies, leaks between splits, contradicting labels, and odd images",
            _subcommand(
                _check,
                {
                    "format": _FORMAT,
                    "strict": (
                        False,
                        "Exit with 1 if there is an error: a damaged file, an image or class that is left out, a leak, "
                        "contradicting labels.",
                    ),
                    "near_duplicates": (
                        True,
                        "Find re-encoded, resized and mirrored copies too; this reads every image.",
                    ),
                    "output": ("", "PNG file to draw the groups of copies into; empty: no picture."),
                },
            ),
        ),
        "verify": (
            "check that the data is still the data of a run, by reading every byte; exit with 1 if not",
            _subcommand(_verify, {"format": _FORMAT}, example="latest"),
        ),
        "pack": (
            "write a dataset into a few large files, for --dataset=pack:PATH",
            _subcommand(
                _pack,
                {
                    "output": ("", "Folder to write; NAME.pack by default."),
                    "shard_mb": (256, "Approximate size of each file in MiB."),
                },
            ),
        ),
        "recipe": (
            "write a recipe, from which --dataset=recipe:PATH makes the same dataset",
            _subcommand(
                _write_recipe,
                {
                    "output": (
                        "",
                        "File to write: JSON, or lines of a flagfile if it ends with .flags; empty: to stdout.",
                    )
                },
            ),
        ),
    },
)
