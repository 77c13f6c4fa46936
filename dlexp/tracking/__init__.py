"""Trackers: copies of a run's record in MLflow and TensorBoard."""
