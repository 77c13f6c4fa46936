"""Which examples a training step sees, and in which order: computed only from the step."""

from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from dlexp.datasets.randomness import SeedKey, mix_keys, shuffle_positions


class TrainOrder:
    """The order of the training examples, different in every epoch.

    An epoch is made of places. Examples of weight 1 have one place each. A source of n examples and weight w has about
    w * n places, which its examples take in turn, epoch after epoch: with w = 2 each example is seen twice in an epoch,
    with w = 0.5 in every second epoch. If balanced, an epoch has about as many places as there are examples, every
    class has equally many of them, and the weights hold within a class.

    Args:
        examples: the training examples of a manifest, with its positions as index and the columns `digest`, `source`
            and, where weights differ, `weight`; if balanced, also `label`.
        batch_size: places in a step.
        seed: the experiment's seed.
        balanced: whether every class has equally many places.

    Attributes:
        places: number of examples in an epoch.
        steps_per_epoch: the last step of an epoch may be smaller.
    """

    def __init__(self, examples: pd.DataFrame, *, batch_size: int, seed: int, balanced: bool = False) -> None:
        self._batch_size = batch_size
        self._key = SeedKey(seed, "order")
        self._rows, self._turns = _arrange(examples, balanced=balanced)
        self.places = len(self._rows) if self._turns is None else len(self._turns[0])
        self.steps_per_epoch, self._left_out = -(-self.places // batch_size), 0
        # A graph refers to a tensor, but copies an array into each of its functions.
        self._rows = tf.constant(self._rows)
        self._turns = None if self._turns is None else [tf.constant(numbers) for numbers in self._turns]

    def rows_of_step(self, step: Any) -> tuple[Any, Any]:
        """Returns the positions in the manifest of the examples in a step, and the epoch of the step.

        Args:
            step: `int64` scalar tensor, counted over all epochs.

        Returns:
            `int64` `(batch,)` and `int64` scalar.
        """
        epoch, number = step // self.steps_per_epoch, step % self.steps_per_epoch
        if self._left_out:
            number += tf.where(number == self.steps_per_epoch - 1, tf.constant(self._left_out, number.dtype), 0)
        first = number * self._batch_size
        positions = tf.range(first, tf.minimum(first + self._batch_size, self.places))
        key = mix_keys(self._key.value, epoch)
        places = shuffle_positions(positions, self.places, key)
        return tf.gather(self._rows, self._example_at(places, epoch)), epoch

    def shorten(self, steps: int) -> int:
        """Leaves out the steps before the last one of every epoch until it has `steps`; returns how many those are."""
        self._left_out = max(0, self.steps_per_epoch - steps)
        self.steps_per_epoch -= self._left_out
        return self._left_out

    def reseed(self, seed: int) -> None:
        """Changes to the order of another seed, also in pipelines that already use this order."""
        self._key.reseed(seed)

    def _example_at(self, places: Any, epoch: Any) -> Any:
        """Returns which examples are at these places in an epoch."""
        if self._turns is None:
            return places
        number, first, count, share = (tf.gather(numbers, places) for numbers in self._turns)
        return first + (epoch * share + number) % count


def _arrange(examples: pd.DataFrame, *, balanced: bool) -> tuple[np.ndarray, list[np.ndarray] | None]:
    """Returns the rows of the examples and, if they take turns, four arrays with a number for each place.

    Examples of a group take turns: those of a source, or those of a class and a source. The numbers are: the number of
    the place within its group, the first example of the group, the number of its examples and that of its places.
    """
    if ("weight" not in examples and not balanced) or examples.empty:
        return examples.index.to_numpy(), None
    if "weight" not in examples:
        examples = examples.assign(weight=1.0)
    by = ["label", "source", "weight"] if balanced else ["source", "weight"]
    # Sorted by digest, so that examples that take turns are not neighbours in a folder.
    ordered = examples.sort_values([*by, "digest"], kind="stable")
    counts = ordered.groupby(by, sort=False).size()
    wanted = pd.Series(counts * counts.index.get_level_values("weight"))
    shares = _balance(wanted) if balanced else np.maximum(1, np.round(wanted.to_numpy())).astype(np.int64)
    firsts = np.concatenate([[0], np.cumsum(counts.to_numpy())[:-1]])
    numbers = np.concatenate([np.arange(share) for share in shares])
    spread = [np.repeat(of_source, shares) for of_source in (firsts, counts.to_numpy(), shares)]
    return ordered.index.to_numpy(), [numbers, *spread]


def _balance(wanted: pd.Series) -> np.ndarray:
    """Returns the places of groups, so that all classes have equally many and a class divides its own by weight.

    Args:
        wanted: places that the weights ask for, by label and then by source.
    """
    classes = wanted.groupby(level="label", sort=False)
    places = max(1, round(wanted.sum() / classes.ngroups))
    # The bounds between the groups of a class are rounded, not their sizes: so the sizes add up to the places.
    ends = (places * (classes.cumsum() / classes.transform("sum"))).round().astype("int64")
    starts = ends.groupby(level="label", sort=False).shift(fill_value=0)
    return (ends - starts).to_numpy()
