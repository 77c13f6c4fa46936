"""The config of an experiment: its fields, their ranges, and how they are spelled as flags and in files."""
