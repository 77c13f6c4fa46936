"""Ports of this machine for servers of tests."""

import socket

from dlexp.tracking.ui import HOST


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
