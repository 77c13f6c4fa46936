"""Flagfiles: those of the user, and the presets that come with dlexp, as `--flagfile=flags/quickstart.flags`."""

import pathlib
from collections.abc import Iterator, Sequence

from dlexp.errors import ConfigError

PRESETS_FOLDER = pathlib.Path(__file__).parents[1] / "presets"  # in a clone a link to its folder flags


def preset_names() -> list[str]:
    """All presets as `--flagfile` takes them, from any folder."""
    return sorted(f"flags/{path.name}" for path in PRESETS_FOLDER.glob("*.flags"))


def expand_flagfiles(words: Sequence[str]) -> list[str]:
    """Replaces each `--flagfile=PATH` by the flags in the file, which may name further files.

    A path that does not exist from the working directory may be a preset.

    Raises:
        ConfigError: a file cannot be read, or names itself.
    """
    return list(_expand(iter(words), opened=()))


def _expand(words: Iterator[str], *, opened: tuple[pathlib.Path, ...]) -> Iterator[str]:
    for word in words:
        if word == "--":  # ends the flags
            yield from (word, *words)
        elif word in ("--flagfile", "-flagfile"):
            yield from _read_flagfile(next(words, ""), opened)
        elif word.startswith(("--flagfile=", "-flagfile=")):
            yield from _read_flagfile(word.partition("=")[2], opened)
        else:
            yield word


def _read_flagfile(name: str, opened: tuple[pathlib.Path, ...]) -> Iterator[str]:
    if not name:
        return
    path = pathlib.Path(name)
    if not path.exists() and name in preset_names():
        path = PRESETS_FOLDER / path.name
    if path in opened:
        raise ConfigError(f"flagfile {name!r} reads itself: remove the --flagfile line that leads back to it")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"flagfile {name!r} cannot be read ({getattr(err, 'strerror', None) or err}): give a file that exists from "
            f"{pathlib.Path.cwd()}, or a preset: {', '.join(preset_names())}"
        ) from err
    flags = (line.strip() for line in lines if line.strip() and not line.startswith(("#", "//")))
    yield from _expand(flags, opened=(*opened, path))
