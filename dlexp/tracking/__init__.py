"""Trackers: copies of a run's record in MLflow and TensorBoard.

What MLflow reads when it is imported is set here, as this is what runs before any module of the package imports it.
"""

import os

# Telemetry would reach for the network from a training.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Its own defaults wait for minutes when a server is gone; a write that failed is tried again by the write queue.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
