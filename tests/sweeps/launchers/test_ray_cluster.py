"""What is decided about a Ray cluster before a trial runs there; Ray itself is tested in tests/integration."""

import sys
from typing import Any

import pytest

from dlexp.errors import ConfigError
from dlexp.sweeps.launchers.ray_cluster import TrialResources, connect, count_fitting


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    resources = {name: value for name, value in (("CPU", cpus), ("GPU", gpus)) if value}
    return {"Alive": alive, "NodeManagerAddress": "192.0.2.7", "Resources": resources}


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        (TrialResources(1), 6),
        (TrialResources(4), 1),
        (TrialResources(0.1), 60),
        (TrialResources(0.3), 19),
        (TrialResources(1, 1), 2),
        (TrialResources(1, 0.5), 4),
    ],
)
def test_trials_fit_into_nodes_one_by_one(resources: TrialResources, count: int) -> None:
    assert count_fitting([node(4, 2), node(2), node(64, 8, alive=False)], resources) == count


def test_a_trial_that_fits_on_no_node_is_refused_with_what_nodes_have() -> None:
    message = "--cpus_per_trial=8 and --gpus_per_trial=0: it has 192.0.2.7 with 4 cores and 2 GPUs, 192.0.2.7 with 2"
    with pytest.raises(ConfigError, match=message):
        count_fitting([node(4, 2), node(2)], TrialResources(8))


@pytest.mark.parametrize(("cpus", "gpus"), [(0, 1), (-1, 0), (1, -0.5)])
def test_resources_that_no_trial_can_have_are_refused(cpus: float, gpus: float) -> None:
    with pytest.raises(ConfigError, match="must be more than 0"):
        TrialResources(cpus, gpus)


def test_ray_that_is_not_installed_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'ray>=2.40', or in a clone of dlexp pip install '.\[ray\]'"):
        connect("127.0.0.1:6379")
