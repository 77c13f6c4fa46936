"""A sweep that has just begun."""

import pathlib

import pytest

from dlexp.sweeps.folder import SweepFolder, create_sweep

PLAN = {"search": "grid"}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> SweepFolder:
    """The folder of a sweep without trials."""
    return create_sweep(tmp_path, "s", PLAN)
