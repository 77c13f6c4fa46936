"""A training made short: what of its config and its data changes, and what must not."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.memory.choice import MEMORY_FIELDS
from dlexp.memory.short_run import shorten_config, shorten_splits
from tests.config.test_experiment_config import configs


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset(DataConfig())


@pytest.mark.parametrize("batch_size", [1, 8, 64, 10_000])
def test_validation_and_test_have_two_whole_batches_at_most_and_the_smaller_last_one(
    dataset: Dataset, batch_size: int
) -> None:
    short = shorten_splits(dataset, batch_size)
    for split in ("validation", "test"):
        whole, last = divmod(dataset.count(split), batch_size)
        assert divmod(short.count(split), batch_size) == (min(whole, 2), last)
        assert set(short.rows(split)) <= set(dataset.rows(split))
        assert list(short.rows(split)) == sorted(short.rows(split))


@pytest.mark.parametrize("batch_size", [1, 8, 10_000])
def test_training_examples_and_the_order_of_all_stay_the_same(dataset: Dataset, batch_size: int) -> None:
    short = shorten_splits(dataset, batch_size)
    assert list(short.rows("train")) == list(dataset.rows("train"))
    pd.testing.assert_frame_equal(short.manifest.drop(columns="split"), dataset.manifest.drop(columns="split"))


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_all_classes_are_kept(dataset: Dataset, batch_size: int) -> None:
    short = shorten_splits(dataset, batch_size)
    for split in ("validation", "test"):
        assert (short.counts()[split] > 0).all()


def test_dataset_itself_is_not_changed(dataset: Dataset) -> None:
    before = dataset.manifest["split"].tolist()
    shorten_splits(dataset, 1)
    assert dataset.manifest["split"].tolist() == before


@given(configs)
def test_what_takes_memory_stays_as_it_is(config: ExperimentConfig) -> None:
    before, after = config.flat(), shorten_config(config, store="/probes").flat()
    changed = {name for name, value in after.items() if value != before[name]}
    assert changed & MEMORY_FIELDS <= {"cache"}  # which `unmeasured_bytes` counts
    assert not changed & {"batch_size", "micro_batch_size", "tensorboard", "mlflow_autolog", "system_metrics", "epochs"}


@given(configs)
def test_nothing_is_written_outside_of_the_store_of_the_probe(config: ExperimentConfig) -> None:
    short = shorten_config(config, store="/probes").tracking
    assert (short.store, short.tracking_uri, short.wandb, short.trackers) == ("/probes", "", False, ())


@pytest.mark.parametrize(
    ("monitor", "mode", "kept"),
    [
        ("val_loss", "auto", "val_loss"),
        ("val_accuracy", "auto", "val_accuracy"),
        ("val_auc", "auto", "val_loss"),
        ("val_recall/3", "auto", "val_loss"),
        ("val_of_a_plugin", "max", "val_of_a_plugin"),
    ],
)
def test_metric_that_few_examples_may_not_define_is_not_monitored(monitor: str, mode: str, kept: str) -> None:
    values: dict[str, Any] = {"monitor": monitor, "monitor_mode": mode, "metrics": ("auc", "recall/3")}
    short = shorten_config(ExperimentConfig.of(**values), store="/probes")
    assert short.selection.monitor == kept
    assert short.selection.metrics == ("auc", "recall/3")


@given(st.integers(1, 40), st.integers(2, 12))
def test_classes_of_equal_size_are_all_kept_in_as_many_examples(
    dataset: Dataset, batch_size: int, num_classes: int
) -> None:
    labels = np.arange(len(dataset.manifest)) % num_classes
    relabelled = dataclasses.replace(dataset, manifest=dataset.manifest.assign(label=labels))
    short = shorten_splits(relabelled, batch_size)
    kept = short.manifest["label"].to_numpy()[short.rows("test")]
    assert len(set(kept)) >= min(num_classes, 2 * batch_size) - 1
