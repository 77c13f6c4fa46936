"""How a field of the config is declared: default, help text, values, and the marks that every list of fields follows.

A field is declared once, in `sections.py`. Flags, help, validation, digests, recipes, evaluation and warm trials read
the declaration, so that no other list has to be kept.
"""

import dataclasses
import types
from typing import Any, Literal

from dlexp.config.range import Range

Mark = Literal["changes_result", "makes_dataset", "traced"]


def setting(
    default: Any,
    help: str,
    *,
    range: Range | None = None,
    choices: tuple[str, ...] = (),
    changes_result: bool = True,
    makes_dataset: bool | None = None,
    traced: bool | None = None,
) -> Any:
    """Declares a field; what it says is in the field's `metadata`, by the same names.

    Args:
        default: value of the field; a mapping cannot be changed afterwards.
        help: full sentences; range and choices are added where they are shown.
        range: what the value must lie in; every number needs one.
        choices: what a text must be one of; empty: any text.
        changes_result: the result depends on it; False for what two equal trainings may differ in.
        makes_dataset: it takes part in making the dataset, so a recipe holds it. Every field of DataConfig says True
            or False; no other field says it.
        traced: it is a part of the traced training; as `changes_result` if not given. With False a warm trial takes a
            network that was traced with another value, and `sweeps.warm_networks.renew` must set the new value.
    """
    metadata = {
        "help": help,
        "range": range,
        "choices": choices,
        "changes_result": changes_result,
        "makes_dataset": makes_dataset,
        "traced": changes_result if traced is None else traced,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: types.MappingProxyType(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
