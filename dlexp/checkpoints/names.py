"""File names of checkpoints: built from their contents, and parsed back without loss.

    resnet20__digits-3fa9c1d2__32x32__adamw__lr0.001__wd0.0001__bs128__seed0__1b2c3d4e__best__epoch012__val_accuracy0.9812.keras

Fields are joined by `__`: chosen config fields, the first 8 digits of the run ID, the kind, the epoch (from 1), the
monitored metric with its value. Model, dataset, image size and optimizer have no label; every other field has one. A
character outside `[A-Za-z0-9._-]`, or one that would make the name ambiguous, is escaped as `-.HEX.`, its code point.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import config_fields
from dlexp.errors import CheckpointError, ConfigError

SUFFIX = ".keras"
KINDS = ("best", "last")

_SEPARATOR = "__"
_LABELS = {"learning_rate": "lr", "weight_decay": "wd", "batch_size": "bs"}
_WORDS = ("model", "optimizer")
_DATASET = re.compile(r"(?P<name>.+)-(?P<id>[0-9a-f]{8})")
_SIZE = re.compile(r"\d+x\d+")
_RUN = re.compile(r"[0-9a-f]{8}")
_EPOCH = re.compile(r"epoch(\d{3,})")
_SCORE = re.compile(r"(?P<monitor>.*(?:[A-Za-z_]|-\.[0-9a-f]+\.))(?P<score>-?\d+\.\d{4,}|nan|-?inf)")
_ESCAPED = re.compile(r"-\.([0-9a-f]+)\.")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|(?<=_)_|^_|_$|-(?=\.)")
_MAX_LENGTH = 250


@dataclass(frozen=True)
class CheckpointName:
    """The parts of a checkpoint's file name.

    Attributes:
        fields: config fields by name, in the order of the name; `dataset` is `NAME-ID` with 8 digits of the dataset
            ID, `image_size` is `HEIGHTxWIDTH`.
        run: first 8 digits of the run ID.
        kind: `best` or `last`.
        epoch: epochs completed.
        monitor: name of the metric that chooses the best.
        score: its value, rounded to 4 decimals.
    """

    fields: Mapping[str, str]
    run: str
    kind: str
    epoch: int
    monitor: str
    score: float


def format_name(name: CheckpointName) -> str:
    """Builds the file name, `.keras` included.

    Raises:
        ConfigError: the name would be longer than file systems allow.
    """
    parts = []
    before: dict[str, str] = {}
    for field, value in name.fields.items():
        parts.append(_format_field(field, value, before))
        before[field] = value
    parts += [name.run, name.kind, f"epoch{name.epoch:03d}"]
    parts.append(_format_monitor(name.monitor) + f"{name.score:.4f}")
    text = _SEPARATOR.join(parts) + SUFFIX
    if len(text) > _MAX_LENGTH:
        raise ConfigError(
            f"checkpoint name of {len(text)} characters is too long (at most {_MAX_LENGTH}): choose fewer "
            f"--checkpoint_fields, or a shorter --dataset_name: {text}"
        )
    return text


def parse_name(text: str) -> CheckpointName:
    """Parses a file name that `format_name` built.

    Raises:
        CheckpointError: the name is not of this form.
    """
    parts = text.removesuffix(SUFFIX).split(_SEPARATOR)
    if not text.endswith(SUFFIX) or len(parts) < 4:
        raise _not_a_name(text)
    *fields, run, kind, epoch, score = parts
    epoch_match, score_match = _EPOCH.fullmatch(epoch), _SCORE.fullmatch(score)
    if not (_RUN.fullmatch(run) and kind in KINDS and epoch_match and score_match):
        raise _not_a_name(text)
    read: dict[str, str] = {}
    for part in fields:
        field, value = _parse_field(part, read)
        read[field] = value
    return CheckpointName(
        fields=read,
        run=run,
        kind=kind,
        epoch=int(epoch_match[1]),
        monitor=_unescape(score_match["monitor"]),
        score=float(score_match["score"]),
    )


def _not_a_name(text: str) -> CheckpointError:
    return CheckpointError(
        f"{text!r} is not the name of a checkpoint that dlexp wrote: list those of a store with dlexp checkpoints"
    )


def name_fields(
    config: Mapping[str, Any],
    checkpoint_fields: Sequence[str],
    *,
    dataset_name: str,
    dataset_id: str,
    image_size: Sequence[int],
) -> dict[str, str]:
    """The fields of a name: values of a flat config, but name, ID and image size from the opened dataset."""
    known = {"dataset": f"{dataset_name}-{dataset_id[:8]}", "image_size": f"{image_size[0]}x{image_size[1]}"}
    return {field: known.get(field, _value_text(config[field])) for field in checkpoint_fields}


def _format_field(field: str, value: str, before: Mapping[str, str]) -> str:
    text = _escape(value)
    if not _has_no_label(field, before):
        return _LABELS.get(field, field) + text
    if _label_of(text) or (field in _WORDS and not _is_word(text)):
        # It would be parsed as another field: escaping its first character and its dashes prevents that.
        text = _escape_character(value[0]) + _escape(value[1:])
        text = text if field not in _WORDS else re.sub(r"-(?!\.)", _escape_character("-"), text)
    return text


def _parse_field(part: str, before: Mapping[str, str]) -> tuple[str, str]:
    label = _label_of(part)
    if label:
        return label, _unescape(part.removeprefix(_LABELS.get(label, label)))
    if _SIZE.fullmatch(part):
        return "image_size", part
    if _DATASET.fullmatch(part):
        return "dataset", _unescape(part)
    return ("optimizer" if "model" in before else "model"), _unescape(part)


def _format_monitor(monitor: str) -> str:
    """Escapes a last character that is no letter, as `top5` and 0.9 must not be parsed as `top` and 50.9."""
    last = monitor[-1]
    return _escape(monitor) if last.isascii() and last.isalpha() else _escape(monitor[:-1]) + _escape_character(last)


def _has_no_label(field: str, before: Mapping[str, str]) -> bool:
    """Whether a field has no label; the optimizer is recognized by the model before it."""
    return field in ("model", "dataset", "image_size") or (field == "optimizer" and "model" in before)


def _is_word(text: str) -> bool:
    return not (_SIZE.fullmatch(text) or _DATASET.fullmatch(text))


def _label_of(part: str) -> str | None:
    """The field whose label a part starts with; the longest label, as `lr_schedule` also starts with `lr`."""
    labels = {_LABELS.get(name, name): name for name in config_fields()}
    starting = sorted((label for label in labels if part.startswith(label)), key=len)
    return labels[starting[-1]] if starting else None


def _escape(value: str) -> str:
    return _UNSAFE.sub(lambda match: _escape_character(match[0]), value)


def _escape_character(character: str) -> str:
    return f"-.{ord(character):x}."


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "-".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
