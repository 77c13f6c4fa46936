"""What an evaluation can be given: fields of the data, and test-time augmentations."""

import pytest

from dlexp.errors import UnknownNameError
from dlexp.evaluation.options import DATA_FIELDS, OWN_DATA_FIELDS, parse_tta
from dlexp.runs.recipe import RECIPE_FIELDS


def test_another_dataset_is_opened_with_all_of_a_recipe_but_the_id_and_with_a_batch_size() -> None:
    assert {*DATA_FIELDS} == {*RECIPE_FIELDS, "batch_size"} - {"dataset_id"}


def test_the_dataset_of_the_run_may_only_lie_elsewhere_or_be_fed_in_other_batches() -> None:
    assert OWN_DATA_FIELDS == ("data_dir", "batch_size")


def test_test_time_augmentations_are_read_once_each_and_in_one_order() -> None:
    assert parse_tta("shift, flip,shift") == ("flip", "shift")
    assert parse_tta("none") == parse_tta("") == ()
    with pytest.raises(UnknownNameError, match="did you mean flip"):
        parse_tta("flib")
