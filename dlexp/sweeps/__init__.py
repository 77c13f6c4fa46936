"""Sweeps: many trials over a space of configs, in processes of their own."""
