"""The grammar of `--space`, as text and as JSON: names of parameters, each with a spec and its arguments.

    name=choice(a,b,...)      one of these values, each spelled as in the flag
    name=uniform(low,high)    floats; name=log(low,high): log-uniform floats
    name=int(low,high)        whole numbers, both ends included; name=logint(low,high): log-uniform whole numbers
    name=range(n)             whole numbers as in Python, also range(first,end) and range(first,end,step)
    name=value                always this value

Parameters are separated by `;` or line breaks. Commas inside brackets or quotes belong to the value:
`augment=choice("flip,crop",flip,"")`. This module only reads the text; `parameter` checks names and values.
"""

import collections
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.errors import ConfigError, unknown_name

KINDS = ("choice", "uniform", "log", "int", "logint", "range")
_MAX_CHARS = 1_000_000
_MAX_PARAMETERS = 100
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_BEFORE_A_QUOTE = "=,;:([{"  # elsewhere a quote is an apostrophe: folder:it's


@dataclass(frozen=True)
class Spelled:
    """A value as text, not yet of the type of its field.

    Attributes:
        text: the text without quotes and surrounding white space.
        is_quoted: whether it was in quotes.
    """

    text: str
    is_quoted: bool


@dataclass(frozen=True)
class Spec:
    """The spec of one parameter; a single value is a choice of one.

    Attributes:
        name: name of the parameter, as given.
        kind: one of KINDS.
        arguments: `Spelled` values from text, plain values from JSON.
    """

    name: str
    kind: str
    arguments: tuple[Any, ...]


def read_text(text: str) -> list[Spec]:
    """Reads the text of `--space`.

    Raises:
        ConfigError: the text does not follow the grammar; the message quotes the part that is wrong.

    Example:
        >>> read_text("seed=range(3)")
        [Spec(name='seed', kind='range', arguments=(Spelled(text='3', is_quoted=False),))]
    """
    _check_length(text)
    cuts = [place for place, char in _outside_quotes(text) if char == ";"]
    parts = itertools.chain.from_iterable(_split(part, "\n") for part in _cut(text, cuts))
    return _checked(_read_part(part.strip()) for part in parts if part.strip())


def read_json(text: str) -> list[Spec]:
    """Reads a JSON object of parameters, each a plain value or an object such as {"log": [1e-4, 0.1]}.

    Raises:
        ConfigError: the text is not JSON, is too large, or holds an invalid spec.
    """
    _check_length(text)
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except ConfigError:
        raise
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"space is not valid JSON: {err}") from err
    if not isinstance(values, dict):
        raise ConfigError(f"space must be a JSON object of parameters, but is a {type(values).__name__}")
    return _checked(_read_value(name, value) for name, value in values.items())


def _check_length(text: str) -> None:
    if len(text) > _MAX_CHARS:
        raise ConfigError(f"space of {len(text):,} characters is too large: at most {_MAX_CHARS:,} are read")


def _checked(specs: Iterable[Spec]) -> list[Spec]:
    found: dict[str, Spec] = {}
    for spec in specs:
        if spec.name in found:
            raise ConfigError(f"space gives {spec.name} twice: leave one out, or join them as {spec.name}=choice(...)")
        found[spec.name] = spec
    if not 1 <= len(found) <= _MAX_PARAMETERS:
        raise ConfigError(
            f"space has {len(found)} parameters: give from 1 to {_MAX_PARAMETERS}, such as seed=range(3), joined by ;"
        )
    return list(found.values())


def _read_part(part: str) -> Spec:
    name, separator, value = (piece.strip() for piece in part.partition("="))
    if not separator or not name:
        raise ConfigError(
            f"space has {_near(part)!r}, which is not name=value: write for example seed=3 or seed=range(3)"
        )
    call = re.match(r"([A-Za-z_]\w*)\s*\(", value)
    if not call:
        return Spec(name, "choice", (_spelled(value),))
    kind = call[1]
    if kind not in KINDS:
        raise ConfigError(f"{name}: {unknown_name('spec', kind, KINDS)}; put a value that looks like this in quotes")
    if not value.endswith(")"):
        raise ConfigError(f"space has text after the ) of {_near(part)!r}: separate parameters by ;")
    inner = value[call.end() : -1]
    arguments = [_spelled(piece) for piece in _split(inner, ",")] if inner.strip() else []
    if any(not argument.text and not argument.is_quoted for argument in arguments):
        raise ConfigError(f'{name}: {_near(value)} has an empty part: leave out the comma, or write "" for no value')
    return Spec(name, kind, tuple(arguments))


def _read_value(name: str, value: Any) -> Spec:
    if not isinstance(value, Mapping):
        return Spec(name, "choice", (value,))
    if len(value) != 1:
        raise ConfigError(
            f"{name}: an object in a space needs exactly one of the keys {', '.join(KINDS)}, but this one has "
            f'{len(value)} keys: write a value that is an object as {{"choice": [{{...}}]}}'
        )
    [(kind, arguments)] = value.items()
    if kind not in KINDS:
        raise ConfigError(f"{name}: {unknown_name('spec', kind, KINDS)}")
    if not isinstance(arguments, list):
        raise ConfigError(f"{name}: {kind} must have a list, such as [1, 3], but has {_near(repr(arguments))}")
    return Spec(name, kind, tuple(arguments))


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(twice, _)] = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ConfigError(f"space gives {twice} twice in one JSON object: leave one out")
    return values


def _spelled(piece: str) -> Spelled:
    piece = piece.strip()
    quote = piece[:1]
    if quote in ('"', "'") and re.fullmatch(rf"{quote}(?:\\{quote}|[^{quote}])*{quote}", piece, re.DOTALL):
        return Spelled(piece[1:-1].replace(f"\\{quote}", quote), is_quoted=True)
    return Spelled(piece, is_quoted=False)


def _split(text: str, separator: str) -> list[str]:
    """Splits a text at separators outside quotes and brackets."""
    cuts: list[int] = []
    opened: list[int] = []
    for place, char in _outside_quotes(text):
        if char in _BRACKETS:
            opened.append(place)
        elif char in _BRACKETS.values():
            if not opened or char != _BRACKETS[text[opened.pop()]]:
                raise ConfigError(
                    f"space has a {char} that closes nothing in {_near(text, place)!r}: separate parameters by ; and "
                    "put a value that holds such a bracket in quotes"
                )
        elif char == separator and not opened:
            cuts.append(place)
    if opened:
        raise ConfigError(
            f"space has a {text[opened[-1]]} that is not closed in {_near(text, opened[-1])!r}: close it, or put a "
            "value that holds such a bracket in quotes"
        )
    return _cut(text, cuts)


def _cut(text: str, cuts: Iterable[int]) -> list[str]:
    return [text[before + 1 : after] for before, after in itertools.pairwise([-1, *cuts, len(text)])]


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    """Yields position and character of the text outside quotes; a quote opens only where a value begins."""
    quote, opened, before = "", 0, ","
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[place - 1] != "\\" else quote
        elif char in "\"'" and before in _BEFORE_A_QUOTE:
            quote, opened = char, place
        else:
            yield place, char
        before = before if char.isspace() else char
    if quote:
        raise ConfigError(f"space has a quote {quote} that is not closed in {_near(text[opened:])!r}")


def _near(text: str, place: int = 0) -> str:
    """Returns the text from the line of `place` on, shortened for an error message."""
    text = " ".join(text[text.rfind("\n", 0, place) + 1 :].split())
    return text if len(text) <= 60 else text[:57] + "..."
