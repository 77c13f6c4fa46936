"""Operating system and hardware: processes, files, locks, signals, memory, terminal; independent of experiments."""
