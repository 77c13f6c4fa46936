"""Finds 16-bit files and arrays whose values use so little of their range that the images are nearly black."""

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.sources.combined import parts_of
from dlexp.datasets.sources.deep_values import needed_bits
from dlexp.datasets.sources.source import ArraySource

_DARK_BELOW = 64  # a greatest value of 1, 15 or 16 is common in arrays that were never scaled to 255


def unused_bits(dataset: Dataset) -> str:
    """Returns what is wrong with the 16-bit files or the arrays of a dataset, and what to do; "" if nothing is."""
    return _unused_bits_of_files(dataset) or _unused_range_of_arrays(dataset)


def _unused_bits_of_files(dataset: Dataset) -> str:
    if "peak" not in dataset.manifest:
        return ""
    peaks = dataset.manifest["peak"]
    needed = needed_bits(peaks.tolist())
    if needed >= dataset.bits:
        return ""
    brightest = min(255, int(peaks.max()) >> dataset.bits - 8)
    return (
        f"the greatest value of the 16-bit files is {peaks.max():,}, so that no pixel is brighter than {brightest} of "
        f"255 with --bits={dataset.bits}: use --bits={needed}"
    )


def _unused_range_of_arrays(dataset: Dataset) -> str:
    for part in parts_of(dataset.source):
        if isinstance(part, ArraySource) and part.brightest < _DARK_BELOW:
            return (
                f"the greatest value of the images of {part.name} is {part.brightest}, where 255 is white, so that "
                "they are nearly black: multiply them before they are saved"
            )
    return ""
