"""The declarations of the fields: each says all that other parts of the package derive from it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dlexp.config import experiment_config
from dlexp.config.experiment_config import ExperimentConfig, config_fields, config_sections, field_names
from dlexp.config.help import field_help
from dlexp.config.range import Range
from dlexp.config.sections import DataConfig
from dlexp.config.setting import setting
from dlexp.errors import ConfigError

WHERE = "give it in dlexp/config/sections.py"


def test_every_number_has_a_range() -> None:
    for name, field in config_fields().items():
        if field.type in (int, float):
            assert field.metadata["range"], f"{name} is a number without a range: {WHERE}: range=Range(at_least=0)"
        else:
            assert field.metadata["range"] is None, f"{name} is no number, so its range is never checked"


def test_every_data_field_and_no_other_says_whether_it_makes_the_dataset() -> None:
    data = config_sections()["data"]
    for name, field in config_fields().items():
        if name in data:
            assert field.metadata["makes_dataset"] is not None, (
                f"{name} does not say whether a recipe must hold it to make the dataset again: {WHERE}: "
                "makes_dataset=True, or False"
            )
        else:
            assert field.metadata["makes_dataset"] is None, f"{name} is not in DataConfig, which alone makes datasets"


def test_only_a_text_has_choices_and_its_default_is_one() -> None:
    for name, field in config_fields().items():
        choices = field.metadata["choices"]
        assert not choices or (field.type is str and field.default in choices), name


@dataclass(frozen=True, kw_only=True)
class NoisyData(DataConfig):
    label_noise: float = setting(
        0.0, "Share of the labels made wrong.", range=Range(at_least=0, below=1), makes_dataset=True
    )


@pytest.fixture
def _label_noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more field, declared and listed nowhere else."""
    monkeypatch.setitem(experiment_config._SECTIONS, "data", NoisyData)
    config_fields.cache_clear()
    yield
    config_fields.cache_clear()


@pytest.mark.usefixtures("_label_noise")
def test_new_field_is_checked_by_its_declaration_alone() -> None:
    with pytest.raises(
        ConfigError, match=r"label_noise=1\.5 is out of range: it must be a number, at least 0 and below"
    ):
        ExperimentConfig.of(label_noise=1.5)
    assert ExperimentConfig.of(label_noise=0.5).flat()["label_noise"] == 0.5


@pytest.mark.usefixtures("_label_noise")
def test_new_field_is_in_every_list_that_its_marks_put_it_in() -> None:
    assert field_names("makes_dataset")[-1] == "label_noise"
    assert "label_noise" in field_names("traced")
    assert ExperimentConfig.of(label_noise=0.5).digest() != ExperimentConfig.of(label_noise=0.1).digest()
    assert field_help("label_noise") == "Share of the labels made wrong. At least 0 and below 1."
