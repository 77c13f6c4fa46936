"""Conformance suites: tests that every implementation of a contract must pass, plug-ins included.

Running the suites needs pytest; importing this package does not.
"""

from dlexp.testing.launchers import LauncherContract
from dlexp.testing.launching import LauncherMaker
from dlexp.testing.sources import SourceContract
from dlexp.testing.trackers import TrackedRun, TrackerContract, make_tracked_run

__all__ = [
    "LauncherContract",
    "LauncherMaker",
    "SourceContract",
    "TrackedRun",
    "TrackerContract",
    "make_tracked_run",
]
