"""Sweeps: many trials over a space of configs, each in a separate process."""
