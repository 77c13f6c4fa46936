"""Checks the values of config fields, and converts them to the types of the fields."""

import dataclasses
import itertools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from dlexp.config.class_weights import parse_class_weights
from dlexp.config.scrubbing import holds_credentials, scrub
from dlexp.config.sections import ENDING_SCHEDULES
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError, unknown_name


def check_values(values: Mapping[str, Any], fields: Mapping[str, dataclasses.Field[Any]]) -> None:
    """Raises ConfigError for a value that cannot work with any data and model.

    Args:
        values: all flat fields of a config.
        fields: declarations of the fields, with their ranges and choices.
    """
    for name, setting in fields.items():
        value, choices, allowed = values[name], setting.metadata["choices"], setting.metadata["range"]
        if choices and value not in choices:
            raise unknown_name(f"{name} value", value, choices)
        auto = setting.metadata["auto"]
        if allowed and value not in allowed and not (auto and value == AUTO):
            kind = "a whole number" if setting.type is int else "a number" if allowed.is_bounded else "a finite number"
            raise ConfigError(f"{name}={value} is out of range: it must be {'auto or ' * auto}{kind}, {allowed.rule}")
    for name, value in values.items():
        _check_spelling(name, value)
    _check_combinations(values)
    for name in values["checkpoint_fields"]:
        if name not in fields:
            raise ConfigError(f"checkpoint_fields: {unknown_name('config field', name, fields)}")


def _check_combinations(values: Mapping[str, Any]) -> None:
    validation, test, size = values["validation_fraction"], values["test_fraction"], values["image_size"]
    if values["split_method"] not in ("official", "folds") and validation + test >= 1:
        raise ConfigError(
            f"validation_fraction={validation} and test_fraction={test} leave nothing to train on: "
            "their sum must be below 1"
        )
    if size is not None and (len(size) != 2 or not all(1 <= side <= _MAX_SIDE for side in size)):
        raise ConfigError(f"image_size={size} must be height,width, each from 1 to {_MAX_SIDE}")
    _check_split(values)
    batch, micro_batch = values["batch_size"], values["micro_batch_size"]
    if batch != AUTO and micro_batch > batch:
        raise ConfigError(f"micro_batch_size={micro_batch} is more than batch_size={batch}: leave it out")
    steps = values["steps_per_execution"]
    if steps != "auto" and not (steps.isdecimal() and int(steps) >= 1):
        raise ConfigError(f"steps_per_execution={steps} must be auto or a whole number, at least 1")
    if values["warmup_epochs"] >= values["epochs"]:
        raise ConfigError(f"warmup_epochs={values['warmup_epochs']:g} must be less than epochs={values['epochs']}")
    _check_extension(values)
    parse_class_weights(values["class_weights"])
    if values["class_weights"] == "balanced" and values["sampling"] == "balanced":
        raise ConfigError("class_weights=balanced and sampling=balanced correct the same imbalance twice: choose one")
    if holds_credentials(values["tracking_uri"]):
        raise ConfigError(
            f"tracking_uri={scrub(values['tracking_uri'])} contains a user name, password or token, which every "
            "record would repeat: remove it, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )


def _check_extension(values: Mapping[str, Any]) -> None:
    planned = values["extended_from"]
    if not planned:
        return
    if values["lr_schedule"] not in ENDING_SCHEDULES:
        raise ConfigError(
            f"extended_from={','.join(planned)} has no effect with lr_schedule={values['lr_schedule']}, whose course "
            "does not depend on epochs: leave it out"
        )
    numbers = [int(text) if text.isdecimal() else 0 for text in planned]
    rising = [0, *numbers, values["epochs"]]
    if any(later <= earlier for earlier, later in itertools.pairwise(rising)):
        raise ConfigError(
            f"extended_from={','.join(planned)} must be whole numbers of epochs, each larger than the one before and "
            f"below epochs={values['epochs']}"
        )
    if values["warmup_epochs"] >= numbers[0]:
        raise ConfigError(
            f"warmup_epochs={values['warmup_epochs']:g} must be less than the first number of "
            f"extended_from={','.join(planned)}"
        )


def _check_split(values: Mapping[str, Any]) -> None:
    method, folds, fold = values["split_method"], values["folds"], values["fold"]
    if fold >= folds:
        raise ConfigError(f"fold={fold} is not one of folds={folds}: use 0 to {folds - 1}")
    if method == "folds" and values["validation_fraction"] >= 1 - 1 / folds:
        raise ConfigError(
            f"validation_fraction={values['validation_fraction']} leaves nothing to train on, since the test "
            f"takes 1/{folds}: it must be below {1 - 1 / folds:.2f}"
        )
    if bool(values["group_column"]) + bool(values["group_pattern"]) != (method == "group"):
        raise ConfigError(
            f"split_method={method} with group_column={values['group_column']!r} and "
            f"group_pattern={values['group_pattern']!r}: split_method=group needs exactly one of the two, other "
            "methods neither"
        )
    try:
        pattern = re.compile(values["group_pattern"])
    except re.error as err:
        raise ConfigError(
            f"group_pattern={values['group_pattern']!r} is not a valid regular expression: {err}"
        ) from err
    if values["group_pattern"] and not pattern.groups:
        raise ConfigError(
            f"group_pattern={values['group_pattern']!r} has no group: put ( ) around the part that names the group"
        )


def _check_spelling(name: str, value: Any) -> None:
    """Raises ConfigError for text that does not fit on one line of a flagfile."""
    for text in value if isinstance(value, list) else [value]:
        if not isinstance(text, str):
            continue
        if text != text.strip() or len(text.splitlines()) > 1:
            raise ConfigError(f"{name}={text!r} must not start or end with white space, or have line breaks")
        if isinstance(value, list) and (not text or "," in text):
            raise ConfigError(f"{name}={value} is a list joined by commas: no item may be empty or contain a comma")


_MAX_SIDE = 16384


def convert_value(setting: dataclasses.Field[Any], value: Any) -> Any:
    """Converts a JSON or Python value to the type of its field, without guessing: 3 may become a float, "3" may not.

    Raises:
        ConfigError: the value is of another type.
    """
    kind = setting.type
    if kind == tuple[int, int] | None:
        if value is None:
            return None
        if isinstance(value, (list, tuple)) and all(_is_int(side) for side in value):
            return tuple(value)
    elif kind == tuple[str, ...]:
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif typing.get_origin(kind) is Mapping:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return types.MappingProxyType(dict(value))
    elif kind is float and (_is_int(value) or isinstance(value, float)):
        return float(value)
    elif setting.metadata["auto"] and value == "auto":
        return AUTO
    elif (kind is int and _is_int(value)) or (kind in (str, bool) and isinstance(value, kind)):
        return value
    shown = repr(value) if len(repr(value)) < 100 else repr(value)[:100] + "..."
    wanted = {"tuple[int, int] | None": "height,width", "tuple[str, ...]": "a list of strings"}.get(str(kind))
    raise ConfigError(
        f"config field {setting.name} must be {wanted or getattr(kind, '__name__', str(kind))}, but is {shown}"
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
