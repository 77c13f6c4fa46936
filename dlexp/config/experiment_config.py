"""ExperimentConfig: all settings of one training, frozen, checked and written as JSON.

Each setting is a flag, a config field and an MLflow param of the same spelling. One declaration makes all three, so
they cannot differ. Fields are grouped in sections; elsewhere (flags, JSON, MLflow, tables) they are flat.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlexp.config.json_values import json_value
from dlexp.config.sections import (
    SEEDS,
    DataConfig,
    ExecutionConfig,
    ModelConfig,
    OptimizationConfig,
    SelectionConfig,
    TrackingConfig,
)
from dlexp.config.setting import ALWAYS_THERE, Mark, setting
from dlexp.config.validation import check_values, convert_value
from dlexp.errors import ConfigError, unknown_name


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The complete description of one training: the same config on the same data gives the same weights.

    Attributes:
        seed: seed of the initial weights, the order of the examples and augmentation.
        plugins: files or modules that are imported before names are looked up.

    Example:
        >>> config = ExperimentConfig.of(model="resnet20", epochs=3)
        >>> config.optimization.epochs
        3
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = setting(
        0, "Seed of the initial weights, the order of the examples and augmentation.", range=SEEDS, traced=False
    )
    plugins: tuple[str, ...] = setting(
        (),
        "Python files or modules that register models, sources, augmentations, callbacks, trackers, losses or metrics.",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        check_values(self.flat(), config_fields())

    @classmethod
    def of(cls, **values: Any) -> "ExperimentConfig":
        """Makes a config from flat fields; fields that are not given keep their defaults.

        Raises:
            ConfigError: a field is unknown, of the wrong type or out of range.
        """
        known = config_fields()
        for name in values:
            if name not in known:
                raise unknown_name("config field", name, known)
        checked = {name: convert_value(known[name], value) for name, value in values.items()}
        sections = {
            name: section(**{f.name: checked.pop(f.name) for f in dataclasses.fields(section) if f.name in checked})
            for name, section in _SECTIONS.items()
        }
        return cls(**sections, **checked)

    def flat(self) -> dict[str, Any]:
        """Returns all fields by name, in the order of the sections, with values of JSON's types (lists for tuples)."""
        values: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name in _SECTIONS:
                values |= {inner.name: json_value(getattr(value, inner.name)) for inner in dataclasses.fields(value)}
            else:
                values[f.name] = json_value(value)
        return values

    def replace(self, **values: Any) -> "ExperimentConfig":
        """Returns a copy with some flat fields changed."""
        return ExperimentConfig.of(**(self.flat() | values))

    def to_json(self) -> str:
        """Returns the JSON text of all fields; `from_json` makes an equal config of it."""
        return json.dumps(self.flat(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ExperimentConfig":
        """Reads what `to_json` wrote, also in a version of dlexp that lacked some fields.

        Raises:
            ConfigError: the text is not JSON, is too large, or has a field that is unknown or wrong.
        """
        if len(text) > _MAX_JSON_CHARS:
            raise ConfigError(f"config of {len(text):,} characters is too large: at most {_MAX_JSON_CHARS:,} are read")
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as err:
            raise ConfigError(f"config is not valid JSON: {err}") from err
        if not isinstance(values, dict):
            raise ConfigError(f"config must be a JSON object of fields, but is a {type(values).__name__}")
        before = {name: field.metadata["before"] for name, field in config_fields().items()}
        return cls.of(**({name: value for name, value in before.items() if value is not ALWAYS_THERE} | values))

    def digest(self) -> str:
        """Returns a hash, 16 hex digits, of the fields that change the result, not of those of logging or caching."""
        values, fields = self.flat(), config_fields()
        added = {name for name in fields if values[name] == json_value(fields[name].metadata["before"])}
        relevant = {name: values[name] for name in field_names("changes_result") if name not in added}
        return hashlib.blake2b(json.dumps(relevant, sort_keys=True).encode(), digest_size=8).hexdigest()


_MAX_JSON_CHARS = 1_000_000
_SECTIONS: dict[str, Any] = {
    f.name: f.type for f in dataclasses.fields(ExperimentConfig) if dataclasses.is_dataclass(f.type)
}


@functools.cache
def config_fields() -> Mapping[str, dataclasses.Field[Any]]:
    """Returns all flat fields by name, in order; `.type`, `.default` and `.metadata` (see `setting`) define flags."""
    fields = {f.name: f for section in _SECTIONS.values() for f in dataclasses.fields(section)}
    return fields | {f.name: f for f in dataclasses.fields(ExperimentConfig) if f.name not in _SECTIONS}


def field_names(mark: Mark) -> tuple[str, ...]:
    """Returns the names of the flat fields that have a mark, in order.

    Example:
        >>> field_names("makes_dataset")[:3]
        ('dataset', 'dataset_name', 'dataset_id')
    """
    return tuple(name for name, f in config_fields().items() if f.metadata[mark])


def config_sections() -> Mapping[str, list[str]]:
    """Returns the names of the flat fields by section; `experiment` has the fields outside all sections."""
    sections = {name: [f.name for f in dataclasses.fields(section)] for name, section in _SECTIONS.items()}
    placed = {name for names in sections.values() for name in names}
    return sections | {"experiment": [name for name in config_fields() if name not in placed]}
