"""Reads a file of command lines, each of which is one trial of a sweep."""

import json
import pathlib
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_sections
from dlexp.config.flags import config_from_words
from dlexp.config.spelling import config_to_flagfile
from dlexp.errors import ConfigError, DlexpError

_MAX_CHARS = 1_000_000


@dataclass(frozen=True)
class Commands:
    """Configs given one by one; a point holds the fields that one line changes in the base.

    Attributes:
        base: the config that the lines modify.
        points: the changes of each line, by config field.
    """

    base: ExperimentConfig
    points: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: str | pathlib.Path, base: ExperimentConfig) -> "Commands":
        """Reads a file with the flags of one run per line, optionally after `dlexp train`; # begins a comment.

        Args:
            path: path of the file; a relative `--flagfile` in it is relative to the working directory.
            base: the config that the flags of a line modify.

        Raises:
            ConfigError: the file cannot be read, or a line is wrong; the message gives its number.
        """
        try:
            text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"--runs_file={path} cannot be read: {err}") from err
        if len(text) > _MAX_CHARS:
            raise ConfigError(f"--runs_file={path} of {len(text):,} characters is too large: at most {_MAX_CHARS:,}")
        return cls.parse(text.splitlines(), base, origin=f"--runs_file={path}")

    @classmethod
    def parse(cls, lines: Sequence[str], base: ExperimentConfig, *, origin: str) -> "Commands":
        """Reads lines as `read` reads those of a file.

        Args:
            lines: the flags of a run each, or empty.
            base: the config that the flags of a line modify.
            origin: where the lines come from, for messages.

        Raises:
            ConfigError: a line is wrong; the message gives its number.
        """
        words = [line for line in config_to_flagfile(base).splitlines() if line.startswith("--")]
        points = []
        for number, line in enumerate(lines, start=1):
            try:
                given = shlex.split(line, comments=True)
                if given:
                    points.append(difference(base, config_from_words([*words, *_without_command(given)])))
            except (DlexpError, ValueError) as err:
                raise ConfigError(f"{origin}, line {number}: {err}") from err
        if not points:
            raise ConfigError(f"{origin} has no line with flags: write the flags of one run per line")
        return cls(base, points)

    @classmethod
    def from_json(cls, text: str, base: ExperimentConfig) -> "Commands":
        """Reads what `to_json` wrote."""
        return cls(base, json.loads(text))

    def with_base(self, base: ExperimentConfig) -> "Commands":
        """Returns the same changes over another base config."""
        return Commands(base, self.points)

    def to_json(self) -> str:
        """Returns the points as JSON."""
        return json.dumps([dict(point) for point in self.points])

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields the points in the order of the lines."""
        return (dict(point) for point in self.points)

    def grid_size(self) -> int:
        """Returns the number of lines."""
        return len(self.points)

    def config(self, point: Mapping[str, Any]) -> ExperimentConfig:
        """Returns the config of a line."""
        return self.base.replace(**point)

    def corner_configs(self) -> Iterator[ExperimentConfig]:
        """Yields the config of every line."""
        return (self.config(point) for point in self.points)

    def combinations(self, fields: Container[str]) -> Iterator[ExperimentConfig]:
        """Yields the config of every line, whatever the fields."""
        return self.corner_configs()

    def label(self, point: Mapping[str, Any]) -> str:
        """Returns the changes of a line as text."""
        return " ".join(f"{name}={value}" for name, value in point.items()) or "as given"


def difference(base: ExperimentConfig, config: ExperimentConfig) -> dict[str, Any]:
    """Returns the fields of a config that differ from those of the base, as a point."""
    # All trials of a sweep are written to the same place; a line may only set the name and the tags of its run.
    shared = set(config_sections()["tracking"]) - {"tags", "run_name"}
    before, after = base.flat(), config.flat()
    return {name: value for name, value in after.items() if value != before[name] and name not in shared}


def _without_command(words: list[str]) -> list[str]:
    for prefix in (["dlexp", "train"], ["python", "-m", "dlexp.main"]):
        if words[: len(prefix)] == prefix:
            return words[len(prefix) :]
    return words
