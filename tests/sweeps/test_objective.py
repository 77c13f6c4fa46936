"""The objectives of a sweep: how they are spelled, whether they are minimized, and their values for a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.monitor import is_smaller_better
from dlexp.errors import ConfigError
from dlexp.sweeps.objective import Objective, parse_objectives, values_of_run


@pytest.mark.parametrize(
    "metric",
    ["loss", "val_loss", "test_loss", "val_mean_absolute_error", "val_cross_entropy", "val_kl_divergence",
     "val_poisson", "num_parameters", "test_loss/accuracy", "steps/loss"],
)  # fmt: skip
def test_losses_errors_and_sizes_should_be_small(metric: str) -> None:
    assert is_smaller_better(metric) is True


@pytest.mark.parametrize(
    "metric",
    ["accuracy", "val_accuracy", "test_accuracy", "val_top5_accuracy", "val_macro_f1", "val_auc",
     "test_accuracy/errors-loss", "test_accuracy/bytes", "val_recall/false"],
)  # fmt: skip
def test_scores_should_be_large_whatever_their_source_or_class_is_named(metric: str) -> None:
    assert is_smaller_better(metric) is False


@pytest.mark.parametrize("metric", ["lossless", "terrors", "val_f1", "my_loss", "bytes"])
def test_metric_that_is_not_known_is_asked_for_its_direction(metric: str) -> None:
    assert is_smaller_better(metric) is None
    with pytest.raises(ConfigError, match=f"--objective={metric} is no metric of dlexp.* {metric}:min or {metric}:max"):
        parse_objectives(metric)
    assert parse_objectives(f"{metric}:max")[0].cost(1.0) == -1.0


@pytest.mark.parametrize(
    ("text", "smaller_is_better"),
    [("val_accuracy", False), ("val_loss", True), ("val_loss:max", False), ("val_accuracy:min", True)],
)
def test_the_mode_that_is_given_wins_over_the_name(text: str, smaller_is_better: bool) -> None:
    (objective,) = parse_objectives(text)
    assert objective == Objective(text.partition(":")[0], smaller_is_better)


def test_several_objectives_keep_their_order() -> None:
    names = [objective.name for objective in parse_objectives(" val_loss:min , val_accuracy,, num_parameters ")]
    assert names == ["val_loss", "val_accuracy", "num_parameters"]


@pytest.mark.parametrize(("text", "direction"), [("val_loss", "minimize"), ("val_accuracy", "maximize")])
def test_the_direction_is_spelled_as_optuna_has_it(text: str, direction: str) -> None:
    assert parse_objectives(text)[0].direction == direction


@given(
    st.lists(
        st.builds(Objective, st.from_regex(r"[a-z_0-9]+", fullmatch=True), st.booleans()),
        min_size=1,
        unique_by=lambda item: item.name,
    )
)
def test_what_is_spelled_is_read_back(objectives: list[Objective]) -> None:
    assert parse_objectives(",".join(objective.spelled() for objective in objectives)) == tuple(objectives)


@pytest.mark.parametrize("text", ["", " , ", "val_loss,val_loss", "val_loss:min,val_loss:max"])
def test_no_metric_or_one_that_comes_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--objective={text} must name one metric, or several different ones"):
        parse_objectives(text)


@pytest.mark.parametrize("text", ["val_loss:", "val_loss:small", ":min", "val_loss:min:max"])
def test_a_mode_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--objective={text} must be a metric, or metric:min, or metric:max"):
        parse_objectives(f"val_accuracy,{text}")


def test_values_are_those_of_the_objectives_alone() -> None:
    row = {"val_accuracy": 0.9, "num_parameters": 1000, "name": "a", "loss": 0.1}
    values = values_of_run(row, parse_objectives("num_parameters,val_accuracy"))
    assert list(values.items()) == [("num_parameters", 1000.0), ("val_accuracy", 0.9)]


@pytest.mark.parametrize("value", [None, "0.9", True, [0.9], float("nan")])
def test_what_is_no_number_is_refused_and_the_numbers_there_are_are_named(value: object) -> None:
    row = {"val_f1": value, "val_loss": 0.1, "deterministic": True, "accuracy": 0.9}
    with pytest.raises(ConfigError) as refusal:
        values_of_run(row, parse_objectives("val_loss,val_f1:max,val_auc"))
    assert str(refusal.value) == "the run has no value for the objective val_f1, val_auc: it has accuracy, val_loss"
