"""Flags of a sweep that say where its trials run."""

from typing import Any

import pytest

from dlexp.errors import ConfigError
from dlexp.machine.capacity import count_cores
from dlexp.sweeps.launchers.choice import LAUNCHER_FLAGS, choose_launcher


def given(**values: Any) -> dict[str, Any]:
    return {name: default for name, (default, _) in LAUNCHER_FLAGS.items()} | values


def test_trials_of_this_machine_share_its_cores() -> None:
    choice = choose_launcher(given(workers=1))
    assert (choice.name, choice.workers, choice.threads) == ("local", 1, count_cores())
    assert choose_launcher(given(workers=2 * count_cores())).threads == 1


def test_there_is_at_least_one_worker() -> None:
    assert choose_launcher(given()).workers >= 1


def test_a_trial_of_ray_has_the_threads_that_it_occupies() -> None:
    assert choose_launcher(given(launcher="ray", cpus_per_trial=4.0)).threads == 4
    assert choose_launcher(given(launcher="ray", cpus_per_trial=0.5)).threads == 1


def test_ray_has_as_many_workers_as_there_is_room_for_unless_told() -> None:
    assert choose_launcher(given(launcher="ray")).workers == 0
    assert choose_launcher(given(launcher="ray", workers=3)).workers == 3


def test_fresh_processes_are_those_of_one_trial() -> None:
    assert choose_launcher(given(fresh_process=True)).trials_per_worker == 1
    assert choose_launcher(given()).trials_per_worker > 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"launcher": "rey"}, "unknown launcher 'rey': did you mean ray"),
        ({"workers": -1}, "--workers=-1 must be 0 or more"),
        ({"ray_address": "127.0.0.1:6379"}, "--ray_address=127.0.0.1:6379 is for --launcher=ray"),
        ({"cpus_per_trial": 2.0}, "--cpus_per_trial=2.0 is for --launcher=ray"),
        ({"gpus_per_trial": 1.0}, "--gpus_per_trial=1.0 is for --launcher=ray"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_launcher(given(**values))
