"""`dlexp evaluate`: evaluates a checkpoint on any dataset and split."""

from typing import TYPE_CHECKING, Any

from dlexp.config.command import Command, CommandLine, Positionals
from dlexp.config.spelling import parse_names
from dlexp.evaluation.options import DATA_FIELDS, parse_tta
from dlexp.machine.startup import importing_tensorflow

if TYPE_CHECKING:
    from dlexp.evaluation.folder import EvaluationFolder

_OWN_FLAGS: dict[str, tuple[Any, str]] = {
    "split": ("test", "Split to evaluate: test, validation or train, or several joined by commas."),
    "kind": ("best", "Which checkpoint of a RUN: best, or last (the newest)."),
    "tta": (
        "none",
        "Test-time augmentation: average the probabilities over the image and its mirror image (flip), over its copies "
        "shifted left, right, up and down by a sixteenth of its size (shift), or over all of these (flip,shift).",
    ),
    "output": (
        "",
        "Folder that gets a subfolder SPLIT. Default: evaluation/ of the run, with the subfolder SPLIT if the run made "
        "the same evaluation itself, else DATASET-SPLIT.",
    ),
}
_DESCRIPTION = """Without --dataset, the dataset of the run is used. It must have the same ID, and the metrics must be
equal to the recorded ones, bit for bit. Another dataset must have classes with the same names as the checkpoint. Images
are resized to the input size of the model; grey images are repeated on three channels for a model of colour images."""


def _evaluate(line: CommandLine) -> int:
    from dlexp.evaluation.plan import plan_evaluation

    config, options = line.config, line.options
    plan = plan_evaluation(
        line.positionals[0],
        splits=parse_names(options["split"]),
        kind=options["kind"],
        tta=parse_tta(options["tta"]),
        metrics=config.selection.metrics if "metrics" in line.given else None,
        output=options["output"],
        store=config.tracking.store,
        plugins=config.plugins,
        **{name: getattr(config.data, name) for name in DATA_FIELDS if name in line.given},
    )
    # TensorFlow is imported only after all checks that do not need it.
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


COMMAND = Command(
    run=_evaluate,
    example="latest",
    description=_DESCRIPTION,
    positionals=Positionals(usage="RUN|PATH", meaning="a run or the path of a checkpoint", least=1),
    flags=_OWN_FLAGS,
    config_flags=(*DATA_FIELDS, "metrics", "store", "plugins"),
)
