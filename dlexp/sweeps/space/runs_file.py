"""A list of command lines as a sweep: "these forty"."""

import json
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_sections
from dlexp.config.flags import config_from_words
from dlexp.config.spelling import config_to_flagfile
from dlexp.errors import ConfigError, DlexpError

_MAX_CHARS = 1_000_000


@dataclass(frozen=True)
class Commands:
    """Configs given one by one; a point is what one of them changes in the base.

    Attributes:
        base: config that the lines begin from.
        points: what each line changes, by config field.
    """

    base: ExperimentConfig
    points: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: str | pathlib.Path, base: ExperimentConfig) -> "Commands":
        """Reads a file with the flags of one run a line, `dlexp train` in front or not; # begins a comment.

        Args:
            path: of the file; relative `--flagfile`s are looked for from the working directory.
            base: what a line's flags change.

        Raises:
            ConfigError: the file cannot be read, or a line is wrong: its number is named.
        """
        try:
            text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"--runs_file={path} cannot be read: {err}") from err
        if len(text) > _MAX_CHARS:
            raise ConfigError(f"--runs_file={path} of {len(text):,} characters is too large: at most {_MAX_CHARS:,}")
        words = [line for line in config_to_flagfile(base).splitlines() if line.startswith("--")]
        points = []
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                given = shlex.split(line, comments=True)
                if given:
                    points.append(_difference(base, config_from_words([*words, *_without_command(given)])))
            except (DlexpError, ValueError) as err:
                raise ConfigError(f"--runs_file={path}, line {number}: {err}") from err
        if not points:
            raise ConfigError(f"--runs_file={path} has no line with flags: write one run a line")
        return cls(base, points)

    @classmethod
    def from_json(cls, text: str, base: ExperimentConfig) -> "Commands":
        """Reads what `to_json` wrote."""
        return cls(base, json.loads(text))

    def with_base(self, base: ExperimentConfig) -> "Commands":
        """The same changes to another base."""
        return Commands(base, self.points)

    def to_json(self) -> str:
        """JSON of the points."""
        return json.dumps([dict(point) for point in self.points])

    def grid(self) -> Iterator[dict[str, Any]]:
        """The points in the order of the lines."""
        return (dict(point) for point in self.points)

    def grid_size(self) -> int:
        """How many lines there are."""
        return len(self.points)

    def config(self, point: Mapping[str, Any]) -> ExperimentConfig:
        """The config of a line."""
        return self.base.replace(**point)

    def corner_configs(self) -> Iterator[ExperimentConfig]:
        """The config of every line."""
        return (self.config(point) for point in self.points)

    def label(self, point: Mapping[str, Any]) -> str:
        """What the line changes."""
        return " ".join(f"{name}={value}" for name, value in point.items()) or "as given"


def _difference(base: ExperimentConfig, config: ExperimentConfig) -> dict[str, Any]:
    # All trials of a sweep are written to the same place; a line may only say what its run is called there.
    ours = set(config_sections()["tracking"]) - {"tags", "run_name"}
    before, after = base.flat(), config.flat()
    return {name: value for name, value in after.items() if value != before[name] and name not in ours}


def _without_command(words: list[str]) -> list[str]:
    for prefix in (["dlexp", "train"], ["python", "-m", "dlexp.main"]):
        if words[: len(prefix)] == prefix:
            return words[len(prefix) :]
    return words
