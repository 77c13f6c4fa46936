"""Groups of runs are compared with each other: which is better, and is that fair."""

import pathlib

import numpy as np
import pytest

from dlexp.comparison.compare import Comparison, compare_runs
from dlexp.comparison.verdict import Outcome
from dlexp.errors import ConfigError, DataError, RunNotFoundError, UnknownNameError
from tests.support.compared_runs import make_code, make_run

GOOD, BAD = [0.95, 0.96, 0.94, 0.955, 0.945], [0.90, 0.92, 0.89, 0.91, 0.90]


@pytest.fixture
def store(tmp_path: pathlib.Path) -> pathlib.Path:
    """A store with five seeds of two models; resnet20 is better."""
    for seed in range(5):
        make_run(tmp_path, BAD[seed], model="mlp", seed=seed)
        make_run(tmp_path, GOOD[seed], model="resnet20", seed=seed)
    return tmp_path


def outcomes(comparison: Comparison) -> dict[str, str]:
    return {pair.a: str(pair.verdict.outcome) for pair in comparison.pairs}


def test_settings_with_several_seeds_are_compared_by_their_means(store: pathlib.Path) -> None:
    found = compare_runs(store=store)
    assert found.baseline == "model=mlp"
    assert [summary.group.name for summary in found.summaries] == ["model=resnet20", "model=mlp"]
    assert outcomes(found) == {"model=resnet20": "better"}
    assert found.pairs[0].verdict.sentence.startswith(
        "model=resnet20 is better than model=mlp by 4.60 points (difference 95 % +4.08 to +5.12; 5 seeds, paired t)"
    )
    assert found.disagreements == []


def test_baseline_may_be_named_by_group_or_by_run(store: pathlib.Path) -> None:
    by_group = compare_runs(store=store, baseline="model=resnet20")
    best = by_group.summaries[0].group.entries[0].run.id
    assert outcomes(by_group) == outcomes(compare_runs(store=store, baseline=best)) == {"model=mlp": "worse"}


def test_difference_within_the_margin_is_equal(store: pathlib.Path) -> None:
    assert outcomes(compare_runs(store=store, margin=6.0)) == {"model=resnet20": "equal within the margin"}


def test_small_losses_are_better(store: pathlib.Path) -> None:
    assert outcomes(compare_runs(store=store, metric="test_loss")) == {"model=resnet20": "better"}


def test_seeds_that_cannot_show_a_difference_say_how_many_would(tmp_path: pathlib.Path) -> None:
    for seed, (a, b) in enumerate([(0.90, 0.91), (0.92, 0.90), (0.91, 0.92)]):
        make_run(tmp_path, a, model="mlp", seed=seed)
        make_run(tmp_path, b, model="resnet20", seed=seed)
    (pair,) = compare_runs(store=tmp_path, margin=0.5).pairs
    assert pair.verdict.outcome is Outcome.UNDECIDED
    assert pair.verdict.seeds is not None
    assert f"about {pair.verdict.seeds} seeds of each would show a difference of 0.50 points" in pair.verdict.sentence


def test_other_seeds_are_not_paired(tmp_path: pathlib.Path) -> None:
    for seed in range(3):
        make_run(tmp_path, GOOD[seed], model="resnet20", seed=seed)
        make_run(tmp_path, BAD[seed], model="mlp", seed=seed + 7)
    (pair,) = compare_runs(store=tmp_path).pairs
    assert pair.difference is not None
    assert pair.difference.method == "Welch's t"


def test_runs_that_failed_are_counted(store: pathlib.Path) -> None:
    make_run(store, 0.1, model="resnet20", seed=5, record={"status": "DIVERGED"})
    found = compare_runs(store=store)
    assert {summary.group.name: summary.ended for summary in found.summaries} == {
        "model=resnet20": "5 of 6",
        "model=mlp": "5 of 5",
    }
    assert [one.what for one in found.disagreements] == ["status"]


def test_seed_that_was_trained_twice_counts_once(store: pathlib.Path) -> None:
    make_run(store, 0.9, model="mlp", seed=4)
    found = compare_runs(store=store)
    assert {summary.ended for summary in found.summaries} == {"5 of 5"}


def test_one_seed_each_is_a_verdict_on_two_trainings_only(tmp_path: pathlib.Path) -> None:
    right = np.ones(100, bool)
    wrong = right.copy()
    wrong[:20] = False
    make_run(tmp_path, 0.8, model="mlp", answers=wrong)
    make_run(tmp_path, 1.0, model="resnet20", answers=right)
    (pair,) = compare_runs(store=tmp_path).pairs
    assert pair.difference is None
    assert pair.checkpoints is not None
    assert (pair.checkpoints.only_a, pair.checkpoints.only_b) == (20, 0)
    assert pair.verdict.outcome is Outcome.UNDECIDED
    assert "right on 20 more of 100 examples" in pair.verdict.sentence
    assert "two trainings, not two settings" in pair.verdict.sentence
    assert "--seeds=5" in pair.verdict.sentence


def test_the_finished_run_of_a_group_is_compared_also_if_a_later_seed_failed(tmp_path: pathlib.Path) -> None:
    make_run(tmp_path, 0.5, model="mlp", answers=[True, False])
    make_run(tmp_path, 0.1, model="mlp", seed=1, record={"status": "FAILED"})
    make_run(tmp_path, 1.0, model="resnet20", answers=[True, True])
    (pair,) = compare_runs(store=tmp_path).pairs
    assert pair.checkpoints is not None
    assert (pair.checkpoints.only_a, pair.checkpoints.only_b) == (1, 0)


def test_baseline_without_a_finished_run_is_refused(store: pathlib.Path) -> None:
    failed = make_run(store, 0.1, model="vit_tiny", record={"status": "FAILED"})
    with pytest.raises(ConfigError, match="has no finished run with test_accuracy"):
        compare_runs(store=store, baseline=failed.id)


def test_folds_are_compared_by_the_corrected_test(tmp_path: pathlib.Path) -> None:
    for fold in range(5):
        for model, values in (("mlp", BAD), ("resnet20", GOOD)):
            make_run(
                tmp_path, values[fold], model=model, split_method="folds", fold=fold, record={"dataset_id": str(fold)}
            )
    (pair,) = compare_runs(store=tmp_path, group_by=["model"]).pairs
    assert pair.difference is not None
    assert pair.difference.method == "corrected resampled t"


def test_several_groups_are_judged_together(store: pathlib.Path) -> None:
    for seed in range(5):
        make_run(store, GOOD[seed] - 0.01, model="small_cnn", seed=seed)
    found = compare_runs(store=store)
    assert all("corrected for all comparisons" in pair.verdict.sentence for pair in found.pairs[:1])
    for pair in found.pairs:
        assert pair.difference is not None
        assert pair.adjusted_p is not None
        assert pair.difference.p is not None
        assert pair.adjusted_p > pair.difference.p or pair.adjusted_p == pytest.approx(pair.difference.p)
    assert max(pair.adjusted_p / pair.difference.p for pair in found.pairs) == pytest.approx(2.0)  # type: ignore[operator, union-attr]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"batch_size": 128}, "batch_size"),
        ({"micro_batch_size": 16}, "micro_batch_size"),
        ({"epochs": 30}, "epochs"),
        ({"image_size": (16, 16)}, "image_size"),
        ({"dtype_policy": "mixed_bfloat16"}, "dtype_policy"),
        ({"monitor": "val_loss"}, "monitor"),
        ({"record": {"dataset_id": "other"}}, "dataset_id"),
        ({"record": {"caution": "batch size differs"}}, "caution"),
    ],
)
def test_what_else_differs_is_named_with_its_values(
    tmp_path: pathlib.Path, changes: dict[str, object], what: str
) -> None:
    for seed in range(3):
        make_run(tmp_path, 0.9 + seed / 100, model="mlp", seed=seed)
        make_run(tmp_path, 0.8 + seed / 100, model="resnet20", seed=seed, **changes)  # type: ignore[arg-type]
    (one,) = compare_runs(store=tmp_path).disagreements
    assert one.what == what
    assert len(one.values) == 2
    assert f"{what} differs (model=mlp" in str(one)


def test_what_is_compared_on_purpose_is_no_disagreement(tmp_path: pathlib.Path) -> None:
    for seed in range(3):
        for batch_size in (64, 128):
            make_run(tmp_path, 0.9 + seed / 100 + batch_size / 1e4, batch_size=batch_size, seed=seed)
    assert compare_runs(store=tmp_path, group_by=["batch_size"]).disagreements == []
    assert [one.what for one in compare_runs(store=tmp_path).disagreements] == ["batch_size"]


def test_other_code_is_a_disagreement_after_all_that_matters_more(tmp_path: pathlib.Path) -> None:
    make_code(make_run(tmp_path, 0.9, model="mlp", answers=[True, False]), commit="a" * 40)
    make_code(make_run(tmp_path, 0.8, model="resnet20", epochs=20, answers=[True, True]), commit="b" * 40)
    assert [one.what for one in compare_runs(store=tmp_path).disagreements] == ["epochs", "commit"]


def test_arguments_of_a_model_are_settings(tmp_path: pathlib.Path) -> None:
    for width in (8, 16):
        make_run(tmp_path, 0.9, model="mlp", model_args={"width": width}, answers=[True, False])
    names = {summary.group.name for summary in compare_runs(store=tmp_path).summaries}
    assert names == {"model_args.width=8", "model_args.width=16"}


def test_loss_of_the_training_does_not_group_runs(tmp_path: pathlib.Path) -> None:
    for seed in range(3):
        make_run(tmp_path, 0.9, seed=seed, record={"metrics": {"loss": 0.1 * seed, "test_accuracy": 0.9}})
    (summary,) = compare_runs(store=tmp_path).summaries
    assert summary.ended == "3 of 3"


def test_runs_of_other_classes_are_refused(tmp_path: pathlib.Path) -> None:
    make_run(tmp_path, model="mlp")
    make_run(tmp_path, model="resnet20", classes=3)
    with pytest.raises(ConfigError, match="other classes"):
        compare_runs(store=tmp_path)


def test_runs_without_a_common_example_are_refused(tmp_path: pathlib.Path) -> None:
    make_run(tmp_path, model="mlp", answers=[])
    make_run(tmp_path, model="resnet20", answers=[True])
    with pytest.raises(DataError, match="no test example in common"):
        compare_runs(store=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "test_recal"}, ConfigError, "did you mean test_recall"),
        ({"metric": "test_auc"}, ConfigError, "no finished run has a finite test_auc"),
        ({"group_by": ["modle"]}, UnknownNameError, "model"),
        ({"where": "model == 'vit'"}, RunNotFoundError, "no run of store"),
        ({"references": ["none"]}, RunNotFoundError, "no run 'none'"),
        ({"baseline": "model=vit"}, UnknownNameError, "model=mlp"),
        ({"margin": -1.0}, ConfigError, "--margin=-1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    store: pathlib.Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compare_runs(store=store, **arguments)  # type: ignore[arg-type]
