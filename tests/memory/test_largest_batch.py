"""The largest batch of several models: what is asked of probes, and what their answers mean."""

import pathlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import open_dataset
from dlexp.memory import largest_batch as module
from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import (
    Candidate,
    LargestBatch,
    SearchSettings,
    common_size,
    find_largest_batches,
    heaviest_of,
)
from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.search import Line
from dlexp.memory.unmeasured import unmeasured_bytes
from dlexp.registry import MODELS
from tests.support.found_batches import BUDGET, MIB, found_batch, measured, not_measured

Answer = Callable[[ExperimentConfig], Probe]
TRAINING_IMAGES = 1260  # of digits
ACTIVATIONS = {"mlp": 0.1, "small_cnn": 1.0, "resnet20": 2.0, "vit_tiny": 4.0}  # MiB for each image


def line_of_model(config: ExperimentConfig) -> Probe:
    passing = config.data.evaluation_batch_size
    peak = int((200 + ACTIVATIONS[config.model.model] * passing) * MIB)
    if peak > BUDGET.total_bytes:
        return not_measured(Outcome.NO_MEMORY, "needs more than 1.00 GiB", peak_bytes=BUDGET.total_bytes)
    return measured(peak, estimated_bytes_per_example=int(ACTIVATIONS[config.model.model] * MIB))


class FakeProber:
    """Answers at once, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[ExperimentConfig, bool, int]] = []
        self.made: list[dict[str, Any]] = []
        self.limits: list[int] = []

    def __call__(self, **settings: Any) -> "FakeProber":
        self.made.append(settings)
        return self

    def __enter__(self) -> "FakeProber":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def measure(
        self, config: ExperimentConfig, *, whole_run: bool, timed_calls: int = 0, limit_bytes: int = 0
    ) -> Probe:
        self.asked.append((config, whole_run, timed_calls))
        self.limits.append(limit_bytes)
        return self.answer(config)


@pytest.fixture
def prober(monkeypatch: pytest.MonkeyPatch) -> FakeProber:
    fake = FakeProber(line_of_model)
    monkeypatch.setattr(module, "Prober", fake)
    return fake


def find(
    *models: str, budget: Budget = BUDGET, settings: SearchSettings | None = None, **values: Any
) -> list[LargestBatch]:
    candidates = [
        Candidate(name=model, config=ExperimentConfig.of(**{"model": model, "batch_size": 1} | values))
        for model in models
    ]
    return find_largest_batches(candidates, budget, settings or SearchSettings())


def test_largest_batches_are_found_in_the_order_of_the_models(prober: FakeProber) -> None:
    found = find("vit_tiny", "mlp", "resnet20")
    assert [(one.name, one.size, one.problem) for one in found] == [
        ("vit_tiny", 128, ""),
        ("mlp", 1024, ""),
        ("resnet20", 256, ""),
    ]
    assert prober.made == [{"device": "cpu", "limit_bytes": BUDGET.total_bytes, "time_limit_s": 600.0}]


def test_multiples_of_a_number_may_be_asked_for(prober: FakeProber) -> None:
    (found,) = find("resnet20", settings=SearchSettings(multiple_of=8))
    assert found.size is not None
    assert 0.9 * 360 <= found.size <= 360
    assert found.size % 8 == 0


def test_micro_batch_is_found_within_the_batch(prober: FakeProber) -> None:
    (found,) = find("mlp", settings=SearchSettings(field="micro_batch_size"), batch_size=48)
    assert (found.size, found.largest_allowed) == (32, 32)
    assert {config.data.batch_size for config, _, _ in prober.asked} == {48}
    assert [config.data.micro_batch_size for config, _, _ in prober.asked] == list(found.probes)


def test_batch_is_never_larger_than_the_training_set(prober: FakeProber) -> None:
    (found,) = find("mlp", settings=SearchSettings(multiple_of=1))
    assert (found.size, found.largest_allowed) == (TRAINING_IMAGES, TRAINING_IMAGES)


@pytest.mark.parametrize("given", ["auto", "4"])
def test_only_the_probe_that_confirms_is_timed_and_takes_several_steps_in_a_call(
    prober: FakeProber, given: str
) -> None:
    """Four steps need not divide the steps of an epoch, for any batch size that is probed."""
    find("resnet20", steps_per_execution=given)
    timed = [(config.execution.steps_per_execution, whole) for config, whole, calls in prober.asked if calls]
    others = [config.execution.steps_per_execution for config, _, calls in prober.asked if not calls]
    assert timed == [("auto", True)]
    assert set(others) == {"1"}


def test_memory_that_no_probe_shows_is_left_free(prober: FakeProber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unmeasured_bytes", lambda config, dataset: 300 * MIB)
    (found,) = find("resnet20")
    assert (found.size, found.unmeasured_bytes) == (128, 300 * MIB)
    assert found.peak_at(128) == (200 + 2 * 128 + 300) * MIB


def test_predictions_of_the_whole_dataset_are_what_no_probe_shows(prober: FakeProber) -> None:
    (found,) = find("mlp")
    assert found.unmeasured_bytes == unmeasured_bytes(found.config, open_dataset(found.config.data))


def test_every_probe_is_reported_with_its_peak_or_its_reason(prober: FakeProber) -> None:
    prober.answer = lambda config: (
        measured(200 * MIB) if config.data.batch_size == 8 else not_measured(Outcome.NO_MEMORY, "needs more than 1 GiB")
    )
    lines: list[str] = []
    config = ExperimentConfig.of(model="mlp", batch_size=1)
    find_largest_batches([Candidate(name="mine", config=config)], BUDGET, SearchSettings(), report=lines.append)
    assert lines[0] == "mine, batch_size=8: 200 MiB (1 s)"
    others = [line for line in lines if "batch_size=8:" not in line]
    assert others != []
    assert all(line.endswith(": needs more than 1 GiB (1 s)") for line in others)


def test_unknown_model_is_a_problem_of_that_model_alone(prober: FakeProber) -> None:
    unknown, known = find("resnet2", "mlp")
    assert unknown.size is None
    assert "did you mean resnet" in unknown.problem
    assert (unknown.num_probes, unknown.peaks(), unknown.num_parameters) == (0, {}, None)
    assert known.size == 1024


def test_dataset_that_is_not_there_is_a_problem_of_every_model(prober: FakeProber, tmp_path: pathlib.Path) -> None:
    found = find("mlp", "resnet20", dataset=f"folder:{tmp_path}/missing")
    assert all("missing" in one.problem for one in found)
    assert prober.asked == []


def test_model_that_fails_has_the_reason_of_its_first_probe(prober: FakeProber) -> None:
    prober.answer = lambda config: not_measured(Outcome.FAILED, "model x needs larger images")
    (found,) = find("mlp")
    assert (found.size, found.problem, found.num_probes) == (None, "model x needs larger images", 1)
    assert found.peak_at(8) == float("inf")


def test_example_that_needs_more_than_the_budget_is_measured_without_a_limit(prober: FakeProber) -> None:
    prober.answer = lambda config: (
        measured(3000 * MIB) if any(prober.limits) else not_measured(Outcome.NO_MEMORY, "needs more than 1.00 GiB")
    )
    (found,) = find("mlp")
    assert list(found.probes) == [8, 1]
    assert found.problem.startswith("one example needs 2.93 GiB, 2.03 GiB more than the 922 MiB of the budget")


def test_example_that_fits_nowhere_is_named_without_a_figure(prober: FakeProber) -> None:
    prober.answer = lambda config: not_measured(Outcome.NO_MEMORY, "needs more than 1.00 GiB")
    (found,) = find("mlp")
    assert found.problem.startswith("one example needs more than the 922 MiB of the budget without its margin")


def test_example_that_needs_the_margin_says_by_how_much(prober: FakeProber) -> None:
    prober.answer = lambda config: measured(1000 * MIB)
    (found,) = find("mlp")
    assert found.size is None
    assert found.problem.startswith("one example needs ")
    assert "79.1 MiB more than the 922 MiB of the budget without its margin" in found.problem


def test_plugin_of_several_models_is_imported_by_one_thread_at_a_time(
    prober: FakeProber, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second thread would find the module begun, and the names of its models not yet registered."""
    monkeypatch.setattr(module, "_count_at_once", lambda budget: 4)
    prober.answer = lambda config: measured(200 * MIB)
    source = "import time\nfrom dlexp import register_model\ntime.sleep(0.3)\n"
    source += "".join(f"register_model('late_{n}')(lambda shape, classes: None)\n" for n in range(4))
    (tmp_path / "late_models.py").write_text(source, encoding="utf-8")
    with MODELS.isolated():
        found = find(*(f"late_{n}" for n in range(4)), plugins=(str(tmp_path / "late_models.py"),))
    assert [one.problem for one in found] == [""] * 4


def test_initial_checkpoint_is_given_to_probes_by_its_path(
    prober: FakeProber, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes write to a store of their own, where no run of the user is."""
    looked_up: list[tuple[str, str]] = []

    def find_referenced(reference: str, store: str) -> pathlib.Path:
        looked_up.append((reference, store))
        return pathlib.Path("weights.keras")

    monkeypatch.setattr(module, "find_referenced", find_referenced)
    monkeypatch.chdir(tmp_path)
    find("mlp", init_checkpoint="a1b2:best", store="runs")
    assert looked_up == [("a1b2:best", "runs")]
    assert {config.model.init_checkpoint for config, _, _ in prober.asked} == {str(tmp_path / "weights.keras")}


def test_initial_checkpoint_of_no_run_is_a_problem(prober: FakeProber, tmp_path: pathlib.Path) -> None:
    (found,) = find("mlp", init_checkpoint="a1b2:best", store=str(tmp_path))
    assert found.size is None
    assert "a1b2" in found.problem


def test_error_of_a_thread_is_raised_and_the_others_end(prober: FakeProber) -> None:
    def answer(config: ExperimentConfig) -> Probe:
        raise KeyboardInterrupt

    prober.answer = answer
    with pytest.raises(KeyboardInterrupt):
        find("mlp", "resnet20")
    assert threading.active_count() < 10


@pytest.mark.parametrize(
    ("device", "available", "cores", "count"),
    [
        ("cpu", 100 * 2**30, 8, 2),
        ("cpu", 100 * 2**30, 1, 1),
        ("cpu", BUDGET.total_bytes, 8, 1),
        ("cpu", None, 8, 1),
        ("gpu:0", 100 * 2**30, 8, 1),
    ],
)
def test_two_probes_run_at_once_if_memory_and_cores_allow(
    monkeypatch: pytest.MonkeyPatch, device: str, available: int | None, cores: int, count: int
) -> None:
    monkeypatch.setattr(module, "available_memory_bytes", lambda: available)
    monkeypatch.setattr(module, "count_cores", lambda: cores)
    budget = Budget(device=device, total_bytes=BUDGET.total_bytes, margin=0.1, origin="as given")
    assert module._count_at_once(budget) == count


def test_budget_of_nothing_lets_one_probe_run() -> None:
    assert module._count_at_once(Budget(device="cpu", total_bytes=0, margin=0.1, origin="as given")) >= 1


# Peaks between and beyond what was measured.


def test_peak_of_a_probe_of_training_alone_is_raised_by_the_end_of_a_run() -> None:
    probes = {
        8: measured(100 * MIB, whole_bytes=140 * MIB),
        64: measured(300 * MIB, is_training_only=True),
        128: measured(500 * MIB, whole_bytes=510 * MIB),
    }
    found = found_batch("mlp", 128, probes=probes)
    assert found.peaks() == {8: 140 * MIB, 64: 340 * MIB, 128: 510 * MIB}


def test_peaks_are_sorted_and_leave_out_what_was_not_measured() -> None:
    killed = not_measured(Outcome.NO_MEMORY, "killed", peak_bytes=2**40)
    found = found_batch("mlp", 64, probes={64: measured(3 * MIB), 512: killed, 8: measured(2 * MIB)})
    assert list(found.peaks().items()) == [(8, 2 * MIB), (64, 3 * MIB)]


@pytest.mark.parametrize(("size", "peak"), [(8, 200), (64, 400), (36, 300), (128, 528), (4, 192), (0, 184)])
def test_peak_is_interpolated_between_probes_and_follows_the_line_beyond(size: int, peak: float) -> None:
    probes = {8: measured(200 * MIB), 64: measured(400 * MIB)}
    assert found_batch("mlp", 64, probes=probes, line=Line(0, 2 * MIB)).peak_at(size) == peak * MIB


def test_peak_of_a_single_probe_follows_the_line() -> None:
    found = found_batch("mlp", 8, probes={8: measured(200 * MIB)}, line=Line(0, MIB))
    assert [found.peak_at(size) for size in (4, 8, 16)] == [196 * MIB, 200 * MIB, 208 * MIB]


def test_facts_of_a_model_come_from_its_probes() -> None:
    found = found_batch("mlp", 64)
    assert (found.num_parameters, found.estimated_bytes, found.images_per_second) == (1234, 74 * MIB, 100.0)


def test_speed_that_was_not_timed_is_not_known() -> None:
    assert found_batch("mlp", 8, probes={8: measured(MIB, images_per_second=0.0)}).images_per_second is None


def test_model_without_a_batch_has_no_estimate_and_no_speed() -> None:
    found = found_batch("mlp", None)
    assert (found.num_parameters, found.estimated_bytes, found.images_per_second) == (None, None, None)


def test_heaviest_model_needs_the_most_with_the_batch_that_fits_all() -> None:
    steep, large = found_batch("steep", 64, fixed=100, slope=10), found_batch("large", 512, fixed=600, slope=0.5)
    assert heaviest_of([large, steep]) is steep
    flat = found_batch("flat", 64, fixed=100, slope=1)
    assert heaviest_of([flat, large]) is large


def test_no_model_is_the_heaviest_if_none_has_a_batch() -> None:
    assert heaviest_of([found_batch("mlp", None)]) is None
    assert heaviest_of([]) is None


def test_common_size_is_the_smallest_one() -> None:
    light, heavy, broken = found_batch("mlp", 1024), found_batch("vit", 64, slope=10), found_batch("broken", None)
    assert common_size([light, broken, heavy]) == 64
    assert common_size([broken]) is None
    assert common_size([]) is None
