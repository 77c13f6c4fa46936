"""Evaluates a saved checkpoint: on the dataset of its run, or on another dataset with classes that it knows."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from dlexp.checkpoints.files import load_checkpoint
from dlexp.config.json_values import json_value
from dlexp.datasets.pipeline import Datasets
from dlexp.errors import EvaluationError
from dlexp.evaluation.evaluate import Evaluation, evaluate_splits
from dlexp.evaluation.folder import EvaluationFolder, write_evaluation
from dlexp.evaluation.options import REPORT_FILE
from dlexp.evaluation.plan import EvaluationPlan, plan_evaluation
from dlexp.evaluation.scoring import Scoring
from dlexp.machine.json_files import read_json_if_there
from dlexp.runs.metric_names import resolve_metrics


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

    Images are resized to the input size of the model. Grey images are converted to RGB if the model expects RGB.

    Args:
        path_or_run: path of a checkpoint file; or a run, given by ID, ID prefix, name, folder or `latest`.
        splits: some of `train`, `validation` and `test`.
        kind: which checkpoint of a run: `best`, or `last` for the newest.
        tta: test-time augmentations whose probabilities are averaged: `flip`, `shift`; see `make_views`.
        metrics: Keras metrics in addition to loss and accuracy; None: the same metrics as in the run.
        output: folder to write `<split>/` to. By default this is `evaluation/` in the run folder, with `<split>/` if
            the run itself made the same evaluation when it ended, otherwise `<dataset>-<split>/`. For a checkpoint
            file outside a run folder it is `evaluation/<file>/`.
        store: folder where the run is looked up.
        plugins: files or modules to import first; by default those of the run.
        data: config fields that name and split another dataset: `dataset="folder:photos"`. Without `dataset`, the
            run's own dataset is used and its ID must be the same; only `data_dir` and `batch_size` may then be given.

    Returns:
        The written folders, by split.

    Raises:
        EvaluationError: the run made the same evaluation, but its recorded metrics differ; its files stay.
        ConfigError: a name or a config field is wrong.
        DataError: the data cannot be read, differs from the run's data, or has classes that the checkpoint lacks.
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
    """Carries out a plan; see `evaluate_checkpoint`."""
    resolve_metrics(plan.metric_names, plan.dataset.class_names)  # refuses unknown metrics before anything is loaded
    checkpoint = load_checkpoint(plan.checkpoint)
    evaluations = evaluate_splits(
        checkpoint,
        Datasets(plan.config, plan.dataset),
        list(plan.folders),
        scoring=Scoring.of(plan.metric_names, plan.config.optimization, checkpoint.model),
        tta=plan.tta,
    )
    if plan.recorded:
        for split, folder in plan.folders.items():
            _check_recorded(folder, evaluations[split])
    return {
        split: write_evaluation(folder, evaluations[split], plan.dataset, cautions=plan.cautions)
        for split, folder in plan.folders.items()
    }


def _check_recorded(folder: pathlib.Path, evaluation: Evaluation) -> None:
    """Raises EvaluationError if a folder holds different metrics for the same weights."""
    recorded = read_json_if_there(folder / REPORT_FILE)
    measured = json_value(evaluation.predictions.metrics, strict=True)
    if recorded.get("weights_digest") != evaluation.subject.weights_digest:
        return
    differing = ", ".join(
        f"{name} {value} (recorded: {recorded['metrics'].get(name)})"
        for name, value in measured.items()
        if not _is_close(value, recorded["metrics"].get(name))
    )
    if not differing:
        return
    raise EvaluationError(
        f"the metrics measured now differ from those recorded by run {evaluation.subject.run_id[:8]}: {differing}; the "
        "recorded evaluation is kept: use --output=FOLDER to write the new one elsewhere"
    )


def _is_close(measured: float | None, recorded: float | None) -> bool:
    """Whether two values agree up to the rounding of float32, to which earlier versions rounded what they recorded."""
    if measured is None or recorded is None:
        return measured is recorded
    return math.isclose(measured, recorded, rel_tol=1e-6, abs_tol=1e-9)
