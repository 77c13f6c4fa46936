"""The order of the training examples: all of them, as often as their weights say."""

from collections import Counter

import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dlexp.datasets.order import TrainOrder


def examples(counts: dict[str, int], weights: dict[str, float] | None = None) -> pd.DataFrame:
    sources = [name for name, count in counts.items() for _ in range(count)]
    table = pd.DataFrame(
        {"source": sources, "digest": [f"{number * 7919 % 104729:032x}" for number in range(len(sources))]}
    )
    return table if weights is None else table.assign(weight=table["source"].map(weights))


def epoch_rows(order: TrainOrder, epoch: int) -> list[int]:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [int(row) for step in steps for row in order.rows_of_step(tf.constant(step, tf.int64))[0]]


@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 5))
def test_every_example_is_seen_once_in_an_epoch(count: int, batch_size: int, epoch: int) -> None:
    order = TrainOrder(examples({"one": count}), batch_size=batch_size, seed=3)
    assert sorted(epoch_rows(order, epoch)) == list(range(count))


def test_source_of_weight_2_is_seen_twice() -> None:
    order = TrainOrder(examples({"one": 5, "two": 3}, {"one": 1, "two": 2}), batch_size=4, seed=0)
    assert order.places == 11
    assert Counter(epoch_rows(order, 0)) == dict.fromkeys(range(5), 1) | dict.fromkeys(range(5, 8), 2)


def test_source_of_half_weight_takes_turns() -> None:
    order = TrainOrder(examples({"one": 4, "two": 6}, {"one": 1, "two": 0.5}), batch_size=4, seed=0)
    first, second = ({row for row in epoch_rows(order, epoch) if row >= 4} for epoch in (0, 1))
    assert len(first) == len(second) == 3
    assert first | second == set(range(4, 10))


@pytest.mark.parametrize("weight", [0.3, 1.7, 2.5])
def test_over_many_epochs_all_are_seen_equally_often(weight: float) -> None:
    order = TrainOrder(examples({"one": 10}, {"one": weight}), batch_size=3, seed=0)
    seen = Counter(row for epoch in range(10) for row in epoch_rows(order, epoch))
    assert set(seen.values()) == {round(10 * weight)}


def test_weights_of_1_change_no_order() -> None:
    plain = TrainOrder(examples({"one": 9}), batch_size=4, seed=1)
    weighted = TrainOrder(examples({"one": 9}, {"one": 1.0}), batch_size=4, seed=1)
    assert sorted(epoch_rows(plain, 2)) == sorted(epoch_rows(weighted, 2))


def labelled(*counts: int) -> pd.DataFrame:
    """Examples of one source, with as many of each class."""
    table = examples({"one": sum(counts)})
    return table.assign(label=[label for label, count in enumerate(counts) for _ in range(count)])


@settings(max_examples=15)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(1, 7), st.integers(0, 4))
def test_balanced_epoch_has_equally_many_of_every_class(counts: list[int], batch_size: int, epoch: int) -> None:
    table = labelled(*counts)
    order = TrainOrder(table, batch_size=batch_size, seed=3, balanced=True)
    shown = Counter(table["label"][row] for row in epoch_rows(order, epoch))
    assert set(shown.values()) == {max(1, round(sum(counts) / len(counts)))}
    assert set(shown) == set(range(len(counts)))


def test_balanced_epochs_take_turns_and_show_every_example() -> None:
    table = labelled(20, 4)
    order = TrainOrder(table, batch_size=5, seed=0, balanced=True)
    shown = Counter(row for epoch in range(5) for row in epoch_rows(order, epoch))
    assert {shown[row] for row in table.index[table["label"] == 0]} == {3}
    assert {shown[row] for row in table.index[table["label"] == 1]} == {15}


def test_balanced_classes_divide_their_places_by_the_weights_of_sources() -> None:
    table = examples({"one": 10, "two": 10}, {"one": 3.0, "two": 1.0}).assign(label=[0, 1] * 10)
    order = TrainOrder(table, batch_size=8, seed=0, balanced=True)
    shown = Counter((table["label"][row], table["source"][row]) for row in epoch_rows(order, 0))
    assert shown == {(0, "one"): 15, (1, "one"): 15, (0, "two"): 5, (1, "two"): 5}
