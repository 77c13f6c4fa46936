"""Evaluation of a checkpoint by hand: on the data of its run, or on any other that has its classes."""

import pathlib
from collections.abc import Sequence
from typing import Any

from dlexp.checkpoints.files import load_checkpoint
from dlexp.config.json_values import json_value
from dlexp.datasets.pipeline import Datasets
from dlexp.errors import EvaluationError
from dlexp.evaluation.evaluate import Evaluation, evaluate_splits
from dlexp.evaluation.folder import EvaluationFolder, write_evaluation
from dlexp.evaluation.metrics import metric_names
from dlexp.evaluation.options import REPORT_FILE
from dlexp.evaluation.plan import EvaluationPlan, plan_evaluation
from dlexp.machine.json_files import read_json_if_there


def evaluate_checkpoint(
    path_or_run: str | pathlib.Path,
    *,
    splits: Sequence[str] = ("test",),
    kind: str = "best",
    tta: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    output: str | pathlib.Path = "",
    store: str | pathlib.Path = "mlruns",
    plugins: Sequence[str] = (),
    **data: Any,
) -> dict[str, EvaluationFolder]:
    """Evaluates a checkpoint, and writes a folder with predictions, scores, pictures and a report for each split.

    Images are resized to what the model takes, and grey ones repeated for a model that takes colours.

    Args:
        path_or_run: path of a checkpoint file; or a run by ID, prefix, name, folder or `latest`.
        splits: some of `train`, `validation` and `test`.
        kind: which checkpoint of a run: `best`, or `last` for the newest.
        tta: test-time augmentations whose probabilities are averaged: `flip`, `shift`; see `make_views`.
        metrics: Keras metrics beside loss and accuracy; None for those of the run.
        output: folder to write `<split>/` to. By default `evaluation/` of the run: `<split>/` for what the run has
            evaluated itself, else `<dataset>-<split>/`. For a file that lies in no run folder, `evaluation/<file>/`.
        store: where runs are looked up.
        plugins: files or modules that are imported first; by default those of the run.
        data: another dataset, by the config fields that name and split it: `dataset="folder:photos"`. Without
            `dataset`, it is the run's own, with the same ID; then `data_dir` and `batch_size` may be given.

    Returns:
        What was written, by split.

    Raises:
        EvaluationError: the run has evaluated the same, and other numbers have come out now; its files stay.
        ConfigError: a name or a field is wrong.
        DataError: the data cannot be read, is not what the run saw, or has classes that the checkpoint does not know.
        CheckpointError: the file is damaged.
        RunNotFoundError: there is no such run.

    Example:
        >>> evaluation = evaluate_checkpoint("latest", dataset="folder:photos", splits=["test"])["test"]
        >>> evaluation.report["accuracy"]["low"], evaluation.predictions().query("label != prediction")
    """
    return carry_out(
        plan_evaluation(
            path_or_run, splits=splits, kind=kind, tta=tta, metrics=metrics, output=output, store=store,
            plugins=plugins, **data,
        )
    )  # fmt: skip


def carry_out(plan: EvaluationPlan) -> dict[str, EvaluationFolder]:
    """Does what was planned; see `evaluate_checkpoint`."""
    metric_names(plan.metric_names, plan.dataset.num_classes)  # an unknown one is told before anything is loaded
    checkpoint = load_checkpoint(plan.checkpoint)
    evaluations = evaluate_splits(
        checkpoint,
        Datasets(plan.config, plan.dataset),
        list(plan.folders),
        metric_names=plan.metric_names,
        tta=plan.tta,
    )
    if plan.recorded:
        for split, folder in plan.folders.items():
            _check_recorded(folder, evaluations[split])
    return {split: write_evaluation(folder, evaluations[split], plan.dataset) for split, folder in plan.folders.items()}


def _check_recorded(folder: pathlib.Path, evaluation: Evaluation) -> None:
    """Raises EvaluationError if a folder tells other metrics of the same weights."""
    recorded = read_json_if_there(folder / REPORT_FILE)
    measured = json_value(evaluation.predictions.metrics, strict=True)
    if recorded.get("weights_digest") != evaluation.subject.weights_digest or recorded["metrics"] == measured:
        return
    differing = ", ".join(
        f"{name} {value} (recorded: {recorded['metrics'].get(name)})"
        for name, value in measured.items()
        if value != recorded["metrics"].get(name)
    )
    raise EvaluationError(
        f"run {evaluation.subject.run_id[:8]} has recorded other metrics than those measured now: {differing}; the "
        "recorded evaluation stays, --output=FOLDER writes the new one elsewhere"
    )
