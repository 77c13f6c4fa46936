"""Conformance suites: tests that every implementation of a contract must pass, plug-ins included.

Running the suites needs pytest; importing this package does not.
"""

from dlexp.testing.launchers import LauncherContract
from dlexp.testing.launching import LauncherMaker
from dlexp.testing.losses import LossContract
from dlexp.testing.metrics import MetricContract
from dlexp.testing.sources import SourceContract
from dlexp.testing.trackers import TrackedRun, TrackerContract, make_tracked_run

__all__ = [
    "LauncherContract",
    "LauncherMaker",
    "LossContract",
    "MetricContract",
    "SourceContract",
    "TrackedRun",
    "TrackerContract",
    "make_tracked_run",
]
