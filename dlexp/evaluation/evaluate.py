"""Runs the model of a checkpoint over splits of a dataset, and computes predictions and scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlexp.checkpoints.files import LoadedCheckpoint
from dlexp.datasets import Datasets
from dlexp.evaluation.report import ReportSubject
from dlexp.evaluation.scoring import Scoring
from dlexp.evaluation.split_prediction import Forward, Predictions, compile_forward, predict_split
from dlexp.evaluation.split_scores import SplitScores, fit_split_temperature, score_split

_FITTED_ON = "validation"


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one split.

    Attributes:
        subject: which model, data and settings were evaluated.
        predictions: for every example, with the metrics.
        scores: computed from the predictions.
    """

    subject: ReportSubject
    predictions: Predictions
    scores: SplitScores


def evaluate_splits(
    checkpoint: LoadedCheckpoint,
    datasets: Datasets,
    splits: Sequence[str],
    *,
    scoring: Scoring,
    tta: Sequence[str] = (),
    forward: Forward | None = None,
) -> dict[str, Evaluation]:
    """Runs the model of a checkpoint once over each split, and scores its predictions.

    The temperature is fitted on the validation split, which is evaluated for this even if it is not in `splits`. If
    the dataset has no validation examples, the temperature is fitted on the split itself.

    Args:
        checkpoint: its model is evaluated.
        datasets: have the classes of the checkpoint.
        splits: some of `train`, `validation` and `test`, none of them empty.
        scoring: what is measured.
        tta: test-time augmentations, see `make_views`.
        forward: what `compile_forward` returned for the same checkpoint, datasets and `tta`; None: it is called here.

    Returns:
        Evaluations by split, in the order of `splits`.

    Raises:
        DataError: an image can no longer be read; the error names it.
    """
    forward = forward or compile_forward(checkpoint, datasets.dataset.image_shape, tta=tta)
    fitted_on = [_FITTED_ON] if datasets.dataset.count(_FITTED_ON) else []
    of_splits = {
        split: predict_split(forward, datasets, split, scoring=scoring)
        for split in dict.fromkeys([*splits, *fitted_on])
    }
    temperatures = {split: fit_split_temperature(of_splits[split]) for split in fitted_on or splits}
    return {
        split: Evaluation(
            subject=_subject(checkpoint, datasets, split, tta),
            predictions=of_splits[split],
            scores=score_split(of_splits[split], temperatures[_FITTED_ON if fitted_on else split]),
        )
        for split in splits
    }


def _subject(checkpoint: LoadedCheckpoint, datasets: Datasets, split: str, tta: Sequence[str]) -> ReportSubject:
    metadata = checkpoint.metadata
    return ReportSubject(
        run_id=metadata["run_id"],
        run_name=metadata["run_name"],
        model=checkpoint.config.model.model,
        checkpoint=checkpoint.path.name,
        kind=metadata["kind"],
        epoch=metadata["epoch"],
        weights_digest=metadata["weights_digest"],
        dataset_name=datasets.dataset.name,
        dataset_id=datasets.dataset.id,
        split=split,
        tta=tuple(tta),
        batch_size=datasets.evaluation_batch_size,
    )
