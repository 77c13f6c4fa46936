"""The Ray launcher passes the conformance suite, and a sweep continues when one of two nodes dies."""

import math
import pathlib
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError
from dlexp.runs.store import iterate_runs
from dlexp.sweeps.driver import SweepDriver, SweepLimits
from dlexp.sweeps.folder import Trial, TrialState, create_sweep
from dlexp.sweeps.launchers.base import EpochEnded
from dlexp.sweeps.launchers.ray import RayLauncher
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.space import Space
from dlexp.testing import LauncherContract, LauncherMaker
from dlexp.testing.driver_process import check_gone, start_driver
from dlexp.testing.fake_trials import fake_job
from dlexp.testing.launching import ends_of, run_trial, wait_until
from tests.support.fake_trials import RUNNER, epochs_of
from tests.support.kept_workers import KeptWorkersTests
from tests.support.ray_cluster import add_node, start_cluster

RAY = "dlexp.sweeps.launchers.ray:RayLauncher"
OPTIONS = {"trials_per_worker": 50, "cpus_per_trial": 0.5}
TRIALS, EPOCHS = 12, 15


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a cluster of one node with two cores."""
    with start_cluster(cpus=2) as cluster:
        yield cluster.address


class TestRay(LauncherContract, KeptWorkersTests):
    @pytest.fixture
    def maker(self, address: str) -> LauncherMaker:
        return LauncherMaker(RAY, {**OPTIONS, "address": address})


def test_a_cluster_that_it_has_started_listens_only_on_this_machine_and_ends_with_its_driver() -> None:
    jobs = {0: "report hang", 1: "report hold"}
    with start_driver(RAY, LauncherMaker(RAY, OPTIONS).arguments(), jobs) as (driver, started):
        pids = {driver.pid, *(process.pid for process in started)}
        sockets = [socket for socket in psutil.net_connections("inet") if socket.pid in pids]
        listening = {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        driver.kill()
        driver.wait()
        check_gone(started)


def test_as_many_workers_as_the_cluster_has_room_for(address: str) -> None:
    maker = LauncherMaker(RAY, {"trials_per_worker": 1, "address": address})
    with maker.open(workers=0) as launcher:
        assert launcher.slots == 2
    with maker.open(workers=9, cpus_per_trial=2) as launcher:
        assert launcher.slots == 1
        assert run_trial(launcher, 0, "report").outcome == "FINISHED"


def test_a_trial_that_fits_on_no_node_is_refused(address: str) -> None:
    message = "--cpus_per_trial=1 and --gpus_per_trial=1: it has 127.0.0.1 with 2 cores and 0 GPUs"
    with pytest.raises(ConfigError, match=message):
        RayLauncher(RUNNER, workers=1, trials_per_worker=1, address=address, gpus_per_trial=1)


def test_a_trial_uses_all_gpus_that_ray_shows_it(address: str) -> None:
    with LauncherMaker(RAY, {**OPTIONS, "address": address}).open() as launcher:
        launcher.start(fake_job(0, "report"))
        epoch = wait_until(launcher, lambda events: bool(ends_of(events)))[0]
    assert isinstance(epoch, EpochEnded)
    assert math.isnan(epoch.metrics["gpu"])


def test_an_address_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="no Ray cluster at --ray_address=127"):
        RayLauncher(RUNNER, workers=1, trials_per_worker=1, address="127.0.0.1:9")


class NodeKiller:
    """Kills a node when some trials have finished, and all running ones have done an epoch but less than half."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self._cluster, self.node = cluster, node

    def changed(self, trial: Trial) -> None:
        pass

    def refresh(self, driver: SweepDriver) -> None:
        running = [driver.trials[number] for number in driver.running]
        if (
            self.node is not None
            and driver.ended_now >= 3
            and len(running) == 4
            and all(0 < trial.epochs < EPOCHS / 2 for trial in running)
        ):
            self._cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def test_a_sweep_continues_when_one_of_two_nodes_dies(tmp_path: pathlib.Path) -> None:
    base = ExperimentConfig.of(store=str(tmp_path), epochs=EPOCHS)
    plan = SweepPlan(name="two-nodes", candidates=Space.parse(f"seed=range({TRIALS})", base))
    folder = create_sweep(tmp_path, plan.name, plan.to_dict())
    with start_cluster(cpus=2) as cluster:
        killer = NodeKiller(cluster, add_node(cluster, cpus=2))
        launcher = RayLauncher(RUNNER, workers=0, trials_per_worker=50, address=cluster.address)
        try:
            assert launcher.slots == 4
            with folder.hold():
                SweepDriver(folder, plan, SweepLimits(), launcher, [killer]).run()
            assert launcher.slots == 2
        finally:
            launcher.close()
    assert killer.node is None
    trials = folder.trials()
    assert [trial.state for trial in trials] == [TrialState.FINISHED] * TRIALS
    runs = list(iterate_runs(tmp_path))
    assert len(runs) == TRIALS
    epochs = [epochs_of(run) for run in runs]
    assert [[epoch for epoch, _ in done] for done in epochs] == [list(range(1, EPOCHS + 1))] * TRIALS
    assert sorted(trial.attempts for trial in trials) == [1] * (TRIALS - 2) + [2] * 2
    assert sum(len({pid for _, pid in done}) == 2 for done in epochs) == 2
