"""What a command line becomes, and in which order a command is called."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from dlexp.config.command import Command, CommandGroup, CommandLine, Positionals
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, UnknownNameError

IMAGES = Positionals(usage="RUN IMAGE ...", meaning="a run, and images", least=2, most=None, replaced_by="from_file")


def ignore(line: CommandLine) -> int:
    return 0


def command(run: Callable[[CommandLine], int] = ignore, **values: Any) -> Command:
    flags = {"port": (5000, "Port."), "strict": (False, "Fail early."), "from_file": ("", "A list.")}
    return Command(run=run, **{"example": "latest photos", "flags": flags, **values})


def test_own_flags_are_options_of_the_type_of_their_default() -> None:
    line = command().read(["dlexp ui", "--port=8080", "--strict"])
    assert line.options == {"port": 8080, "strict": True, "from_file": ""}
    assert line.given == {"port", "strict"}
    assert (line.program, line.positionals) == ("dlexp ui", [])


def test_config_flags_make_the_config_and_those_given_are_changes() -> None:
    line = command(config_flags=("epochs", "model", "store")).read(["dlexp x", "--epochs=3", "--store=other"])
    assert line.config == ExperimentConfig.of(epochs=3, store="other")
    assert line.given_fields(line.config) == {"epochs": 3}


def test_own_flag_with_the_name_of_a_field_does_not_change_the_config() -> None:
    line = command(flags={"batch_size": (0, "Images at once.")}, config_flags=("seed",)).read(["dlexp x"])
    assert line.options == {"batch_size": 0}
    assert line.config == ExperimentConfig()


def test_experiment_flag_that_a_command_does_not_take_is_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown flag '--epochs'"):
        command(config_flags=("model",)).read(["dlexp x", "--epochs=3"])


@pytest.mark.parametrize("words", [[], ["latest"], ["--from_file=list"], ["latest", "--from_file="]])
def test_missing_positionals_are_asked_for_with_an_example(words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        command(positionals=IMAGES).read(["dlexp predict", *words])
    assert str(caught.value) == "dlexp predict needs a run, and images: dlexp predict latest photos"


@pytest.mark.parametrize("words", [["latest", "a.png"], ["latest", "a", "b", "c"], ["latest", "--from_file=list"]])
def test_enough_positionals_are_taken(words: list[str]) -> None:
    line = command(positionals=IMAGES).read(["dlexp predict", *words])
    assert line.positionals == [word for word in words if not word.startswith("--")]


def test_word_too_many_is_named() -> None:
    with pytest.raises(ConfigError, match="'more' is not a flag"):
        command(positionals=Positionals(usage="[RUN]", meaning="a run")).read(["dlexp sync", "latest", "more"])


def test_logging_is_set_up_before_the_work_and_the_exit_code_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def work(line: CommandLine) -> int:
        calls.append("work")
        return 7

    monkeypatch.setattr(logging, "basicConfig", lambda **_: calls.append("logging"))
    assert command(work).call(["dlexp x", "--port=1"]) == 7
    assert calls == ["logging", "work"]


@pytest.mark.parametrize("word", ["--help", "-h", "--helpshort", "--helpfull"])
def test_help_is_printed_without_reading_the_line_or_doing_the_work(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(line: CommandLine) -> int:
        raise AssertionError("help was asked for")

    shown = command(
        work, positionals=IMAGES, description="All that\nthere is.", known_names=lambda: {"models": ["mlp", "cnn"]}
    )
    assert shown.call(["dlexp x", "--wrong", word], summary="do a thing") == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: dlexp x RUN IMAGE ... [--flag=value ...]\n\nDo a thing.\n\nAll that there is.\n\n")
    assert "\n\nExample: dlexp x latest photos\n\n" in out
    assert "  --port=5000                     Port.\n" in out
    assert out.endswith("\n\nmodels: mlp, cnn\n")


def test_help_lists_config_flags_by_section_or_only_some(capsys: pytest.CaptureFixture[str]) -> None:
    command(config_flags=("epochs", "dataset")).call(["dlexp x", "--help"])
    out = capsys.readouterr().out
    assert out.index("flags:") < out.index("\ndata:\n  --dataset=") < out.index("\noptimization:\n  --epochs=")
    command(config_flags=("epochs", "dataset"), listed_config_flags=("epochs",)).call(["dlexp x", "--help"])
    out = capsys.readouterr().out
    assert "--epochs=" in out
    assert "--dataset=" not in out


def test_group_calls_the_subcommand_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[CommandLine] = []

    def work(line: CommandLine) -> int:
        seen.append(line)
        return 3

    group = CommandGroup(usage="RUN", description="A RUN.", commands={"verify": ("is it so", command(work))})
    assert group.call(["dlexp data", "verify", "--port=1"]) == 3
    assert (seen[0].program, seen[0].options["port"]) == ("dlexp data verify", 1)
    for words in ([], ["--help"]):
        assert group.call(["dlexp data", *words], summary="data of all kinds") == 0
        assert "\n\nData of all kinds.\n\nsubcommands:\n  verify  is it so\n\nA RUN.\n\n" in capsys.readouterr().out
    assert group.call(["dlexp data", "verify", "--help"]) == 0
    assert "\n\nIs it so.\n\n" in capsys.readouterr().out
    with pytest.raises(UnknownNameError, match="unknown subcommand 'verfy': did you mean verify"):
        group.call(["dlexp data", "verfy"])
