"""The callbacks of a training: they record, save, stop, draw and show progress."""
