"""Environment variables that MLflow and Weights & Biases read; a caller's process has them during a training only."""

import contextlib
import os
from collections.abc import Iterator

_DEFAULTS = {
    # Telemetry and error reports would use the network during a training. MLflow reads its variable when it is
    # imported, wandb when it starts its service.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default MLflow waits for minutes when a server is down. The write queue retries instead.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def set_variables() -> None:
    """Sets the variables that the user has not set, for a process that belongs to dlexp: a command or a worker."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def having_variables() -> Iterator[None]:
    """Sets the variables that the user has not set for the block, and removes them afterwards."""
    missing = [name for name in _DEFAULTS if name not in os.environ]
    set_variables()
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
