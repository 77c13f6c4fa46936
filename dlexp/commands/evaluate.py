"""`dlexp evaluate`: a checkpoint on any dataset and split."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.flags import config_from_flags, define_experiment_flags, define_flags, parse_flags
from dlexp.config.help import HELP_WORDS, command_help
from dlexp.config.spelling import parse_names
from dlexp.errors import ConfigError
from dlexp.evaluation.options import DATA_FIELDS, parse_tta
from dlexp.machine.startup import importing_tensorflow

if TYPE_CHECKING:
    from dlexp.evaluation.folder import EvaluationFolder

_OWN_FLAGS: dict[str, tuple[Any, str]] = {
    "split": ("test", "test, validation or train; several joined by commas."),
    "kind": ("best", "Which checkpoint of a RUN: best, or last for the newest."),
    "tta": (
        "none",
        "Test-time augmentation: mean of the probabilities over the image and its mirror image (flip), its copies "
        "moved by a sixteenth left, right, up and down (shift), or both (flip,shift).",
    ),
    "output": (
        "",
        "Folder to write SPLIT/ to; by default evaluation/ of the run: SPLIT/ for what the run has evaluated itself, "
        "else DATASET-SPLIT/.",
    ),
}
_SUMMARY = """a checkpoint on its own test split, or on any dataset that has its classes by name.

Without --dataset it is the run's own, with the same ID, and the recorded metrics must come out, bit for bit. Images are
resized to what the model takes; grey ones are repeated for a model that takes colours"""


def evaluate(argv: Sequence[str]) -> int:
    """Runs `dlexp evaluate RUN|PATH`.

    Args:
        argv: how the command is called, then its words.

    Returns:
        Exit code 0; errors are raised.
    """
    config_flags = (*DATA_FIELDS, "metrics", "store", "plugins")
    if any(word in HELP_WORDS for word in argv[1:]):
        print(command_help(f"{argv[0]} RUN|PATH", _SUMMARY, {**_OWN_FLAGS, **_config_help(config_flags)}))
        return 0
    values = flags.FlagValues()
    define_experiment_flags(values, names=config_flags)
    define_flags(values, _OWN_FLAGS)
    named = parse_flags(values, argv, max_positionals=1)
    if not named:
        raise ConfigError(f"{argv[0]} needs a run or the path of a checkpoint: {argv[0]} latest")
    from dlexp.evaluation.plan import plan_evaluation

    logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)
    given = config_from_flags(values)
    plan = plan_evaluation(
        named[0],
        splits=parse_names(values["split"].value),
        kind=values["kind"].value,
        tta=parse_tta(values["tta"].value),
        metrics=given.selection.metrics if values["metrics"].present else None,
        output=values["output"].value,
        store=given.tracking.store,
        plugins=given.plugins,
        **{name: getattr(given.data, name) for name in DATA_FIELDS if values[name].present},
    )
    # Only now is TensorFlow imported, when all that can be checked without it has been.
    with importing_tensorflow():
        from dlexp.evaluation.checkpoint_evaluation import carry_out
    for written in carry_out(plan).values():
        print_evaluation(written)
    return 0


def print_evaluation(written: "EvaluationFolder") -> None:
    """Prints the metrics of a split to stdout; the last line is the path of its folder."""
    report, accuracy = written.report, written.report["accuracy"]
    interval = f"  95 % interval {accuracy['low']:.4f} to {accuracy['high']:.4f}"
    rows = {"model": f"{report['model']} of {report['run_name']} ({report['run_id'][:8]}), epoch {report['epoch']}"}
    rows["dataset"] = f"{report['dataset_name']} ({report['dataset_id']})"
    rows["split"] = f"{report['split']}, {report['examples']:,} examples"
    rows |= {name: _number(value) + (interval if name == "accuracy" else "") for name, value in written.metrics.items()}
    rows |= {"macro F1": _number(report["averages"]["macro"]["f1"]), "ECE": _number(report["calibration"]["ece"])}
    for name, source in report["per_source"].items():
        of_source = source["accuracy"]
        rows[f"accuracy/{name}"] = (
            f"{of_source['value']:.4f}  95 % interval {of_source['low']:.4f} to {of_source['high']:.4f}"
        )
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")
    print(written.path)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _config_help(names: Sequence[str]) -> Mapping[str, tuple[Any, str]]:
    defaults, fields = ExperimentConfig().flat(), config_fields()
    return {name: (defaults[name], fields[name].metadata["help"]) for name in names}
