"""Conformance suites: what every implementation of a contract must pass, for the tests of plug-ins too.

Needs pytest only where the suites are run; importing this package needs none.
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
