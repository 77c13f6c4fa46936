"""`dlexp train`: runs one experiment. The command is in `dlexp.main`, so that `python -m dlexp.main` runs it too."""

from dlexp.main import COMMAND

__all__ = ["COMMAND"]
