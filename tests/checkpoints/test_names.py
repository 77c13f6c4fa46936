"""Names of checkpoints say what is inside, and are read back without loss."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.checkpoints.names import CheckpointName, format_name, name_fields, parse_name
from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.errors import CheckpointError, ConfigError

EXAMPLE = (
    "resnet20__digits-3fa9c1d2__32x32__adamw__lr0.001__wd0.0001__bs128__seed0__1b2c3d4e__best__epoch012"
    "__val_accuracy0.9812.keras"
)
SPECIAL = {"dataset", "image_size"}
texts = st.text(min_size=1, max_size=12)
hex8 = st.text("0123456789abcdef", min_size=8, max_size=8)
plain_fields = st.sampled_from(sorted(set(config_fields()) - SPECIAL))


@st.composite
def checkpoint_names(draw: st.DrawFn) -> CheckpointName:
    fields = draw(st.dictionaries(plain_fields, texts, max_size=4))
    if draw(st.booleans()):
        fields["dataset"] = f"{draw(texts)}-{draw(hex8)}"
    if draw(st.booleans()):
        fields["image_size"] = f"{draw(st.integers(1, 999))}x{draw(st.integers(1, 999))}"
    order = draw(st.permutations(list(fields)))
    return CheckpointName(
        fields={field: fields[field] for field in order},
        run=draw(hex8),
        kind=draw(st.sampled_from(["best", "last"])),
        epoch=draw(st.integers(1, 9999)),
        monitor=draw(texts),
        score=round(draw(st.floats(-1e6, 1e6)), 4),
    )


def test_name_has_the_documented_form() -> None:
    config = ExperimentConfig.of(model="resnet20", learning_rate=0.001, weight_decay=0.0001, batch_size=128)
    fields = name_fields(
        config.flat(),
        config.selection.checkpoint_fields,
        dataset_name="digits",
        dataset_id="3fa9c1d2aaaabbbb",
        image_size=(32, 32),
    )
    name = CheckpointName(fields, run="1b2c3d4e", kind="best", epoch=12, monitor="val_accuracy", score=0.98123)
    assert format_name(name) == EXAMPLE


def test_name_is_read_back_by_field() -> None:
    name = parse_name(EXAMPLE)
    assert name.fields["model"] == "resnet20"
    assert name.fields["dataset"] == "digits-3fa9c1d2"
    assert name.fields["optimizer"] == "adamw"
    assert name.fields["learning_rate"] == "0.001"
    assert (name.run, name.kind, name.epoch, name.monitor, name.score) == (
        "1b2c3d4e",
        "best",
        12,
        "val_accuracy",
        0.9812,
    )


@given(checkpoint_names())
def test_any_name_is_read_back_without_loss(name: CheckpointName) -> None:
    try:
        text = format_name(name)
    except ConfigError:
        return  # too long for a file system, which is refused
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert parse_name(text) == name


@pytest.mark.parametrize("monitor", ["top5", "a-", ".", ":-", "a.5", "é", "val_", "-."])
@pytest.mark.parametrize("score", [0.5, -0.5, 50.25])
def test_where_the_metric_ends_and_its_value_begins_is_plain(monitor: str, score: float) -> None:
    name = CheckpointName({}, run="1b2c3d4e", kind="best", epoch=1, monitor=monitor, score=score)
    assert parse_name(format_name(name)) == name


@pytest.mark.parametrize("text", ["model.keras", "a__b__c.keras", EXAMPLE[:-6], EXAMPLE.replace("best", "good")])
def test_foreign_name_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="not the name of a checkpoint"):
        parse_name(text)


def test_name_too_long_for_a_file_system_is_refused() -> None:
    name = CheckpointName({"model": "m" * 300}, run="1b2c3d4e", kind="best", epoch=1, monitor="val_loss", score=0.5)
    with pytest.raises(ConfigError, match="too long"):
        format_name(name)
