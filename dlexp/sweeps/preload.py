"""Imports everything that a trial needs, in the process that workers are forked from.

This is the only module that does work when it is imported: a fork server can only be given modules to import, and its
workers share what it has imported. Nothing else imports this module; `session.RUNNER` names it for launchers.
"""

import importlib

from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import TRACKERS
from dlexp.runs.environment import installed_packages
from dlexp.tracking.variables import set_variables

__all__ = ["TrialRunner"]

_MODULES = ("dlexp.datasets.sources.arrays", "dlexp.models.zoo", "pyarrow.parquet", "sklearn.datasets")


def preload() -> None:
    """Does once what every worker would repeat: imports modules, and lists the installed packages."""
    set_variables()
    for module in _MODULES:
        importlib.import_module(module)
    TRACKERS.import_builtin()
    installed_packages()  # its result is cached


with importing_tensorflow():
    from dlexp.sweeps.trial import TrialRunner

    preload()
