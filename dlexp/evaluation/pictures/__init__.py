"""The pictures of one evaluation: confusion, curves, calibration, classes, and galleries of examples."""
