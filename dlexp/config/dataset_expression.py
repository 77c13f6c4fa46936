"""The grammar of `--dataset`: `kind:spec`, several joined by `+`, each optionally with `*weight`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dlexp.errors import ConfigError

_WEIGHT = re.compile(r"\*(?P<weight>[^*/]*)$")


@dataclass(frozen=True)
class SourceTerm:
    """One source of a dataset.

    Attributes:
        kind: registered name of the source: `folder`.
        spec: the text after the colon, such as a path; "" if there is none.
        weight: how often an epoch shows each training example of this source; above 0.
    """

    kind: str
    spec: str
    weight: float = 1.0


def parse_expression(text: str, known: Iterable[str]) -> list[SourceTerm]:
    """Reads a `--dataset`.

    A `+` separates two sources only if a source name, or any name with a colon, follows it; so paths may contain a `+`.

    Args:
        text: the flag's value, such as `folder:a*2+folder:b+digits`.
        known: names of all sources.

    Raises:
        ConfigError: a weight is not a number above 0.

    Example:
        >>> parse_expression("folder:c++*0.5+digits", ["folder", "digits"])
        [SourceTerm(kind='folder', spec='c++', weight=0.5), SourceTerm(kind='digits', spec='', weight=1.0)]
    """
    names = "|".join(map(re.escape, known))
    return [_parse_term(term, text) for term in re.split(rf"\+(?=(?:{names})(?:[:*+]|$)|[A-Za-z_]\w*:)", text)]


def format_expression(terms: Iterable[SourceTerm]) -> str:
    """Returns the text that `parse_expression` reads."""
    return "+".join(
        term.kind + (f":{term.spec}" if term.spec else "") + ("" if term.weight == 1 else f"*{term.weight:g}")
        for term in terms
    )


def _parse_term(term: str, text: str) -> SourceTerm:
    weight = 1.0
    match = _WEIGHT.search(term)
    if match:
        term = term[: match.start()]
        try:
            weight = float(match["weight"])
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise ConfigError(f"weight {match[0]!r} in dataset={text!r} must be * and a number above 0, such as *2")
    kind, _, spec = term.partition(":")
    return SourceTerm(kind, spec, weight)
