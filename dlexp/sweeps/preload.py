"""The runner of trials, with all that a trial needs imported already: for the process that workers are forked from.

Importing this module does work, the only one that does: a fork server can only be given modules to import, and what it
has imported, none of its workers has to. Nothing else imports this module; `session.RUNNER` names it for launchers.
"""

import importlib

from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import TRACKERS
from dlexp.runs.environment import installed_packages

__all__ = ["TrialRunner"]

_MODULES = ("dlexp.datasets.sources.arrays", "dlexp.models.zoo", "pyarrow.parquet", "sklearn.datasets")


def preload() -> None:
    """Does once what every trial would do again in its own process: imports, and the list of installed packages."""
    for module in _MODULES:
        importlib.import_module(module)
    TRACKERS.import_builtin()
    installed_packages()  # which remembers them


with importing_tensorflow():
    from dlexp.sweeps.trial import TrialRunner

    preload()
