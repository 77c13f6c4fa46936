"""Checkpoints: their names, their files, when they are written, and how they are found again."""
