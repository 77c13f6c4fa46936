"""Clusters of Ray on this machine, of several nodes, that nothing outside of it can reach."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

# Read when Ray is imported: all of it listens on 127.0.0.1 alone, and nothing is reported.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}

_NODE = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80_000_000}


@contextlib.contextmanager
def start_cluster(*, cpus: int) -> Iterator[Any]:
    """A cluster of one node, to which others can be added; at its end nothing of it is left."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": cpus})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any, *, cpus: int) -> Any:
    """Adds a node, and waits until it is there."""
    return cluster.add_node(**_NODE, num_cpus=cpus)
