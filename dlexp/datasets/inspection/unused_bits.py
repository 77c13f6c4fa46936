"""Finds 16-bit files whose values use fewer bits than they are decoded with, so that the images are nearly black."""

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.sources.deep_values import needed_bits


def unused_bits(dataset: Dataset) -> str:
    """Returns what is wrong with the 16-bit files of a dataset, and what to do; "" if nothing is."""
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
