"""Finds names that look alike to a person although they differ: in case, blanks, accents or script."""

import re
import unicodedata
from collections.abc import Iterable

# Letters of Cyrillic and Greek that look like Latin ones, after case folding (Unicode TS 39, "confusables").
_LATIN = str.maketrans("авекмнорстухіјԁԛѕԝαβεηικμνορτυχ", "abekmhopctyxijdqswabenikuvoptux")
_SEPARATORS = re.compile(r"[\s_-]+")


def similar_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups names that look alike.

    Names look alike if they are equal after these steps: composed characters (NFKC), no case, no invisible characters,
    letters of Cyrillic and Greek by the Latin letters that they look like, and spaces, `_` and `-` alike, none of them
    around the name.

    Args:
        names: different names.

    Returns:
        The groups of two names or more, sorted, and sorted within.

    Example:
        >>> similar_names(["cat", "Cat ", "dog"])
        [('Cat ', 'cat')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_look(name), []).append(name)
    return sorted(tuple(sorted(alike)) for alike in groups.values() if len(alike) > 1)


def _look(name: str) -> str:
    if name.isascii():  # most names, and a hundred thousand keys
        folded = name.lower()
    else:
        composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        folded = "".join(c for c in composed if unicodedata.category(c) != "Cf").translate(_LATIN)
    return _SEPARATORS.sub(" ", folded).strip()
