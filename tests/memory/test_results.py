"""What a search has found, as a table, a sentence, a flagfile and advice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.flags import config_from_words
from dlexp.memory.largest_batch import LargestBatch
from dlexp.memory.results import (
    advice_lines,
    flagfile_text,
    problem_lines,
    ranked,
    result_sentence,
    table_rows,
    table_texts,
)
from tests.support.found_batches import BUDGET, MIB, found_batch

LIGHT, HEAVY, BROKEN = found_batch("mlp", 1024), found_batch("vit", 64, slope=10), found_batch("broken", None)
BASE = ExperimentConfig.of(model="mlp", learning_rate=0.001, batch_size=64)


def test_models_are_ranked_by_their_memory_with_the_batch_that_fits_all() -> None:
    steep, large = found_batch("steep", 64, fixed=100, slope=10), found_batch("large", 512, fixed=900, slope=0.2)
    assert [one.name for one in ranked([LIGHT, steep, BROKEN, large])] == ["broken", "large", "steep", "mlp"]


def test_rows_hold_numbers_in_bytes() -> None:
    broken, heavy = table_rows([HEAVY, BROKEN])
    assert heavy == {
        "model": "vit",
        "parameters": 1234,
        "batch_size": 64,
        "peak_bytes": 740 * MIB,
        "estimated_bytes": 74 * MIB,
        "bytes_per_example": 10 * MIB,
        "images_per_second": 100.0,
        "measured_bytes": {"8": 180 * MIB, "64": 740 * MIB},
        "probes": 3,
        "seconds": 12.3,
        "problem": "",
    }
    assert broken["problem"] == "one example of broken needs too much"
    assert {name for name, value in broken.items() if value is None} == {
        "parameters", "batch_size", "peak_bytes", "estimated_bytes", "bytes_per_example", "images_per_second",
    }  # fmt: skip
    json.dumps([broken, heavy])


def test_texts_are_for_people() -> None:
    broken, heavy = table_texts([HEAVY, BROKEN])
    assert list(heavy.values()) == [
        "vit", "1,234", "74.0 MiB", "180 MiB at 8, 740 MiB at 64", "10.0 MiB", "64", "100", "3", "12",
    ]  # fmt: skip
    assert list(broken.values()) == ["broken", "", "", "", "", "none", "", "4", "12"]
    assert heavy.keys() == broken.keys()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            [LIGHT, HEAVY],
            "vit is the heaviest of 2 models: it needs 740 MiB with a batch of 64, the largest that fits the budget of "
            "1.00 GiB (as given)",
        ),
        (
            [LIGHT, BROKEN, HEAVY],
            "vit is the heaviest of 2 models: it needs 740 MiB with a batch of 64, the largest that fits the budget of "
            "1.00 GiB (as given)",
        ),
        ([HEAVY], "vit needs 740 MiB with a batch of 64, the largest that fits the budget of 1.00 GiB (as given)"),
        (
            [found_batch("vit", 64, largest_allowed=64)],
            "vit needs 164 MiB with a batch of 64, the largest for so few training images, within the budget of "
            "1.00 GiB (as given)",
        ),
        ([BROKEN], "no model has a batch that fits the budget of 1.00 GiB (as given)"),
        ([], "no model has a batch that fits the budget of 1.00 GiB (as given)"),
    ],
)
def test_sentence_names_the_heaviest_model_and_the_batch(found: list[LargestBatch], sentence: str) -> None:
    assert result_sentence(found, BUDGET) == sentence


def test_batch_below_the_training_set_is_not_said_to_be_limited_by_it() -> None:
    """With multiples, a batch of more than half of the examples may still be limited by memory."""
    assert "so few" not in result_sentence([found_batch("vit", 600, largest_allowed=1000)], BUDGET)


def test_learning_rates_are_scaled_from_the_batch_of_the_flags() -> None:
    (line,) = advice_lines([found_batch("mlp", 1024, largest_allowed=2**20)], BASE)
    assert line == (
        "learning rate: 0.001 at a batch of 64 becomes 0.016 by linear scaling (SGD), 0.004 by the square root (Adam); "
        "neither is applied: try both"
    )


@pytest.mark.parametrize("batch_size", [64, "auto"])
def test_batch_that_is_unchanged_or_was_not_known_scales_nothing(batch_size: Any) -> None:
    assert advice_lines([HEAVY], BASE.replace(batch_size=batch_size)) == []


def test_models_with_small_batches_are_offered_micro_batches() -> None:
    lines = advice_lines([found_batch("vit", 8, smallest=4), LIGHT, BROKEN], BASE.replace(batch_size=8))
    assert lines == [
        "for larger batches of vit, give --batch_size=1024 --micro_batch_size=8: a step goes through its batch in "
        "slices of 8 images, and updates the weights once"
    ]
    config_from_words(["--batch_size=1024", "--micro_batch_size=8"])


def test_small_training_set_is_no_reason_for_micro_batches() -> None:
    lines = advice_lines([found_batch("mlp", 16, largest_allowed=16)], BASE.replace(batch_size=16))
    assert not any("micro_batch_size" in line for line in lines)


def test_batch_with_few_steps_in_an_epoch_is_advised_against() -> None:
    (line,) = advice_lines([found_batch("mlp", 64, largest_allowed=512)], BASE)
    assert line.startswith("an epoch has few steps of 64 images")
    assert advice_lines([found_batch("mlp", 64, largest_allowed=1024)], BASE) == []


def test_model_without_a_batch_has_a_line_that_says_why() -> None:
    assert problem_lines([LIGHT, BROKEN]) == ["broken has no batch: one example of broken needs too much"]


def test_nothing_is_advised_without_a_batch() -> None:
    assert advice_lines([BROKEN], BASE) == []


def test_flagfile_fixes_the_batch_for_a_training(tmp_path: Any) -> None:
    path = tmp_path / "batch.flags"
    path.write_text(flagfile_text([LIGHT, HEAVY], BUDGET, {"batch_size": 64}), encoding="utf-8")
    assert config_from_words([f"--flagfile={path}"]) == ExperimentConfig.of(batch_size=64)


def test_flagfile_may_fix_a_micro_batch_too(tmp_path: Any) -> None:
    path = tmp_path / "batch.flags"
    text = flagfile_text([HEAVY], BUDGET, {"batch_size": 64, "micro_batch_size": 16})
    path.write_text(text, encoding="utf-8")
    assert config_from_words([f"--flagfile={path}"]) == ExperimentConfig.of(batch_size=64, micro_batch_size=16)
    assert "# Of this batch and smaller ones, the fastest." in text.splitlines()


def test_comments_of_the_flagfile_say_how_the_batch_was_found() -> None:
    config = ExperimentConfig.of(dataset="digits", image_size=(32, 48), dtype_policy="mixed_bfloat16")
    found = [found_batch("mlp", 1024, config=config), HEAVY, BROKEN]
    text = flagfile_text(found, BUDGET, {"batch_size": 64})
    *comments, flag = text.splitlines()
    assert flag == "--batch_size=64"
    assert all(line.startswith("# ") for line in comments)
    for part in (
        "vit is the heaviest of 2 models", "broken none, vit 64, mlp 1024", "1.00 GiB (as given)", "Margin: 10%",
        "Device: CPU, ", "Dataset: digits; image size: 32,48; dtype policy: mixed_bfloat16", "tensorflow 2.",
        "keras 3.", "numpy ", "dlexp 0.", "Python 3.", " on 20",
    ):  # fmt: skip
        assert part in text
    assert "the fastest" not in text


@given(st.lists(st.tuples(st.none() | st.integers(0, 10), st.integers(0, 900), st.floats(0, 20)), max_size=6))
def test_any_result_can_be_shown(models: list[tuple[int | None, int, float]]) -> None:
    found = [
        found_batch(f"m{number}", None if power is None else 2**power, fixed=fixed, slope=slope, smallest=1)
        for number, (power, fixed, slope) in enumerate(models)
    ]
    assert len(table_rows(found)) == len(table_texts(found)) == len(models)
    assert "budget of 1.00 GiB" in result_sentence(found, BUDGET)
    advice_lines(found, BASE)
    if found:
        assert flagfile_text(found, BUDGET, {"batch_size": 8}).endswith("\n--batch_size=8\n")
