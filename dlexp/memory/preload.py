"""Imports what `dlexp train` imports, in the process that probes are forked from.

This module does work when it is imported, because a fork server can only be given modules to import. Nothing else
imports it; `prober.PRELOADED` names it.
"""

from dlexp.machine.resident_files import note_resident_files
from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import TRACKERS
from dlexp.runs.environment import installed_packages
from dlexp.tracking.variables import set_variables

with importing_tensorflow():
    set_variables()
    import dlexp.experiment  # noqa: F401

    TRACKERS.import_builtin()
    installed_packages()  # its result is cached
    note_resident_files()
