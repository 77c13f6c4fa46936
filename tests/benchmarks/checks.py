"""What the checks of a training cost: of a model before the first step, and of the best checkpoint at the end.

Each check is timed where it is called, as its share of a whole training is below the noise between two trainings. The
plug-in model is the built-in one under another name, because built-in models are not checked before the first step.
"""

import contextlib
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from dlexp import ExperimentConfig, experiment, run_experiment
from dlexp.models import build
from dlexp.registry import MODELS
from dlexp.runs.run import SweepTrial
from dlexp.sweeps.warm_networks import WarmNetworks
from dlexp.training import preparation
from tests.benchmarks.measuring import Row, seconds_of

_CHECKS = (
    (build, "check_contract"),
    *((preparation, name) for name in ("check_saved_network", "check_own_validation")),
    *((experiment, name) for name in ("predict_validation", "measure_validation", "verify_best", "note_cautions")),
)
_MOST_OF_A_TRAINING, _MOST_OF_A_TRIAL_S = 0.02, 0.005
_TRIALS = 20


def measure(folder: str) -> list[Row]:
    """Times the checks within trainings of a built-in and of a plug-in model, and within warm trials.

    Args:
        folder: an empty folder for the stores.
    """
    root = pathlib.Path(folder)
    run_experiment(_config(root / "first", model="mlp", epochs=1))  # imports and first calls
    rows = []
    for model, epochs in (("small_cnn", 10), ("resnet20", 30)):
        with MODELS.override("of_a_plugin", MODELS.get(model)):
            for name in (model, "of_a_plugin"):
                checks, seconds = _time(_config(root, model=name, epochs=epochs))
                what = f"checks of a training of {model}{' as a plug-in' if name != model else ''}, {epochs} epochs, s"
                is_met = checks <= _MOST_OF_A_TRAINING * seconds
                rows.append(Row(what, checks, seconds, "the training", "<= 0.02", is_met, digits=3))
    return [*rows, _time_warm_trials(root / "warm")]


def _time_warm_trials(store: pathlib.Path) -> Row:
    networks, checks, trials = WarmNetworks(), [], []
    for number in range(_TRIALS + 1):
        config = _config(store, model="small_cnn", epochs=5, evaluation_report=False, seed=number)
        trial = SweepTrial("bench", number, f"{number:032x}")
        seconds = _time(config, trial=trial, prepare_setup=networks.prepare)
        checks.append(seconds[0])
        trials.append(seconds[1])
    check, whole = (statistics.median(values[1:]) for values in (checks, trials))
    what = "checks of a warm trial of small_cnn, 5 epochs, s"
    return Row(what, check, whole, "the trial", "<= 0.005 s", check <= _MOST_OF_A_TRIAL_S, digits=4)


def _config(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    return ExperimentConfig.of(dataset="digits", verbose=0, store=str(store), **values)


def _time(config: ExperimentConfig, **named: Any) -> tuple[float, float]:
    """Returns the seconds of all checks of a training, and those of the training."""
    spent: list[float] = []
    with _timing(spent):
        seconds = seconds_of(lambda: run_experiment(config, **named))
    return sum(spent), seconds


@contextlib.contextmanager
def _timing(spent: list[float]) -> Iterator[None]:
    """Appends the seconds of each call of a check in the block to `spent`."""
    with contextlib.ExitStack() as stack:
        for module, name in _CHECKS:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, _timed(getattr(module, name), spent))
        yield


def _timed(check: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return check(*arguments, **named)
        finally:
            spent.append(time.perf_counter() - started)

    return call
