"""Trackers: copies of a run in MLflow, TensorBoard and Weights & Biases.

MLflow reads these variables when it is imported, so they are set before any module of this package can import it.
"""

import os

# Telemetry would use the network during a training.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# By default MLflow waits for minutes when a server is down. The write queue retries instead.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
