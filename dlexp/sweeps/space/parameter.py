"""Parameters of a search space: specs of the grammar, checked against the config fields that they set."""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_fields, config_sections
from dlexp.config.flags import value_from_text
from dlexp.config.validation import convert_value
from dlexp.errors import ConfigError, unknown_name
from dlexp.sweeps.space.grammar import Spec, Spelled

# Fields that a condition may refer to, with the field that holds the arguments of the model or optimizer.
ARGUMENTS = {"model": "model_args", "optimizer": "optimizer_args"}
_MAX_VALUES = 1000
_MAX_WHOLE = 2**53  # a float represents every whole number up to this one
_TYPES: dict[str, tuple[Any, ...]] = {"uniform": (float,), "log": (float,), "int": (int, float), "logint": (int, float)}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a search space.

    Attributes:
        name: its key in a point: a field, an entry such as `model_args.dropout`, or a conditional `resnet20.dropout`.
        kind: choice, uniform, log, int or logint; a fixed value and a range are choices.
        values: values of a choice in the order given, as JSON values; empty for other kinds.
        low: smallest value of the other kinds; a float for uniform and log, else an int. None for a choice.
        high: largest value, inclusive.
        condition: (field, value) if it applies only to configs with that value: ("model", "resnet20").
        target: the config field that it sets, or an entry of that field.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    low: float | None
    high: float | None
    condition: tuple[str, str] | None
    target: str

    @property
    def is_finite(self) -> bool:
        """Whether its values are listed, as a grid needs. An `int(low,high)` is not listed."""
        return self.kind == "choice"

    @property
    def is_fixed(self) -> bool:
        """Whether it has one value only."""
        return len(self.values) == 1

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values of a choice, or the smallest and largest value of the other kinds."""
        return self.values if self.is_finite else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether the parameter can take a value."""
        if self.is_finite:
            return value in self.values
        low, high = self.extremes
        return type(value) in ((int,) if "int" in self.kind else (int, float)) and low <= value <= high


def build_parameters(specs: Collection[Spec], base: ExperimentConfig) -> tuple[Parameter, ...]:
    """Makes the parameters of a space.

    Args:
        specs: the specs in the order given.
        base: the config of all fields that the space does not set.

    Returns:
        The parameters in the order given, except that a parameter comes before those that depend on it.

    Raises:
        ConfigError: a name or a value cannot be searched, or two parameters set the same field.
    """
    possible: dict[str, tuple[Any, ...]] = {field: (base.flat()[field],) for field in ARGUMENTS}
    possible |= {spec.name: _build(spec, spec.name, None).values for spec in specs if spec.name in ARGUMENTS}
    built = {spec.name: _build(spec, *_resolve(spec.name, possible)) for spec in specs}
    ordered: dict[str, Parameter] = {}
    for name, parameter in built.items():
        if parameter.condition and parameter.condition[0] in built:
            field = parameter.condition[0]
            ordered.setdefault(field, built[field])
        ordered.setdefault(name, parameter)
    _check_targets(ordered.values())
    return tuple(ordered.values())


def _resolve(name: str, possible: Mapping[str, tuple[Any, ...]]) -> tuple[str, tuple[str, str] | None]:
    """Returns target and condition of a name; `possible` holds the values that each field of ARGUMENTS can have."""
    sections = config_sections()
    field, dot, key = name.partition(".")
    if field in sections["tracking"]:
        raise ConfigError(
            f"{name} cannot be searched: it sets where and how runs are written, which all trials of a sweep share; "
            f"give --{field} to the sweep itself"
        )
    if field == "plugins":
        raise ConfigError(
            f"{name} cannot be searched: names of plug-ins are looked up once for all trials; give --plugins to the "
            "sweep itself, and let the names vary"
        )
    if not dot:
        known = config_fields().keys() - {*sections["tracking"], "plugins"}
        if name not in known:
            raise unknown_name("config field", name, known)
        return name, None
    if field in ARGUMENTS.values() and key:
        return name, None
    return _resolve_conditional(name, possible)


def _resolve_conditional(name: str, possible: Mapping[str, tuple[Any, ...]]) -> tuple[str, tuple[str, str] | None]:
    conditions = [(field, value) for field, values in possible.items() for value in values]
    # Names of plug-ins may contain dots: the longest match wins.
    fitting = [
        (field, value) for field, value in conditions if name.startswith(f"{value}.") and len(name) > len(value) + 1
    ]
    most = max((len(value) for _, value in fitting), default=0)
    longest = [(field, value) for field, value in fitting if len(value) == most]
    if len(longest) == 1:
        field, value = longest[0]
        return f"{ARGUMENTS[field]}.{name.removeprefix(value + '.')}", (field, value)
    if longest:
        value = longest[0][1]
        raise ConfigError(
            f"{name}: {value} is both a model and an optimizer of this space; write {' or '.join(ARGUMENTS.values())} "
            f"instead of {value}"
        )
    prefix, _, key = name.partition(".")
    if not key:
        raise ConfigError(f"{name}: an argument must follow the dot, such as model_args.dropout")
    known = {*ARGUMENTS.values(), *(value for _, value in conditions)}
    raise ConfigError(
        f"{name}: {unknown_name('condition', prefix, known)}; the word before the dot must be a model or an "
        "optimizer of this space"
    )


def _build(spec: Spec, target: str, condition: tuple[str, str] | None) -> Parameter:
    if spec.kind in ("choice", "range"):
        return Parameter(spec.name, "choice", _listed(spec, target), None, None, condition, target)
    if "." not in target and config_fields()[target].type not in _TYPES[spec.kind]:
        kind = config_fields()[target].type
        gives = "whole numbers" if "int" in spec.kind else "floats"
        raise ConfigError(
            f"{spec.name}: {spec.kind} gives {gives}, but --{target} is {getattr(kind, '__name__', kind)}: use "
            + ("int(low,high) or choice(...)" if kind is int else "choice(...)")
        )
    if len(spec.arguments) != 2:
        raise ConfigError(f"{spec.name}: {spec.kind} needs low,high, but has {len(spec.arguments)} values")
    read = _whole if "int" in spec.kind else _number
    low, high = (read(spec, argument) for argument in spec.arguments)
    if low >= high:
        raise ConfigError(
            f"{spec.name}: {spec.kind}({low},{high}) needs low below high; write a single value as {spec.name}={low}"
        )
    if "log" in spec.kind and low <= 0:
        raise ConfigError(f"{spec.name}: {spec.kind}({low},{high}) needs low above 0, as its scale is logarithmic")
    return Parameter(spec.name, spec.kind, (), low, high, condition, target)


def _listed(spec: Spec, target: str) -> tuple[Any, ...]:
    """Returns the values of a choice or a range, as JSON values."""
    given = _range(spec) if spec.kind == "range" else spec.arguments
    if not 1 <= len(given) <= _MAX_VALUES:
        raise ConfigError(f"{spec.name}: {spec.kind} has {len(given)} values: give from 1 to {_MAX_VALUES}")
    values: list[Any] = []
    for argument in given:
        value = _value(spec.name, target, argument)
        if value in values:
            raise ConfigError(
                f"{spec.name}: {spec.kind} gives {values[values.index(value)]!r} and {value!r}, which are the same "
                "value: leave one out"
            )
        values.append(value)
    return tuple(values)


def _value(name: str, target: str, given: Any) -> Any:
    """Returns one value as a JSON value with the type of its target."""
    value = _from_text(name, target, given) if isinstance(given, Spelled) else given
    if "." not in target:
        try:
            value = convert_value(config_fields()[target], value)
        except OverflowError as err:
            raise ConfigError(f"{name} has a value that is too large: numbers must be finite") from err
        value = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"{name}={value} cannot be written as JSON: numbers must be finite") from err
    return value


def _from_text(name: str, target: str, given: Spelled) -> Any:
    text = given.text
    if "." in target:
        if given.is_quoted or text[:1] not in ("[", "{"):
            return text if given.is_quoted else value_from_text(target, text)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as err:
            raise ConfigError(f"{name}={text} starts like JSON but is not valid JSON: {err}") from err
    is_list = str(config_fields()[target].type).startswith("tuple")
    if is_list and not given.is_quoted and text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
    return value_from_text(target, text)


def _number(spec: Spec, argument: Any) -> float:
    return float(_finite(spec, argument))


def _whole(spec: Spec, argument: Any) -> int:
    value = _finite(spec, argument)
    if value != int(value) or abs(value) > _MAX_WHOLE:
        raise ConfigError(f"{spec.name}: {spec.kind} needs whole numbers (up to {_MAX_WHOLE}), but has {value:g}")
    return int(value)


def _finite(spec: Spec, argument: Any) -> int | float:
    value = value_from_text("model_args.any", argument.text) if isinstance(argument, Spelled) else argument
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{spec.name}: {spec.kind} needs finite numbers, but has {str(value)[:50]!r}")
    return value


def _range(spec: Spec) -> range:
    numbers = [_whole(spec, argument) for argument in spec.arguments]
    if not 1 <= len(numbers) <= 3 or numbers[2:] == [0]:
        raise ConfigError(f"{spec.name}: range needs n or first,end or first,end,step with a step that is not 0")
    return range(*numbers)


def _check_targets(parameters: Collection[Parameter]) -> None:
    """Raises ConfigError if two parameters would set the same field in one config."""
    for first in parameters:
        for second in parameters:
            overlap = second.target == first.target or second.target.startswith(f"{first.target}.")
            apart = first.condition and second.condition and first.condition != second.condition
            if first is not second and overlap and not apart:
                raise ConfigError(f"space sets {second.target} twice, by {first.name} and {second.name}: leave one out")
