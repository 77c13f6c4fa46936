"""Flags and config: one spelling, read and written without loss."""

import pathlib
import subprocess
import sys
from typing import Any

import pytest
from absl import flags
from hypothesis import given

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.flags import config_from_flags, define_experiment_flags, parse_flags
from dlexp.config.help import command_help, field_help
from dlexp.config.spelling import config_to_flagfile
from dlexp.errors import ConfigError
from dlexp.main import COMMAND
from tests.config.test_experiment_config import configs

PRESETS = sorted((pathlib.Path(__file__).parents[2] / "flags").glob("*.flags"))


def read(*words: str) -> ExperimentConfig:
    values = flags.FlagValues()
    define_experiment_flags(values)
    parse_flags(values, ["dlexp train", *words])
    return config_from_flags(values)


def test_no_flags_give_the_default_config() -> None:
    assert read() == ExperimentConfig()


def test_flags_and_config_fields_are_the_same() -> None:
    values = flags.FlagValues()
    define_experiment_flags(values)
    assert sorted(values) == sorted(config_fields())


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("--image_size=32,48", "image_size", [32, 48]),
        ("--image_size=32x48", "image_size", [32, 48]),
        ("--image_size=32", "image_size", [32, 32]),
        ("--augment=flip,crop", "augment", ["flip", "crop"]),
        ("--augment=", "augment", []),
        ("--model_args=dropout=0.5,depth=3,weights=none,bias=true", "model_args",
         {"dropout": 0.5, "depth": 3, "weights": None, "bias": True}),
        ('--model_args={"filters": [8, 16]}', "model_args", {"filters": [8, 16]}),
        ("--nodeterministic", "deterministic", False),
        ("--learning_rate=1e-4", "learning_rate", 1e-4),
    ],
)  # fmt: skip
def test_flag_is_read(word: str, field: str, value: Any) -> None:
    assert read(word).flat()[field] == value


@given(configs)
def test_flagfile_is_read_back_as_an_equal_config(
    tmp_path_factory: pytest.TempPathFactory, config: ExperimentConfig
) -> None:
    path = tmp_path_factory.mktemp("flags") / "run.flags"
    text = config_to_flagfile(config)
    path.write_text(text, encoding="utf-8")
    assert read(f"--flagfile={path}") == config


def test_later_flag_wins_over_the_flagfile(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.flags"
    path.write_text("# a comment\n--epochs=3\n--model=mlp\n")
    config = read(f"--flagfile={path}", "--epochs=4")
    assert (config.optimization.epochs, config.model.model) == (4, "mlp")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modle=mlp"], "unknown flag '--modle': did you mean --model"),
        (["--epochs=ten"], "^flag --epochs=ten: it must be a whole number: dlexp train --help shows what is expected$"),
        (["--learning_rate=fast"], "--learning_rate=fast: it must be a number:"),
        (["--deterministic=maybe"], "--deterministic=maybe: it must be true or false:"),
        (["--resume", "false"], "unknown flag '--resume'"),
        (["--deterministic", "false"], "'false' is not a flag"),
        (["--image_size=big"], "must be height,width"),
        (["--model_args=dropout"], "'dropout' must be key=value"),
        (["--model_args={"], "not valid JSON"),
        (["--flagfile=/nowhere.flags"], "nowhere.flags"),
    ],
)
def test_wrong_flag_is_refused_in_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_preset_gives_a_valid_config(preset: pathlib.Path) -> None:
    assert read(f"--flagfile={preset}") != ExperimentConfig()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_preset_opens_with_what_it_trains_and_the_command(preset: pathlib.Path) -> None:
    comments = [line for line in preset.read_text().splitlines() if line.startswith("#")]
    assert any("dlexp train --flagfile=flags/" + preset.name in line for line in comments)


def test_help_lists_every_flag_and_every_registered_name() -> None:
    text = command_help("dlexp train", COMMAND, "")
    for name in config_fields():
        assert f"--{name}=" in text
    for name in ("resnet20", "EfficientNetB0", "digits", "folder", "mixup", "adamw"):
        assert name in text


def test_help_of_every_field_with_a_range_or_choices_says_them() -> None:
    for name, setting in config_fields().items():
        if setting.metadata["range"]:
            assert field_help(name).lower().endswith(f". {setting.metadata['range'].rule}."), name
        if setting.metadata["choices"]:
            assert field_help(name).endswith(f". One of {', '.join(setting.metadata['choices'])}."), name


def test_help_says_the_range_of_a_field() -> None:
    assert field_help("validation_fraction") == "Share of the examples kept for validation. Above 0 and below 1."


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["runs"], ["checkpoints"], ["ui", "--help"]])
def test_command_that_does_not_train_imports_no_heavy_library(words: list[str], tmp_path: pathlib.Path) -> None:
    code = (
        "import sys; from dlexp.commands.cli import main; code = main(['dlexp', *sys.argv[1:]]); "
        "heavy = {'tensorflow', 'keras', 'mlflow', 'matplotlib', 'sklearn'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
