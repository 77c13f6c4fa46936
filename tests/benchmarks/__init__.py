"""Benchmarks of dlexp against hand-written code; `make bench` prints the table."""
