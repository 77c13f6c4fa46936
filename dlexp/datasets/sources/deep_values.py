"""Files of 16 bits whose values use fewer: 10, 12 or 14, as of many cameras and scanners."""

from collections.abc import Sequence

import numpy as np

from dlexp.datasets.sources.encoded import EncodedSource
from dlexp.datasets.sources.source import Source

AUTO, ALL_BITS = "auto", 16
_USUAL_BITS = (8, 10, 12, 14)


def use_bits(sources: Sequence[Source], bits: str) -> None:
    """Sets how many bits the values of all 16-bit files use; other files are not affected.

    Args:
        sources: of one dataset.
        bits: a number from 8 to 16, or `auto`: the smallest of 8, 10, 12, 14 and 16 that holds the greatest value of
            all 16-bit files, of every split.
    """
    chosen = needed_bits([peak for source in sources for peak in _peaks(source)]) if bits == AUTO else int(bits)
    for source in sources:
        if isinstance(source, EncodedSource) and "peak" in source.manifest:
            used = np.where(source.manifest["peak"] > 0, chosen, ALL_BITS)
            source.manifest = source.manifest.assign(bits=used)


def needed_bits(peaks: Sequence[int]) -> int:
    """Returns the smallest usual number of bits that holds the greatest values of files; 16 if no file has 16 bits."""
    greatest = max(peaks, default=0)
    return next((bits for bits in _USUAL_BITS if 0 < greatest < 2**bits), ALL_BITS)


def _peaks(source: Source) -> list[int]:
    return source.manifest["peak"].tolist() if "peak" in source.manifest else []
