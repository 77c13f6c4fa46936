"""Reads the trials of a sweep from its flags: a space, a file with a space, or a file of command lines."""

import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space


def read_candidates(given: Mapping[str, Any], base: ExperimentConfig) -> Space | Commands:
    """Reads the one of the flags `space`, `space_file` and `runs_file` that is given.

    Args:
        given: values of these flags.
        base: the config that the trials modify.

    Raises:
        ConfigError: none or several are given, or the file or the space cannot be read.
    """
    named = [name for name in ("space", "space_file", "runs_file") if given[name]]
    if len(named) != 1:
        raise ConfigError(
            f"dlexp sweep needs one of --space, --space_file and --runs_file, and got {' and '.join(named) or 'none'}"
        )
    if given["runs_file"]:
        return Commands.read(given["runs_file"], base)
    if given["space"]:
        return Space.parse(given["space"], base)
    try:
        text = pathlib.Path(given["space_file"]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"--space_file={given['space_file']} cannot be read: {err}") from err
    return Space.from_json(text, base)
