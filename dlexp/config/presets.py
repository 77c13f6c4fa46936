"""Flagfiles: those of the user, and the presets that come with dlexp, as `--flagfile=flags/quickstart.flags`."""

import codecs
import pathlib
from collections.abc import Iterator, Sequence

from dlexp.errors import ConfigError

PRESETS_FOLDER = pathlib.Path(__file__).parents[1] / "presets"  # in a clone a link to its folder flags

# UTF-32 comes first: its mark begins with that of UTF-16.
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


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
        lines = _decode(path.read_bytes(), name).splitlines()
    except OSError as err:
        raise ConfigError(
            f"flagfile {name!r} cannot be read ({err.strerror}): give a file that exists from {pathlib.Path.cwd()}, or "
            f"a preset: {', '.join(preset_names())}"
        ) from err
    flags = (line.strip() for line in lines if line.strip() and not line.startswith(("#", "//")))
    yield from _expand(flags, opened=(*opened, path))


def _decode(content: bytes, name: str) -> str:
    """Returns the text of a flagfile: UTF-8, or UTF-16 or UTF-32 with the byte order mark that Windows writes."""
    marks = (encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark))
    encoding = next(marks, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as err:
        raise ConfigError(
            f"flagfile {name!r} is not {encoding.upper()} text ({err.reason} at byte {err.start}): save it as UTF-8"
        ) from err
    if b"\0" in content[:2]:  # a flagfile begins with ASCII; a value may hold zero bytes
        raise ConfigError(f"flagfile {name!r} holds zero bytes, as UTF-16 without a byte order mark: save it as UTF-8")
    return text
