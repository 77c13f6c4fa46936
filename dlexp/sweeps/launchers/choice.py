"""Chooses the launcher of a sweep by the flags of the command."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from dlexp.errors import ConfigError, unknown_name
from dlexp.machine.capacity import count_cores
from dlexp.sweeps.launchers.base import Launcher
from dlexp.sweeps.launchers.local import LocalLauncher

_LAUNCHERS = ("local", "ray")
_TRIALS_PER_WORKER = 50
_BYTES_PER_WORKER = 2_000_000_000
_RAY_FLAGS: dict[str, tuple[Any, str]] = {
    "ray_address": ("", "With --launcher=ray: host:port of a cluster; empty: start one on this machine."),
    "cpus_per_trial": (1.0, "With --launcher=ray: cores that a trial occupies on its node."),
    "gpus_per_trial": (0.0, "With --launcher=ray: GPUs that a trial occupies on its node."),
}
LAUNCHER_FLAGS: dict[str, tuple[Any, str]] = {
    "workers": (
        0,
        "Trials at once; 0: one per GPU, or per core as far as memory allows, or all that fit in the Ray cluster.",
    ),
    "fresh_process": (False, "Run each trial in a new process."),
    "launcher": ("local", "Where trials run: local, or ray: on the nodes of a cluster, with the package ray."),
    **_RAY_FLAGS,
}


@dataclass(frozen=True, kw_only=True)
class LauncherChoice:
    """A launcher that can be opened.

    Attributes:
        name: `local` or `ray`.
        workers: number of trials at once; 0: as many as the Ray cluster has room for.
        threads: number of threads that a trial should use.
        trials_per_worker: number of trials after which a process is replaced.
        ray_arguments: further arguments of `RayLauncher`.
    """

    name: str
    workers: int
    threads: int
    trials_per_worker: int
    ray_arguments: Mapping[str, Any]

    def open(self, runner: str) -> Launcher:
        """Opens the launcher; the caller closes it.

        Args:
            runner: `module:name` of a `Runner` class without arguments.

        Raises:
            ConfigError: Ray is not installed, no cluster is at the address, or no trial fits into the cluster.
        """
        if self.name == "local":
            return LocalLauncher(runner, workers=self.workers, trials_per_worker=self.trials_per_worker)
        from dlexp.sweeps.launchers.ray import RayLauncher

        return RayLauncher(runner, workers=self.workers, trials_per_worker=self.trials_per_worker, **self.ray_arguments)


def choose_launcher(given: Mapping[str, Any]) -> LauncherChoice:
    """Reads the values of `LAUNCHER_FLAGS`.

    Raises:
        ConfigError: a value is invalid, or its flag is for another launcher.
    """
    name, workers = given["launcher"], given["workers"]
    if name not in _LAUNCHERS:
        raise unknown_name("launcher", name, _LAUNCHERS)
    if workers < 0:
        raise ConfigError(f"--workers={workers} must be 0 or more")
    foreign = [flag for flag, (default, _) in _RAY_FLAGS.items() if given[flag] != default]
    if name == "local":
        if foreign:
            raise ConfigError(
                f"--{foreign[0]}={given[foreign[0]]} is for --launcher=ray, but the launcher is local: leave it out"
            )
        workers = workers or _count_workers()
    return LauncherChoice(
        name=name,
        workers=workers,
        threads=max(1, count_cores() // workers if name == "local" else int(given["cpus_per_trial"])),
        trials_per_worker=1 if given["fresh_process"] else _TRIALS_PER_WORKER,
        ray_arguments={
            "address": given["ray_address"],
            "cpus_per_trial": given["cpus_per_trial"],
            "gpus_per_trial": given["gpus_per_trial"],
        },
    )


def _count_workers() -> int:
    """Returns the number of GPUs; without a GPU, the number of cores, as far as memory allows."""
    gpus = len(list(pathlib.Path("/dev").glob("nvidia[0-9]*")))
    fitting = max(1, psutil.virtual_memory().available // _BYTES_PER_WORKER)
    return gpus or min(count_cores(), fitting)
