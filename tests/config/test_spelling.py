"""How values of the config are spelled as text."""

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.flags import config_from_words
from dlexp.config.spelling import config_to_flagfile, parse_names


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), (" , ,", ()), ("flip", ("flip",)), (" flip , crop,flip,", ("flip", "crop", "flip"))]
)
def test_names_are_parted_by_commas_and_empty_ones_left_out(text: str, names: tuple[str, ...]) -> None:
    assert parse_names(text) == names


def test_batch_size_that_is_still_to_be_chosen_is_written_as_the_word_and_read_back() -> None:
    config = ExperimentConfig.of(batch_size="auto", micro_batch_size="auto", seed=1)
    lines = config_to_flagfile(config).splitlines()
    assert {"--batch_size=auto", "--micro_batch_size=auto", "--seed=1"} <= set(lines)
    assert config_from_words(lines[1:]) == config


@pytest.mark.parametrize("mark", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_argument_with_a_character_that_ends_a_line_is_written_on_one_line(mark: str) -> None:
    config = ExperimentConfig.of(model_args={"depth": f"0{mark}0"})
    lines = config_to_flagfile(config).splitlines()
    assert len(lines) == len(config_to_flagfile(ExperimentConfig()).splitlines())
    assert config_from_words(lines[1:]) == config
