"""Chooses the batch size of a training that asks for `auto`, before it starts."""

from collections.abc import Callable, Iterable, Sequence

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.config.sections import TrackingConfig
from dlexp.config.setting import AUTO
from dlexp.config.spelling import flag_text
from dlexp.errors import ConfigError
from dlexp.machine.units import format_bytes
from dlexp.memory.budget import Budget, find_budget
from dlexp.memory.largest_batch import (
    Candidate,
    LargestBatch,
    SearchSettings,
    common_size,
    find_largest_batches,
    heaviest_of,
)
from dlexp.runs.batch_sizes import remembered_batch_size

_CHOSEN = ("batch_size", "micro_batch_size")
_ALSO_TAKE_MEMORY = ("cache", "evaluation_report")  # although neither the training step nor the data depends on them
# Although one of them does; a sweep over folds or schedules would measure every model several times. Probes choose
# the steps in a call themselves.
_TAKE_NO_MEMORY = (
    *("batch_norm_momentum", "dataset_id", "dataset_name", "extended_from", "fold", "label_smoothing", "lr_schedule"),
    *("split_seed", "steps_per_execution", "warmup_epochs"),
)
MEMORY_FIELDS = (
    frozenset((*field_names("traced"), *field_names("makes_dataset"), *_ALSO_TAKE_MEMORY))
    .difference(_CHOSEN)
    .difference(_TAKE_NO_MEMORY)
)


def choose_batch_size(
    configs: Iterable[ExperimentConfig],
    *,
    budget: Budget | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Measures the largest batch that fits all of some trainings.

    Args:
        configs: of the trainings; all of them ask for `auto`, in the same fields.
        budget: the memory that a training may use; None: that of the GPU, or what is available.
        report: called with lines about the progress and the result.

    Returns:
        The fields that were `auto`, with their numbers. If both were, the whole batch passes through the network.

    Raises:
        ConfigError: a model cannot be trained, not even one example of it fits, or the configs do not ask for `auto` in
            the same fields.

    Example:
        >>> config = ExperimentConfig.of(model="resnet20", batch_size="auto")
        >>> result = run_experiment(config.replace(**choose_batch_size([config])))
    """
    # Of configs that differ in their batch size alone, the last one is measured: that of the largest batch.
    given = sorted(configs, key=lambda config: config.data.batch_size)
    if not given:
        return {}
    field, fixed = _field_to_find(given)
    budget = budget or find_budget()
    candidates = unlike_candidates(given)
    found = find_largest_batches(
        [Candidate(name=one.name, config=one.config.replace(**{field: 1} | fixed)) for one in candidates],
        budget,
        SearchSettings(field=field),
        report=report,
    )
    for one in found:
        if one.size is None:
            raise ConfigError(f"{field}=auto finds no batch for {one.name}: {one.problem}: give a number")
    heaviest, size = heaviest_of(found), common_size(found)
    assert heaviest is not None  # all have a batch
    assert size is not None
    if field == "micro_batch_size":
        size = min(size, given[0].data.batch_size)
    report(describe_choice(heaviest, size, field, budget))
    return {field: size} | fixed


def _field_to_find(configs: Sequence[ExperimentConfig]) -> tuple[str, dict[str, int]]:
    """The field that is looked for, and values of others: if both are auto, the whole batch passes the network."""
    asked = {(config.data.batch_size == AUTO, config.data.micro_batch_size == AUTO) for config in configs}
    if len(asked) > 1 or asked == {(False, False)}:
        raise ConfigError("a batch size is chosen for trainings that all ask for auto, and in the same fields")
    ((batch_is_auto, micro_is_auto),) = asked
    if not batch_is_auto:
        return "micro_batch_size", {}
    slices = max(config.data.micro_batch_size for config in configs)
    if slices > 0:
        raise ConfigError(
            f"batch_size=auto cannot be chosen with micro_batch_size={slices}, as slices of that size fit for any "
            "batch: give a number as --batch_size, or leave --micro_batch_size out"
        )
    return "batch_size", {"micro_batch_size": 0} if micro_is_auto else {}


def keep_or_choose(
    configs: Iterable[ExperimentConfig],
    tracking: TrackingConfig,
    *,
    budget: Budget | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Returns the batch size that the runs of an experiment have; if there is none yet, that of `choose_batch_size`.

    Args:
        configs: see `choose_batch_size`.
        tracking: names the experiment and its store.
        budget: see `choose_batch_size`.
        report: see `choose_batch_size`.
    """
    configs = list(configs)
    kept = {}
    size = remembered_batch_size(tracking.store, tracking.experiment)
    if size is not None and any(config.data.batch_size == AUTO for config in configs):
        report(f"batch_size={size}, which all runs of experiment {tracking.experiment!r} have")
        kept = {"batch_size": size}
        configs = [config.replace(**kept) for config in configs]
    return kept | choose_batch_size(
        [config for config in configs if config.data.has_auto_size], budget=budget, report=report
    )


def describe_choice(heaviest: LargestBatch, size: int, field: str, budget: Budget) -> str:
    """Returns the choice in a sentence."""
    return (
        f"{field}={size}: {heaviest.name} needs {format_bytes(int(heaviest.peak_at(size)))} of the budget of "
        f"{format_bytes(budget.total_bytes)} with it"
    )


def unlike_candidates(configs: Iterable[ExperimentConfig]) -> list[Candidate]:
    """Returns a candidate for every config that may need another amount of memory, with a name that distinguishes it.

    Its name is that of the model, and the fields whose values differ among the configs of this model.
    """
    by_key = {repr([(name, config.flat()[name]) for name in sorted(MEMORY_FIELDS)]): config for config in configs}
    unlike = list(by_key.values())
    return [Candidate(name=_name(config, unlike), config=config) for config in unlike]


def _name(config: ExperimentConfig, others: list[ExperimentConfig]) -> str:
    values, model = config.flat(), config.model.model
    same_model = [other.flat() for other in others if other.model.model == model]
    differing = [
        name
        for name in sorted(MEMORY_FIELDS)
        if name != "model" and any(other[name] != values[name] for other in same_model)
    ]
    return " ".join([model, *(f"{name}={flag_text(values[name])}" for name in differing)])
