"""`dlexp ui`: shows the runs of a store in the MLflow UI or TensorBoard, until Ctrl-C."""

import contextlib
import signal
import sys
import threading

from dlexp.config.command import Command, CommandLine
from dlexp.errors import ConfigError

_HIGHEST_PORT = 65535


def _open_ui(line: CommandLine) -> int:
    from dlexp.tracking.ui import serve_mlflow, serve_tensorboard

    port = line.options["port"]
    if not 1 <= port <= _HIGHEST_PORT:
        raise ConfigError(f"--port={port} must be from 1 to {_HIGHEST_PORT}")
    serve = serve_tensorboard if line.options["tensorboard"] else serve_mlflow
    print("starting the server; Ctrl-C stops it", file=sys.stderr)
    # SIGTERM must stop the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), serve(line.options["store"], port=port) as url:
        print(url, flush=True)
        threading.Event().wait()
    return 0


COMMAND = Command(
    run=_open_ui,
    example="--port=5001",
    flags={
        "store": ("mlruns", "Folder of the runs."),
        "port": (5000, "Port of the server on 127.0.0.1."),
        "tensorboard": (False, "Open TensorBoard instead of the MLflow UI."),
    },
)
