"""The commands: one file per command, with the name that is typed."""
