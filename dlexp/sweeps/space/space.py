"""The search space of `dlexp sweep`: which config fields vary, and how; a point holds the values of one trial.

A point maps names of parameters to JSON values, so that it can be stored and read back.
"""

import json
import math
import textwrap
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, unknown_name
from dlexp.sweeps.space.grammar import Spec, read_json, read_text
from dlexp.sweeps.space.parameter import ARGUMENTS, Parameter, build_parameters

__all__ = ["Parameter", "Space"]


@dataclass(frozen=True)
class Space:
    """Parameters and the config that they vary; made by `parse` or `from_json`, which check them.

    Attributes:
        parameters: in the order given, except that model and optimizer come before the parameters that depend on them.
        base: the config of all fields that a point does not set.

    Example:
        >>> space = Space.parse("model=choice(small_cnn,resnet20); resnet20.dropout=choice(0,0.5)", ExperimentConfig())
        >>> [space.label(point) for point in space.grid()]
        ['model=small_cnn', 'model=resnet20 resnet20.dropout=0', 'model=resnet20 resnet20.dropout=0.5']
    """

    parameters: tuple[Parameter, ...]
    base: ExperimentConfig

    @classmethod
    def parse(cls, text: str, base: ExperimentConfig) -> "Space":
        """Reads the text of `--space`; the grammar is in `dlexp.sweeps.space.grammar`.

        Raises:
            ConfigError: the text cannot be read, a field cannot be searched, or a value is not valid for its field.
        """
        return cls._of(read_text(text), base)

    @classmethod
    def from_json(cls, text: str, base: ExperimentConfig) -> "Space":
        """Reads what `to_json` wrote, or a `--space_file` written by hand; raises as `parse` does."""
        return cls._of(read_json(text), base)

    @classmethod
    def _of(cls, specs: Sequence[Spec], base: ExperimentConfig) -> "Space":
        space = cls(build_parameters(specs, base), base)
        for point in space._corners():
            try:
                space.config(point)
            except ConfigError as err:
                trial = textwrap.shorten(_label(point), 100, placeholder=" ...")
                raise ConfigError(f"space contains a trial that cannot work, {trial}: {err}") from err
        return space

    def to_json(self) -> str:
        """Returns JSON text, one parameter per line; with the same base, `from_json` returns an equal space."""
        lines = [
            f"  {json.dumps(parameter.name)}: {json.dumps(_json_spec(parameter))}" for parameter in self.parameters
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def with_base(self, base: ExperimentConfig) -> "Space":
        """Returns the same space over another base config; raises as `parse` does."""
        return self.from_json(self.to_json(), base)

    def active(self, point: Mapping[str, Any]) -> list[Parameter]:
        """Returns the parameters that apply, given the values chosen so far."""
        return [parameter for parameter in self.parameters if self._applies(parameter, point)]

    def varies(self, name: str) -> bool:
        """Whether the parameter of this name has more than one value."""
        return any(parameter.name == name and not parameter.is_fixed for parameter in self.parameters)

    def draw(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Makes a point.

        Args:
            suggest: chooses the value of a parameter; called in order for those that apply and have several values.
        """
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if self._applies(parameter, point):
                point[parameter.name] = parameter.values[0] if parameter.is_fixed else suggest(parameter)
        return point

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields every point, the last parameter varying fastest; conditionals that do not apply are left out.

        Raises:
            ConfigError: a parameter has no list of values; raised by the call, not with the first point.
        """
        for parameter in self.parameters:
            if not parameter.is_finite:
                lists = "range(first,end) or choice(...)" if "int" in parameter.kind else "choice(...)"
                raise ConfigError(
                    f"a grid needs lists of values, but {parameter.name} is "
                    f"{parameter.kind}({parameter.low:g},{parameter.high:g}): "
                    f"write {parameter.name}={lists}, or choose another --search"
                )
        return self._points({}, self.parameters, lambda parameter: parameter.values)

    def combinations(self, fields: Container[str]) -> Iterator[ExperimentConfig]:
        """Yields a config for every combination of the values of some fields; all others keep their first value.

        Args:
            fields: config fields that are combined; of an interval, its smallest and its largest value.
        """

        def values_of(parameter: Parameter) -> Sequence[Any]:
            is_combined = parameter.target.partition(".")[0] in fields
            return parameter.extremes if is_combined else parameter.extremes[:1]

        return map(self.config, self._points({}, self.parameters, values_of))

    def grid_size(self) -> int | None:
        """Returns how many points `grid` yields; None if a parameter has no list of values."""
        if not all(parameter.is_finite for parameter in self.parameters):
            return None
        free = [
            parameter
            for parameter in self.parameters
            if parameter.condition is None and parameter.name not in ARGUMENTS
        ]
        return _combinations(free) * math.prod(self._branches(field) for field in ARGUMENTS)

    def config(self, point: Mapping[str, Any]) -> ExperimentConfig:
        """Returns the config of a point; entries such as `model_args.dropout` are merged into the base's mapping.

        Raises:
            ConfigError: a name is not in this space or does not apply, or the values do not work together.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        flat = self.base.flat()
        changes: dict[str, Any] = {}
        for name, value in point.items():
            if name not in known:
                raise unknown_name("parameter", name, known)
            if not self._applies(known[name], point):
                raise ConfigError(f"{name} is in a point that it does not apply to, {_label(point)}: leave it out")
            field, _, key = known[name].target.partition(".")
            entries = {key: value} if key else value
            is_merged = isinstance(flat[field], Mapping) and isinstance(entries, Mapping)
            changes[field] = changes.get(field, flat[field]) | entries if is_merged else value
        return self.base.replace(**changes)

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether a point is in this space: exactly the parameters that apply have a value, and it is possible."""
        active = {parameter.name: parameter for parameter in self.active(point)}
        return active.keys() == point.keys() and all(active[name].holds(value) for name, value in point.items())

    def label(self, point: Mapping[str, Any]) -> str:
        """Returns a short text of the parameters that vary: `learning_rate=0.00123 model=resnet20`."""
        varying = [parameter.name for parameter in self.parameters if not parameter.is_fixed]
        return _label({name: point[name] for name in varying if name in point})

    def corner_configs(self) -> Iterator[ExperimentConfig]:
        """Yields configs that contain every value of the choices, and smallest and largest value of all others."""
        return map(self.config, self._corners())

    def _corners(self) -> Iterator[dict[str, Any]]:
        """Yields points that differ from the first one in one extreme value, and in the condition of its parameter."""
        seen = set()
        for parameter in self.parameters:
            for value in parameter.extremes:
                wanted = {parameter.name: value} | dict([parameter.condition] if parameter.condition else [])
                point = self._point_with(wanted)
                if (key := json.dumps(point)) not in seen:
                    seen.add(key)
                    yield point

    def _point_with(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if self._applies(parameter, point):
                point[parameter.name] = wanted.get(parameter.name, parameter.extremes[0])
        return point

    def _points(
        self,
        point: dict[str, Any],
        parameters: Sequence[Parameter],
        values_of: Callable[[Parameter], Sequence[Any]],
    ) -> Iterator[dict[str, Any]]:
        if not parameters:
            yield point
        elif not self._applies(parameters[0], point):
            yield from self._points(point, parameters[1:], values_of)
        else:
            for value in values_of(parameters[0]):
                yield from self._points({**point, parameters[0].name: value}, parameters[1:], values_of)

    def _applies(self, parameter: Parameter, point: Mapping[str, Any]) -> bool:
        if parameter.condition is None:
            return True
        field, value = parameter.condition
        return (point[field] if field in point else self.base.flat()[field]) == value

    def _branches(self, field: str) -> int:
        """Counts the points that differ in `field` and in the parameters that are conditional on it."""
        values = next(
            (parameter.values for parameter in self.parameters if parameter.name == field), (self.base.flat()[field],)
        )
        return sum(_combinations(p for p in self.parameters if p.condition == (field, value)) for value in values)


def _combinations(parameters: Iterable[Parameter]) -> int:
    return math.prod(len(parameter.values) for parameter in parameters)


def _json_spec(parameter: Parameter) -> Any:
    if not parameter.is_finite:
        return {parameter.kind: [parameter.low, parameter.high]}
    if parameter.is_fixed and not isinstance(parameter.values[0], Mapping):
        return parameter.values[0]
    return {"choice": parameter.values}


def _label(point: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in point.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ",".join(map(_short, value))
    return value if isinstance(value, str) else json.dumps(value)
