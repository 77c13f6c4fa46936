"""The batch size of trainings that ask for auto: what is measured for them, and what is chosen."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError
from dlexp.memory import choice as module
from dlexp.memory.budget import Budget
from dlexp.memory.choice import MEMORY_FIELDS, choose_batch_size, unlike_candidates
from dlexp.memory.largest_batch import Candidate, LargestBatch, SearchSettings
from tests.support.found_batches import BUDGET, found_batch

SIZES = {"mlp": 1024, "small_cnn": 256, "resnet20": 64}


class FakeSearch:
    """Finds the batch of a table, and remembers what it was asked."""

    def __init__(self) -> None:
        self.candidates: Sequence[Candidate] = []
        self.field = ""
        self.sizes: dict[str, int | None] = dict(SIZES)

    def __call__(
        self,
        candidates: Sequence[Candidate],
        budget: Budget,
        settings: SearchSettings,
        *,
        report: Callable[[str], None],
    ) -> list[LargestBatch]:
        self.candidates, self.field = candidates, settings.field
        return [found_batch(one.name, self.sizes[one.config.model.model], config=one.config) for one in candidates]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> FakeSearch:
    fake = FakeSearch()
    monkeypatch.setattr(module, "find_largest_batches", fake)
    return fake


def config_of(model: str = "mlp", **values: Any) -> ExperimentConfig:
    return ExperimentConfig.of(**{"model": model, "batch_size": "auto"} | values)


def choose(*configs: ExperimentConfig) -> dict[str, int]:
    return choose_batch_size(configs, budget=BUDGET)


def test_batch_that_fits_all_models_is_chosen(search: FakeSearch) -> None:
    assert choose(config_of("mlp"), config_of("resnet20"), config_of("small_cnn")) == {"batch_size": 64}
    assert search.field == "batch_size"
    assert {one.config.data.batch_size for one in search.candidates} == {1}


def test_micro_batch_is_chosen_within_the_batch(search: FakeSearch) -> None:
    chosen = choose(config_of("small_cnn", batch_size=512, micro_batch_size="auto"))
    assert chosen == {"micro_batch_size": 256}
    assert search.field == "micro_batch_size"
    (candidate,) = search.candidates
    assert (candidate.config.data.batch_size, candidate.config.data.micro_batch_size) == (512, 1)


def test_micro_batch_fits_the_smallest_of_several_batches(search: FakeSearch) -> None:
    configs = [config_of("mlp", batch_size=size, micro_batch_size="auto") for size in (32, 512, 64)]
    assert choose(*configs) == {"micro_batch_size": 32}
    assert [one.config.data.batch_size for one in search.candidates] == [512]


def test_whole_batch_passes_the_network_if_both_are_auto(search: FakeSearch) -> None:
    assert choose(config_of("mlp", micro_batch_size="auto")) == {"batch_size": 1024, "micro_batch_size": 0}
    assert {one.config.data.micro_batch_size for one in search.candidates} == {0}


def test_nothing_is_chosen_for_no_training(search: FakeSearch) -> None:
    assert choose_batch_size([]) == {}


def test_config_with_the_choice_can_be_trained(search: FakeSearch) -> None:
    config = config_of("mlp", micro_batch_size="auto")
    assert not config.replace(**choose(config)).data.has_auto_size


def test_slices_of_a_given_size_are_no_limit_for_a_batch(search: FakeSearch) -> None:
    with pytest.raises(ConfigError, match="batch_size=auto cannot be chosen with micro_batch_size=16"):
        choose(config_of("mlp"), config_of("resnet20", micro_batch_size=16))


@pytest.mark.parametrize(
    "others",
    [
        {"batch_size": 64},
        {"batch_size": 64, "micro_batch_size": AUTO},
        {"batch_size": AUTO, "micro_batch_size": AUTO},
    ],
)
def test_trainings_that_ask_for_other_fields_are_refused(search: FakeSearch, others: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="in the same fields"):
        choose(config_of("mlp"), config_of("resnet20", **others))


def test_model_without_a_batch_is_named_with_its_problem(search: FakeSearch) -> None:
    search.sizes["resnet20"] = None
    with pytest.raises(
        ConfigError, match=r"^batch_size=auto finds no batch for resnet20: one example .*: give a number"
    ):
        choose(config_of("mlp"), config_of("resnet20"))


def test_choice_is_reported_with_the_heaviest_model(search: FakeSearch) -> None:
    lines: list[str] = []
    choose_batch_size([config_of("mlp"), config_of("small_cnn")], budget=BUDGET, report=lines.append)
    assert lines == ["batch_size=256: mlp needs 356 MiB of the budget of 1.00 GiB with it"]


def test_budget_is_that_of_the_machine_if_none_is_given(search: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_budget", lambda: BUDGET)
    assert choose_batch_size([config_of("mlp")]) == {"batch_size": 1024}


# Which trainings need a measurement of their own.


@pytest.mark.parametrize(
    "change",
    [
        {"split_method": "folds", "fold": 3}, {"split_seed": 1}, {"lr_schedule": "cosine", "warmup_epochs": 2.0},
        {"label_smoothing": 0.1}, {"steps_per_execution": "4"}, {"weight_decay": 0.1}, {"dataset_name": "mine"},
    ],
    ids=lambda change: next(reversed(change)),
)  # fmt: skip
def test_folds_and_schedules_are_not_measured_apart(change: dict[str, Any]) -> None:
    same = {"split_method": change["split_method"]} if "split_method" in change else {}
    assert len(unlike_candidates([config_of(**same), config_of(**change)])) == 1


def test_trainings_that_differ_in_what_takes_no_memory_are_one() -> None:
    configs = [
        config_of(learning_rate=rate, seed=seed, run_name=f"r{seed}", monitor="val_loss")
        for rate in (0.1, 0.01)
        for seed in (0, 1)
    ]
    assert [one.name for one in unlike_candidates(configs)] == ["mlp"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "resnet20"}, {"model_args": {"hidden_sizes": [9]}}, {"image_size": (64, 64)},
        {"dtype_policy": "mixed_float16"}, {"optimizer": "sgd"}, {"ema_decay": 0.9}, {"augment": ("flip",)},
        {"dataset": "npz:a.npz"}, {"freeze_backbone": True}, {"gradient_clip_norm": 1.0}, {"histograms": True},
        {"metrics": ("auc",)}, {"folds": 3},
        {"cache": "memory"}, {"evaluation_report": False},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_trainings_that_may_need_another_amount_of_memory_are_measured_apart(change: dict[str, Any]) -> None:
    assert len(unlike_candidates([config_of(), config_of(**change)])) == 2


def test_batch_sizes_alone_make_no_other_training() -> None:
    assert not {"batch_size", "micro_batch_size"} & MEMORY_FIELDS
    assert len(unlike_candidates([config_of(batch_size=8), config_of(batch_size=9)])) == 1


def test_names_of_different_models_are_those_of_the_models() -> None:
    configs = [config_of("mlp", image_size=(8, 8)), config_of("resnet20", image_size=(9, 9))]
    assert [one.name for one in unlike_candidates(configs)] == ["mlp", "resnet20"]


def test_names_of_one_model_have_what_differs() -> None:
    configs = [
        config_of("resnet20"),
        config_of("mlp", optimizer="sgd"),
        config_of("mlp", optimizer="adam", ema_decay=0.5),
    ]
    assert [one.name for one in unlike_candidates(configs)] == [
        "resnet20",
        "mlp ema_decay=0.0 optimizer=sgd",
        "mlp ema_decay=0.5 optimizer=adam",
    ]


def test_names_of_unlike_trainings_are_unlike() -> None:
    configs = [config_of(model_args={"hidden_sizes": [n]}, image_size=(m, m)) for n in (8, 16) for m in (8, 16)]
    assert len({one.name for one in unlike_candidates(configs)}) == 4
