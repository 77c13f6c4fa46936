"""The config: checked, frozen, written as JSON and read back equal."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig, config_fields, config_sections
from dlexp.config.sections import LR_SCHEDULES
from dlexp.errors import ConfigError, UnknownNameError

lines = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)
names = lines.map(str.strip)
words = names.map(lambda text: text.replace(",", "")).map(str.strip).filter(bool)
scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | names
configs = st.fixed_dictionaries(
    {},
    optional={
        "model": names,
        "dataset": names,
        "model_args": st.dictionaries(names, scalars | st.lists(st.integers(), max_size=3), max_size=3),
        "image_size": st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
        "augment": st.lists(words, max_size=3),
        "learning_rate": st.floats(1e-9, 1e9),
        "epochs": st.integers(1, 1000),
        "lr_schedule": st.sampled_from(LR_SCHEDULES),
        "deterministic": st.booleans(),
        "seed": st.integers(0, 2**31 - 1),
    },
).map(lambda values: ExperimentConfig.of(**values))


@given(configs)
def test_json_is_read_back_as_an_equal_config(config: ExperimentConfig) -> None:
    assert ExperimentConfig.from_json(config.to_json()) == config


@given(configs)
def test_flat_fields_are_read_back_as_an_equal_config(config: ExperimentConfig) -> None:
    assert ExperimentConfig.of(**config.flat()) == config


def test_every_field_has_a_help_text_that_is_a_sentence() -> None:
    for name, setting in config_fields().items():
        assert setting.metadata["help"].endswith("."), name


def test_sections_hold_every_field_once() -> None:
    placed = [name for names in config_sections().values() for name in names]
    assert sorted(placed) == sorted(config_fields())


def test_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExperimentConfig().seed = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ExperimentConfig().model.model_args["dropout"] = 0.5  # type: ignore[index]


def test_digest_tells_what_changes_the_result_from_what_does_not() -> None:
    config = ExperimentConfig()
    assert config.replace(num_workers=3, run_name="x", cache="memory").digest() == config.digest()
    assert config.replace(seed=1).digest() != config.digest()


@pytest.mark.parametrize(
    ("values", "digest"),
    [
        ({"split_method": "stratified", "batch_norm_momentum": "keep"}, "7c3ef2301c350c61"),
        (
            {
                "model": "resnet20",
                "epochs": 3,
                "image_size": (8, 8),
                "model_args": {"a": 1},
                "augment": ("flip",),
                "split_method": "stratified",
                "batch_norm_momentum": "keep",
            },
            "8c2ebddffb4f519e",
        ),
    ],
)
def test_digest_is_that_of_earlier_versions_which_resume_auto_looks_for(values: dict[str, Any], digest: str) -> None:
    assert ExperimentConfig.of(**values).digest() == digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs=0 is out of range: it must be a whole number, at least 1"),
        ({"label_smoothing": 1}, "label_smoothing=1.0 is out of range: it must be a number, at least 0 and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan is out of range: it must be a finite number, above 0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf is out of range"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing"),
        ({"image_size": (0, 8)}, "image_size"),
        ({"steps_per_execution": "many"}, "must be auto or a whole number"),
        ({"warmup_epochs": 10, "epochs": 10}, "must be less than epochs=10"),
        ({"cache": "ram"}, "unknown cache value 'ram'"),
        ({"lr_schedule": "cosin"}, "did you mean cosine"),
        ({"checkpoint_fields": ("lr",)}, "checkpoint_fields"),
        ({"epochs": "3"}, "config field epochs must be int, but is '3'"),
        ({"epochs": True}, "config field epochs must be int"),
        ({"image_size": [8.5, 8]}, "must be height,width"),
        ({"augment": "flip"}, "must be a list of strings"),
        ({"model": "a\nb"}, "line breaks"),
        ({"augment": ("a,b",)}, "joined by commas"),
        ({"seed": -1}, "seed=-1 is out of range: it must be a whole number, from 0 to 2147483647"),
        ({"seed": 10**400}, "seed=1000.* is out of range"),
    ],
)
def test_value_that_cannot_work_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExperimentConfig.of(**values)


def test_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean learning_rate"):
        ExperimentConfig.of(learning_rat=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"colour": 1}', "unknown config field 'colour'"),
        ("[" * 100_000, "not valid JSON"),
        (json.dumps({"model": "x" * 10_000_000}), "too large"),
    ],
)
def test_foreign_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExperimentConfig.from_json(text)


def test_config_of_a_version_without_some_fields_trains_as_that_version_did() -> None:
    config = ExperimentConfig.from_json('{"model": "resnet20"}')
    assert config.model.batch_norm_momentum == "keep"
    assert config == ExperimentConfig.of(model="resnet20", batch_norm_momentum="keep")
