"""Connects to a Ray cluster, or starts one of this machine only, and counts how many trials fit into it."""

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
    """The resources that a trial occupies on its node.

    Attributes:
        cpus: number of cores, more than 0; may be a fraction.
        gpus: number of GPUs; may be a fraction.
    """

    cpus: float
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise ConfigError(
                f"--cpus_per_trial={self.cpus:g} must be more than 0, and --gpus_per_trial={self.gpus:g} 0 or more"
            )

    def fitting(self, resources: Mapping[str, float]) -> int:
        """Returns how many trials fit into the resources of a node, which are keyed by their names in Ray."""
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return min(math.floor(resources.get(name, 0) / amount + _ROUNDING) for name, amount in asked.items() if amount)


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        ray: the module `ray`.
        is_connected_here: whether `close` closes the connection.
        node: the process of a cluster that was started by `connect`; None for an existing cluster.
    """

    ray: Any
    is_connected_here: bool
    node: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """Closes the connection, and ends the cluster if `connect` started it; may be called twice."""
        if self.is_connected_here:
            self.ray.shutdown()
        if self.node is not None:
            _end(self.node)


def connect(address: str) -> Cluster:
    """Connects this process to a cluster, unless it is already connected.

    Args:
        address: `host:port` of a cluster that has a node on this machine, or `ray://host:port`; if empty, starts a
            cluster of this machine only, which other machines cannot reach.

    Raises:
        ConfigError: Ray is not installed, no cluster is at the address, or none can be started.
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
    """Returns how many trials a cluster can run at once.

    Args:
        nodes: the result of `ray.nodes()`.
        resources: resources of a trial.

    Raises:
        ConfigError: no node has the resources of a trial.
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
    """Returns the environment variables that a cluster of this machine only still needs.

    They include a new secret, because others may read the one that Ray keeps in the home folder for all clusters.
    """
    settings = LOOPBACK_ONLY | {"RAY_AUTH_MODE": "token"}
    if "RAY_AUTH_MODE" not in os.environ:
        settings |= {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {name: value for name, value in settings.items() if name not in os.environ}


def _import_ray(settings: Mapping[str, str]) -> Any:
    """Imports Ray with these settings, some of which it reads only when it is imported."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as err:
        raise missing_package("--launcher=ray", "ray>=2.40", extra="ray") from err
    return ray


def _start_node() -> tuple[subprocess.Popen[str], str]:
    """Starts a cluster in a separate session, which Ctrl-C does not reach; returns its process and its address."""
    node = subprocess.Popen(
        _NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert node.stdout is not None  # a pipe was asked for
    printed: list[str] = []
    for line in node.stdout:
        if line.startswith(ADDRESS):
            return node, line.removeprefix(ADDRESS).strip()
        printed.append(line)
    _end(node)
    raise ConfigError(f"no Ray cluster can be started on this machine: {''.join(printed[-1:]).strip()}")


def _end(node: subprocess.Popen[str]) -> None:
    for pipe in (node.stdin, node.stdout):
        if pipe is not None:
            pipe.close()  # parent_watch then ends all processes of the cluster
    node.wait()


def _check_reachable(address: str) -> None:
    """Raises OSError if nothing listens at an address; Ray would wait for it forever."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
