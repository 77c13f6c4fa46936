"""Trackers: copies of a run in MLflow, TensorBoard and Weights & Biases."""
