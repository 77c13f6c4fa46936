"""A trial in a used worker is bit for bit the trial of a fresh process, whatever the worker has run before."""

import pathlib
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.runs.run import Run, SweepTrial, run_folder
from dlexp.sweeps.launchers.base import Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.local import LocalLauncher
from dlexp.sweeps.session import RUNNER
from dlexp.sweeps.warm_networks import WarmNetworks, trace_key

BASE: dict[str, Any] = {
    "dataset": "digits", "model": "mlp", "model_args": {"hidden_sizes": [24], "dropout": 0.3}, "epochs": 2,
    "batch_size": 128, "num_threads": 1, "num_workers": 1, "verbose": 0, "weight_decay": 0.01,
    "mlflow_autolog": False, "system_metrics": False, "tensorboard": False, "sample_pictures": False,
    "evaluation_report": False,
}  # fmt: skip
SUPPORT = pathlib.Path(__file__).parents[1] / "support"
PLUGINS = (str(SUPPORT / "batchnorm_model.py"), str(SUPPORT / "noisy_model.py"))
NOISY: dict[str, Any] = {"model": "noisy_net", "model_args": {}, "plugins": PLUGINS}
CNN: dict[str, Any] = {"model": "small_cnn", "model_args": {"filters": [4], "dropout": 0.2}}
# Two trials of each kind trace the same, so that the second one to run takes the network of the first.
KINDS: dict[str, Sequence[Mapping[str, Any]]] = {
    "rates": [{"learning_rate": 0.003}, {"learning_rate": 0.01, "weight_decay": 0.1, "seed": 5}],
    "no decay": [{"weight_decay": 0.0}, {"weight_decay": 0.0, "seed": 1}],
    "cnn": [CNN, CNN | {"seed": 3}],
    "augmented": [CNN | {"augment": ("flip", "crop", "mixup"), "seed": seed} for seed in (0, 1)],
    "cosine": [{"lr_schedule": "cosine", "warmup_epochs": 0.5, "learning_rate": rate} for rate in (0.01, 0.003)],
    "plateau": [
        {"lr_schedule": "plateau", "plateau_patience": 1, "early_stopping_patience": 1, "epochs": 4}
        | {"learning_rate": rate}
        for rate in (0.03, 0.1)
    ],
    "selection": [
        {"monitor": "val_loss", "lr_schedule": "plateau", "epochs": 5},
        {"monitor": "accuracy", "monitor_mode": "min", "lr_schedule": "plateau", "epochs": 5}
        | {"plateau_patience": 1, "early_stopping_patience": 3},
    ],
    "momentum": [{"optimizer": "sgd", "learning_rate": rate, "gradient_clip_norm": 1.0} for rate in (0.01, 0.1)],
    "muon": [{"optimizer": "muon", "seed": seed} for seed in (0, 1)],
    "adagrad": [{"optimizer": "adagrad", "seed": seed} for seed in (0, 1)],
    "averages": [{"ema_decay": 0.9, "seed": seed} for seed in (0, 1)],
    "lion": [{"optimizer": "lion", "learning_rate": rate} for rate in (0.001, 0.0003)],
    "batch normalisation, own callback": [
        {"model": "batchnorm_net", "model_args": {}, "plugins": PLUGINS, "callbacks": ("halve_after_three",)}
        | {"learning_rate": rate, "epochs": 4, "lr_schedule": "plateau"}
        for rate in (0.01, 0.003)
    ],
    "noise": [NOISY | {"learning_rate": rate} for rate in (0.01, 0.003)],
    "noise of another seed": [NOISY | {"learning_rate": rate, "seed": 1} for rate in (0.01, 0.003)],
    "unequal classes": [
        {"sampling": "balanced", "loss": "focal", "seed": 0, "metrics": ("macro_f1",)},
        {"sampling": "balanced", "loss": "focal", "seed": 1, "metrics": ("macro_f1",)},
    ],
    "class weights": [CNN | {"class_weights": "3:4", "seed": seed} for seed in (0, 1)],
    "momentum by steps": [
        {"model": "batchnorm_net", "model_args": {}, "plugins": PLUGINS, "batch_norm_momentum": "steps"}
        | {"learning_rate": rate}
        for rate in (0.01, 0.003)
    ],
    "micro-batches": [
        {"model": "batchnorm_net", "model_args": {}, "plugins": PLUGINS, "batch_norm_momentum": "steps"}
        | {"micro_batch_size": 50, "learning_rate": rate}
        for rate in (0.01, 0.003)
    ],
    "micro-batches of another seed": [CNN | {"micro_batch_size": 50, "seed": seed} for seed in (0, 1)],
    "mixed": [{"dtype_policy": "mixed_float16", "seed": seed} for seed in (0, 1)],
}  # fmt: skip
TRIALS = [(kind, number) for kind, configs in KINDS.items() for number in range(len(configs))]
Outcomes = dict[tuple[str, int], tuple[str, list[tuple[str, int, float]]]]


def config_of(kind: str, number: int, store: pathlib.Path) -> ExperimentConfig:
    return ExperimentConfig.of(**BASE | {"store": str(store)} | dict(KINDS[kind][number]))


def run_trials(order: Sequence[tuple[str, int]], store: pathlib.Path, *, workers: int, per_worker: int) -> Outcomes:
    launcher = LocalLauncher(RUNNER, workers=workers, trials_per_worker=per_worker)
    ids = {position: uuid.uuid4().hex for position in range(len(order))}
    waiting, running, outcomes = list(enumerate(order)), 0, Outcomes()
    try:
        while waiting or running:
            while waiting and running < workers:
                position, trial = waiting.pop(0)
                log = str(store / f"{position}.log")
                launcher.start(
                    TrialJob(SweepTrial("test", position, ids[position]), config_of(*trial, store), log_path=log)
                )
                running += 1
            for event in launcher.wait(60):
                if isinstance(event, TrialEnded):
                    running -= 1
                    log_text = (store / f"{event.trial}.log").read_text(encoding="utf-8")
                    assert event.outcome is Outcome.FINISHED, (order[event.trial], event.reason, log_text)
                    run = Run(ids[event.trial], run_folder(store, ids[event.trial]))
                    outcomes[order[event.trial]] = describe(run)
    finally:
        launcher.close()
    return outcomes


def describe(run: Run) -> tuple[str, list[tuple[str, int, float]]]:
    """The weights digest, and all that was measured and is no time."""
    points = run.points()
    measured = ~points["key"].str.contains("second|load/|images_per")
    chosen = points[measured & points["value"].notna()]
    rows = chosen[["key", "step", "value"]].itertuples(index=False, name=None)
    return run.record()["weights_digest"], [(str(key), int(step), float(value)) for key, step, value in rows]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return run_trials(TRIALS, tmp_path_factory.mktemp("fresh"), workers=2, per_worker=1)


@pytest.fixture(scope="module", params=[0, 1])
def used(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    order = list(TRIALS)
    random.Random(request.param).shuffle(order)
    return run_trials(order, tmp_path_factory.mktemp("used"), workers=1, per_worker=1000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_worker_gives_what_a_fresh_process_gives(kind: str, fresh: Outcomes, used: Outcomes) -> None:
    for trial in [trial for trial in TRIALS if trial[0] == kind]:
        assert used[trial] == fresh[trial]


@pytest.mark.parametrize("kind", KINDS)
def test_trials_of_a_kind_differ(kind: str, fresh: Outcomes) -> None:
    digests = {fresh[trial][0] for trial in TRIALS if trial[0] == kind}
    assert len(digests) == len(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_trials_of_a_kind_trace_the_same(kind: str, tmp_path: pathlib.Path) -> None:
    assert len({trace_key(config_of(kind, number, tmp_path)) for number in range(len(KINDS[kind]))}) == 1


def test_every_field_that_changes_the_result_and_is_not_traced_differs_in_some_kind(tmp_path: pathlib.Path) -> None:
    flat = {kind: [config_of(kind, number, tmp_path).flat() for number in (0, 1)] for kind in KINDS}
    exchanged = {*field_names("changes_result")} - {*field_names("traced")}
    compared = {name for one, other in flat.values() for name in one if one[name] != other[name]}
    assert exchanged <= compared, f"no KINDS shows that a warm trial gets its own {exchanged - compared}"


def test_the_network_of_a_former_trial_is_taken(tmp_path: pathlib.Path) -> None:
    networks = WarmNetworks()
    one, other = (networks.prepare(config_of("rates", number, tmp_path).replace(num_threads=0)) for number in (0, 1))
    assert other.model is one.model
    assert other.config.seed == 5


def test_after_a_failure_no_network_is_taken(tmp_path: pathlib.Path) -> None:
    networks, config = WarmNetworks(), config_of("rates", 0, tmp_path).replace(num_threads=0)
    one = networks.prepare(config)
    networks.forget()
    assert networks.prepare(config).model is not one.model


def test_all_that_makes_the_dataset_is_traced() -> None:
    """A warm trial takes the datasets of the previous one with its network."""
    assert set(field_names("makes_dataset")) <= set(field_names("traced"))


@pytest.mark.parametrize("foreign", [{"model": "noisy_net"}, {"augment": ("flip", "noise")}, {"callbacks": ("halve",)}])
def test_code_of_others_is_traced_anew_for_another_seed(foreign: Mapping[str, Any]) -> None:
    config = ExperimentConfig()
    assert trace_key(config.replace(seed=1)) == trace_key(config)
    assert trace_key(config.replace(**foreign, seed=1)) != trace_key(config.replace(**foreign))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "mlp"}, {"image_size": (16, 16)}, {"batch_size": 32}, {"micro_batch_size": 32},
        {"dtype_policy": "mixed_bfloat16"},
        {"optimizer": "adam"}, {"ema_decay": 0.5}, {"gradient_clip_norm": 1.0}, {"weight_decay": 0.1}, {"epochs": 3},
        {"lr_schedule": "cosine"}, {"steps_per_execution": "1"}, {"metrics": ("AUC",)}, {"histograms": True},
        {"log_every_steps": 2}, {"model_args": {"filters": [8]}}, {"freeze_backbone": True},
        {"label_smoothing": 0.1}, {"augment": ("flip",)}, {"num_threads": 3}, {"save_every_steps": 3},
        {"data_dir": "elsewhere"}, {"dataset_id": "1265fbfe"},
    ],
)  # fmt: skip
def test_what_is_traced_is_traced_anew(change: Mapping[str, Any]) -> None:
    config = ExperimentConfig()
    assert trace_key(config.replace(**change)) != trace_key(config)
