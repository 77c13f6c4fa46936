"""Imported in the server that tests fork processes from: large libraries, whose resident pages are then noted."""

import numpy  # noqa: F401
import pandas  # noqa: F401
import pyarrow  # noqa: F401
import scipy.linalg  # noqa: F401

from dlexp.machine.resident_files import note_resident_files

note_resident_files()
