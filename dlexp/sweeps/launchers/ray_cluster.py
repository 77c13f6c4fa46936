"""Clusters of Ray: an existing one, or one of this machine alone, and how many trials fit into it."""

import logging
import math
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.errors import ConfigError, missing_package
from dlexp.sweeps.launchers.ray_node import ADDRESS, LOOPBACK_ONLY

_NODE = (sys.executable, "-m", "dlexp.machine.parent_watch", sys.executable, "-m", "dlexp.sweeps.launchers.ray_node")
_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}
_CONNECT_SECONDS = 10.0
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TrialResources:
    """What a trial occupies on its node.

    Attributes:
        cpus: cores, or a part of one; more than 0.
        gpus: GPUs, or a part of one.
    """

    cpus: float
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise ConfigError(
                f"--cpus_per_trial={self.cpus:g} must be more than 0, and --gpus_per_trial={self.gpus:g} 0 or more"
            )

    def fitting(self, resources: Mapping[str, float]) -> int:
        """How many trials fit into the resources of a node, by their names in Ray."""
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return min(math.floor(resources.get(name, 0) / amount + _ROUNDING) for name, amount in asked.items() if amount)


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        ray: the module.
        is_connected_here: the connection is to be closed with this object.
        node: the process of a cluster that was started for it.
    """

    ray: Any
    is_connected_here: bool
    node: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """Closes the connection, and ends the cluster if it was started for it; may be called twice."""
        if self.is_connected_here:
            self.ray.shutdown()
        if self.node is not None:
            _end(self.node)


def connect(address: str) -> Cluster:
    """Connects this process to a cluster, unless it is connected already.

    Args:
        address: `host:port` of a cluster that has a node on this machine, or `ray://host:port`; if empty, a cluster of
            this machine alone is started, which nothing outside of it can reach.

    Raises:
        ConfigError: Ray is not installed, there is no cluster at the address, or none can be started.
    """
    settings = {} if address else _own_settings()
    is_too_late = bool(settings) and "ray" in sys.modules
    ray = _import_ray(_NO_REPORTS if is_too_late else _NO_REPORTS | settings)
    if ray.is_initialized():
        return Cluster(ray, is_connected_here=False)
    if is_too_late:
        raise ConfigError("Ray was imported before it could be set up: call ray.init() yourself, or give an address")
    node = None
    if not address:
        node, address = _start_node()
    try:
        _check_reachable(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as err:
        if node is not None:
            _end(node)
        raise ConfigError(f"no Ray cluster at --ray_address={address}: {err}") from err
    return Cluster(ray, is_connected_here=True, node=node)


def count_fitting(nodes: Sequence[Mapping[str, Any]], resources: TrialResources) -> int:
    """How many trials a cluster can run at once.

    Args:
        nodes: from `ray.nodes()`.
        resources: of a trial.

    Raises:
        ConfigError: not even one fits into any node.
    """
    alive = [node for node in nodes if node["Alive"]]
    room = sum(resources.fitting(node["Resources"]) for node in alive)
    if not room:
        listed = ", ".join(
            f"{node['NodeManagerAddress']} with {node['Resources'].get('CPU', 0):g} cores and "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in alive
        )
        raise ConfigError(
            f"no node of the Ray cluster has what a trial asks for, --cpus_per_trial={resources.cpus:g} and "
            f"--gpus_per_trial={resources.gpus:g}: it has {listed or 'no nodes'}"
        )
    return room


def _own_settings() -> dict[str, str]:
    """What is missing in the environment for a cluster of this machine alone.

    The secret is our own, because the one that Ray keeps in the home folder for all clusters can be read by others.
    """
    settings = LOOPBACK_ONLY | {"RAY_AUTH_MODE": "token"}
    if "RAY_AUTH_MODE" not in os.environ:
        settings |= {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {name: value for name, value in settings.items() if name not in os.environ}


def _import_ray(settings: Mapping[str, str]) -> Any:
    """Imports Ray, which reads some of its settings then, and never again."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as err:
        raise missing_package("--launcher=ray", "ray>=2.40", extra="ray") from err
    return ray


def _start_node() -> tuple[subprocess.Popen[str], str]:
    """Starts a cluster in a session of its own, which a Ctrl-C in the terminal does not reach; and its address."""
    node = subprocess.Popen(
        _NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert node.stdout is not None  # a pipe was asked for
    said: list[str] = []
    for line in node.stdout:
        if line.startswith(ADDRESS):
            return node, line.removeprefix(ADDRESS).strip()
        said.append(line)
    _end(node)
    raise ConfigError(f"no Ray cluster can be started on this machine: {''.join(said[-1:]).strip()}")


def _end(node: subprocess.Popen[str]) -> None:
    for pipe in (node.stdin, node.stdout):
        if pipe is not None:
            pipe.close()  # which ends all of it, by parent_watch
    node.wait()


def _check_reachable(address: str) -> None:
    """Raises OSError if nothing listens there, for which Ray would wait without end."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
