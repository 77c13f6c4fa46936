"""The batch sizes that may be chosen: powers of two, or multiples of a number."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Batch sizes from 1 to the number of training examples.

    Attributes:
        most: the largest size that makes sense, at least 1.
        multiple_of: every size is a multiple of this number, or a power of two below it; 0: all are powers of two.

    Example:
        >>> Sizes(most=1000).at_most(700), Sizes(most=1000, multiple_of=8).at_most(700)
        (512, 696)
    """

    most: int
    multiple_of: int = 0

    def at_most(self, limit: float) -> int | None:
        """Returns the largest size up to a limit; None if there is none."""
        limit = min(limit, self.most)
        if limit < 1:
            return None
        if self.multiple_of and limit >= self.multiple_of:
            return int(limit // self.multiple_of) * self.multiple_of
        return 1 << (int(limit).bit_length() - 1)

    def above(self, size: int) -> int | None:
        """Returns the smallest size that is larger than another; None if there is none."""
        larger = size // self.multiple_of * self.multiple_of + self.multiple_of if self.multiple_of else 2 * size
        if self.multiple_of and 2 * size < self.multiple_of:
            larger = 2 * size
        return larger if larger <= self.most else None

    def between(self, low: int, high: int) -> int | None:
        """Returns a size in the middle between two others, neither of them; None if there is none."""
        middle = self.at_most((low + high) / 2)
        if middle is not None and low < middle < high:
            return middle
        larger = self.above(low)
        return larger if larger is not None and larger < high else None

    def __iter__(self) -> Iterator[int]:
        size: int | None = 1
        while size is not None:
            yield size
            size = self.above(size)
