"""Compares settings over seeds, checkpoints on examples, and the trials of a sweep: from run folders alone."""
