"""The command line: the table of the commands, what all of them share, exit codes, stdout and stderr."""

import importlib
import pathlib
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

import dlexp.commands
from dlexp.commands.cli import COMMANDS, main
from dlexp.config.command import Command, CommandGroup
from dlexp.config.experiment_config import config_fields
from tests.support.image_bytes import encode
from tests.support.image_folders import write_digits_folder

FOLDER = pathlib.Path(dlexp.commands.__path__[0])
NOT_COMMANDS = {"__init__", "cli", "tables"}


def module_name(command: str) -> str:
    """The module of a command."""
    return command.replace("-", "_")


def load(name: str) -> Command | CommandGroup | None:
    """The command of a row; None if there is none, for which another test fails."""
    try:
        return getattr(importlib.import_module(f"dlexp.commands.{module_name(name)}"), "COMMAND", None)
    except ModuleNotFoundError:
        return None


def rows() -> Iterator[tuple[str, str, Command]]:
    """The words that call it, the summary and the command, for all commands and subcommands."""
    for name, summary in COMMANDS.items():
        command = load(name)
        if isinstance(command, CommandGroup):
            yield from ((f"{name} {word}", line, subcommand) for word, (line, subcommand) in command.commands.items())
        elif command:
            yield name, summary, command


ROWS = [pytest.param(*row, id=row[0]) for row in rows()]
MOST_POSITIONALS = {words: command.positionals.most if command.positionals else 0 for words, _, command in rows()}


def call(*words: str) -> int:
    return main(["dlexp", *words])


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in COMMANDS)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("dlexp 0.")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_goes_to_stdout(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert "--store=mlruns" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_row_of_the_table_is_a_module_that_holds_a_command(name: str) -> None:
    path = FOLDER / f"{module_name(name)}.py"
    assert path.is_file(), (
        f"COMMANDS of dlexp/commands/cli.py has the row {name!r}, and dlexp/commands has no {path.name}"
    )
    command = importlib.import_module(f"dlexp.commands.{path.stem}").COMMAND
    assert isinstance(command, (Command, CommandGroup)), f"COMMAND of {path.name} must be a Command or a CommandGroup"


@pytest.mark.parametrize(
    "path", [path for path in FOLDER.glob("*.py") if path.stem not in NOT_COMMANDS], ids=lambda path: path.name
)
def test_module_of_a_command_is_a_row_of_the_table(path: pathlib.Path) -> None:
    assert path.stem in map(module_name, COMMANDS), (
        f"add a row {path.stem!r} with a summary to COMMANDS of dlexp/commands/cli.py"
    )


@pytest.mark.parametrize(("words", "summary", "command"), ROWS)
def test_help_says_how_a_command_is_called_and_lists_its_flags(
    words: str, summary: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words.split(), "--help") == 0
    shown = capsys.readouterr().out
    positionals = f" {command.positionals.usage}" if command.positionals else ""
    assert shown.startswith(f"usage: dlexp {words}{positionals} [--flag=value ...]\n")
    assert f"\n{summary[0].upper()}{summary[1:]}.\n" in shown
    listed = command.config_flags if command.listed_config_flags is None else command.listed_config_flags
    flags = [*command.flags, *listed]
    assert [flag for flag in flags if f"\n  --{flag}=" not in shown] == []
    if set(listed) != set(command.config_flags):
        assert "dlexp train --help" in shown


@pytest.mark.parametrize(("words", "summary", "command"), ROWS)
def test_summary_stands_in_the_help_above_the_command(
    words: str, summary: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    *group, name = words.split()
    assert call(*group, "--help") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.split() == [name, *summary.split()]] != []


@pytest.mark.parametrize(("words", "summary", "command"), ROWS)
def test_flags_of_a_command_are_explained_and_clash_with_no_other(words: str, summary: str, command: Command) -> None:
    unexplained = [flag for flag, (_, text) in command.flags.items() if not text.endswith(".")]
    assert unexplained == [], f"dlexp {words}: these flags need a help text that ends with a full stop"
    reserved = {"debug", "flagfile", "help"} | set(command.config_flags)
    assert reserved & set(command.flags) == set(), f"dlexp {words}: these flags are defined already"
    assert set(command.config_flags) <= set(config_fields()), f"dlexp {words}: config_flags names no config field"
    assert set(command.listed_config_flags or ()) <= set(command.config_flags)


@pytest.mark.parametrize(("words", "summary", "command"), ROWS)
def test_example_of_a_command_can_be_read(words: str, summary: str, command: Command) -> None:
    line = command.read([f"dlexp {words}", *shlex.split(command.example)])
    assert line.given or line.positionals


@pytest.mark.parametrize(("words", "summary", "command"), ROWS)
def test_unknown_flag_is_named(words: str, summary: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split(), "--no_such_flag=1") == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("dlexp: unknown flag '--no_such_flag'")
    assert shown.err.endswith(f"; dlexp {words} --help lists all flags\n")
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "most"),
    [(words, most) for words, most in MOST_POSITIONALS.items() if most is not None],
)
def test_word_too_many_is_refused(words: str, most: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split(), *["stray"] * (most + 1)) == 2
    assert capsys.readouterr().err.startswith("dlexp: 'stray' is not a flag: ")


@pytest.mark.parametrize(
    ("words", "command"),
    [(words, command) for words, _, command in rows() if command.positionals and command.positionals.least],
)
def test_missing_word_is_asked_for_with_an_example(
    words: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.positionals is not None
    assert call(*words.split()) == 2
    expected = f"dlexp: dlexp {words} needs {command.positionals.meaning}: dlexp {words} {command.example}\n"
    assert capsys.readouterr().err == expected


def test_help_imports_no_heavy_library_and_that_of_dlexp_no_command() -> None:
    code = """
import sys
from dlexp.commands.cli import main

main(["dlexp", "--help"])
loaded = [name for name in sys.modules if name.startswith(("dlexp.commands.", "dlexp.config.", "absl"))]
assert sorted(loaded) == ["dlexp.commands.cli", "dlexp.config.early_flags"], loaded
for words in sys.argv[1:]:
    main(["dlexp", *words.split(), "--help"])
    heavy = {"tensorflow", "keras", "mlflow", "pandas", "pyarrow", "matplotlib", "sklearn", "optuna", "ray"}
    assert not heavy & set(sys.modules), (words, heavy & set(sys.modules))
"""
    command = [sys.executable, "-c", code, *COMMANDS, *(words for words, _, _ in rows())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean train"),
        (["runs", "--sort=x"], "unknown flag '--sort'"),
        (["runs", "latest"], "'latest' is not a flag"),
        (["train", "--model=resnet2"], "did you mean resnet"),
        (["train", "--dataset=digit"], "did you mean digits"),
        (["train", "--optimizer=adamm"], "did you mean adam"),
        (["train", "--augment=flop"], "did you mean flip"),
        (["train", "--plugins=nowhere.py"], "'nowhere.py' does not exist"),
        (["train", "--epochs=0"], "epochs=0 is out of range"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("dlexp: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(LookupError):
        call("runs", "--debug", "--where=nothing > 1", "--format=tabel", "--store=.")


def test_store_that_cannot_be_written_fails_before_the_first_step(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert call("train", f"--store={tmp_path / 'file'}") == 1
    assert "is a file: choose another --store" in capsys.readouterr().err


def test_warnings_of_pillow_do_not_reach_the_user(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 40)
    # More than Pillow's limit for a warning, and a tag that says it has more bytes than the file.
    Image.new("L", (12_000, 9_000)).save(root / "1" / "large.gif")
    tiff = bytearray(encode(Image.new("L", (8, 8)), "TIFF"))
    (directory,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, directory)
    struct.pack_into("<HHI", tiff, directory + 2 + 12 * (count - 1), 33_432, 2, 70_000)
    (root / "1" / "tag.tif").write_bytes(tiff)
    command = [sys.executable, "-m", "dlexp.commands.cli", "data", "check", f"folder:{root}", "--near_duplicates=false"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in result.stderr
