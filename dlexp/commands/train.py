"""`dlexp train`: one experiment. It is written in `dlexp.main`, which runs it too: `python -m dlexp.main`."""

from dlexp.main import COMMAND

__all__ = ["COMMAND"]
