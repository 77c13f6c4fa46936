"""Declares a config field: default, help text, allowed values, and the marks that lists of fields are derived from.

A field is declared once, in `sections.py`. Flags, help, validation, digests, recipes, evaluation and warm trials read
the declaration, so that no other list has to be maintained.
"""

import dataclasses
import types
from typing import Any, Literal

from dlexp.config.range import Range

Mark = Literal["changes_result", "makes_dataset", "traced"]
ALWAYS_THERE: Any = object()  # no version of dlexp lacked the field
AUTO = -1  # what `auto` means in a field of whole numbers; a number replaces it before anything is trained or recorded


def setting(
    default: Any,
    help: str,
    *,
    range: Range | None = None,
    choices: tuple[str, ...] = (),
    changes_result: bool = True,
    makes_dataset: bool | None = None,
    traced: bool | None = None,
    before: Any = ALWAYS_THERE,
    auto: bool = False,
) -> Any:
    """Declares a field; the arguments are stored in the field's `metadata` by the same names.

    Args:
        default: default value of the field; a mapping is made read-only.
        help: full sentences; range and choices are added where they are shown.
        range: range of the value; every numeric field needs one.
        choices: allowed values of a text field; empty: any text.
        changes_result: whether the result depends on the field. False if two trainings that differ only in this field
            give the same result.
        makes_dataset: whether the dataset depends on the field; a recipe stores it then. Every field of DataConfig sets
            True or False; no other field sets it.
        traced: whether the field is part of the traced training step; by default as `changes_result`. If False, a warm
            trial reuses a network that was traced with another value, and `sweeps.warm_networks.renew` must set the
            new value.
        before: the value that trains as versions of dlexp without this field did. Configs of such versions are read
            with this value, and a field that has it is left out of digests, so that digests stay the same.
        auto: whether a numeric field also accepts the word auto, whose value is AUTO until a number is chosen.
    """
    metadata = {
        "help": help,
        "range": range,
        "choices": choices,
        "changes_result": changes_result,
        "makes_dataset": makes_dataset,
        "traced": changes_result if traced is None else traced,
        "before": before,
        "auto": auto,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: types.MappingProxyType(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
