"""This machine: processes, files, locks, signals, memory and the terminal; it knows nothing of experiments."""
