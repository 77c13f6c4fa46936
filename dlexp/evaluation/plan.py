"""Decides and checks, without TensorFlow, what an evaluation evaluates and where it is written."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.names import KINDS
from dlexp.checkpoints.search import find_checkpoint
from dlexp.config.experiment_config import ExperimentConfig, config_sections
from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.sources.left_out import warn_of_left_out
from dlexp.datasets.sources.source import SPLITS
from dlexp.errors import ConfigError, DataError, unknown_name
from dlexp.evaluation.classes import with_classes_of
from dlexp.evaluation.options import DATA_FIELDS, FOLDER, OWN_DATA_FIELDS, check_tta
from dlexp.plugins import load_plugins
from dlexp.runs.recipe import config_of_moved_data, resolve_recipe
from dlexp.runs.run import RECORD_FILE, Run
from dlexp.runs.store import find_run

_SIZES = ("batch_size", "micro_batch_size")


@dataclass(frozen=True)
class EvaluationPlan:
    """A checkpoint, a dataset and settings that are known to fit together.

    Attributes:
        checkpoint: path of the checkpoint file.
        config: of the run that trained it, but its data section describes the evaluated dataset.
        dataset: has the classes of the checkpoint.
        metric_names: Keras metrics in addition to loss and accuracy.
        tta: test-time augmentations.
        folders: folder to write to, by split.
        cautions: of the run; empty for a checkpoint outside a run folder.
        recorded: the run itself made exactly this evaluation when it ended, so the metrics must be the same.
    """

    checkpoint: pathlib.Path
    config: ExperimentConfig
    dataset: Dataset
    metric_names: Sequence[str]
    tta: Sequence[str]
    folders: Mapping[str, pathlib.Path]
    cautions: Mapping[str, str]
    recorded: bool


def plan_evaluation(
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
) -> EvaluationPlan:
    """Decides what is evaluated, and checks that it can be; `evaluate_checkpoint` documents the arguments."""
    _check_words(splits, kind)
    tta = check_tta(tta)
    path = find_checkpoint(path_or_run, store, kind=kind)
    metadata, run = read_metadata(path), _run_of(path)
    trained = ExperimentConfig.of(**metadata["config"])
    load_plugins(plugins or trained.plugins)
    config = _config_of(trained.replace(store=str(store)), run, metadata, data)
    dataset = _open(config, metadata, splits)
    metric_names = trained.selection.metrics if metrics is None else tuple(metrics)
    recorded = (
        _is_best(path, run)
        and dataset.id == metadata["dataset_id"]
        and config.data.evaluation_batch_size == trained.data.evaluation_batch_size
        and metric_names == trained.selection.metrics
        and not tta
        and not output
    )
    root = run.path / FOLDER if run else pathlib.Path(FOLDER, path.stem)
    prefix = "" if output or recorded else f"{dataset.name}-"
    ending = "" if output or recorded else _ending(path, run, metadata, tta)
    folders = {split: pathlib.Path(output or root, f"{prefix}{split}{ending}") for split in splits}
    cautions = run.cautions() if run else {}
    return EvaluationPlan(path, config, dataset, metric_names, tta, folders, cautions, recorded)


def _check_words(splits: Sequence[str], kind: str) -> None:
    for split in splits:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
    if not splits:
        raise ConfigError(f"no split was given: choose from {', '.join(SPLITS)}")
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)


def _run_of(path: pathlib.Path) -> Run | None:
    """Returns the run whose folder contains a checkpoint; None if there is none."""
    folder = path.resolve().parent.parent
    return find_run(folder) if (folder / RECORD_FILE).is_file() else None


def _is_best(path: pathlib.Path, run: Run | None) -> bool:
    return run is not None and path.resolve() == run.path / run.record().get("best_checkpoint", "")


def _ending(path: pathlib.Path, run: Run | None, metadata: Mapping[str, Any], tta: Sequence[str]) -> str:
    """Returns the end of a folder name, which distinguishes evaluations of the same dataset and split."""
    parts = [] if run is None or _is_best(path, run) else [metadata["kind"], f"epoch{metadata['epoch']:03d}"]
    return "".join(f"-{part}" for part in [*parts, *tta])


def _config_of(
    trained: ExperimentConfig, run: Run | None, metadata: Mapping[str, Any], data: Mapping[str, Any]
) -> ExperimentConfig:
    """Returns the config with the data to evaluate: images have the input size of the model and are not cached."""
    for name in data:
        if name not in DATA_FIELDS:
            raise unknown_name("field of the data", name, DATA_FIELDS)
    height, width, _ = metadata["input_shape"]
    fixed: dict[str, Any] = {"image_size": (height, width), "cache": "none", "bits": trained.data.bits}
    if "batch_size" in data:
        fixed["micro_batch_size"] = 0  # the given number passes the network at once
    if "dataset" in data:
        plain = {name: getattr(DataConfig(), name) for name in config_sections()["data"] if name not in _SIZES}
        return resolve_recipe(trained.replace(**{**plain, **data, **fixed}))
    misplaced = [name for name in data if name not in OWN_DATA_FIELDS]
    if misplaced:
        raise ConfigError(
            f"{', '.join(misplaced)} would change the run's own dataset: give --dataset too, to evaluate another"
        )
    moved = data.get("data_dir")
    config = config_of_moved_data(run, moved) if moved and run else trained
    return resolve_recipe(config.replace(**{**data, **fixed, "dataset_id": metadata["dataset_id"]}))


def _open(config: ExperimentConfig, metadata: Mapping[str, Any], splits: Sequence[str]) -> Dataset:
    dataset = with_classes_of(open_dataset(config.data, trainable=False), metadata["class_names"])
    warn_of_left_out(dataset.source)
    counts = {split: dataset.count(split) for split in SPLITS}
    for split in splits:
        if not counts[split]:
            sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            raise DataError(f"split {split!r} of {dataset.name} is empty ({sizes}): choose another --split")
    channels, wanted = dataset.image_shape[-1], metadata["input_shape"][-1]
    if channels not in (1, wanted):
        raise DataError(
            f"{dataset.name} has images of {channels} channels, but the checkpoint takes {wanted}: convert the images "
            "first; only grey images are converted automatically, for a model that expects RGB"
        )
    return dataset
