"""Measures dlexp against hand-written code and prints one Markdown table: `python -m tests.benchmarks --only=startup`.

Figures are the best of several interleaved repeats, as the least disturbed repeat measures the code best. Start-up,
training and memory are measured in fresh processes.
"""

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time

from dlexp.machine.startup import importing_tensorflow
from tests.benchmarks.measuring import describe_measurement, format_table

BENCHMARKS = (
    *("startup", "training", "long_run", "resume", "duplicates", "pipeline_memory", "pipeline_folder", "prediction"),
    *("data", "sweeps", "checks", "batch_size", "micro_batches", "memory_draws", "calibration"),
)
_QUIET_LOAD = 0.5


def main() -> None:
    """Runs the chosen benchmarks and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="one benchmark; may be given again")
    chosen = parser.parse_args().only or BENCHMARKS

    if os.getloadavg()[0] > _QUIET_LOAD:
        print("this machine is busy with other work: the figures will vary", file=sys.stderr)
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true"}
    rows = []
    for name in chosen:
        started = time.perf_counter()
        # Imported late: benchmarks that start processes run first, before this process has loaded TensorFlow.
        with importing_tensorflow():
            benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        with tempfile.TemporaryDirectory(prefix=f"dlexp-bench-{name}-") as folder:
            os.environ["DLEXP_CACHE"] = f"{folder}-cache"  # an empty cache
            rows += benchmark.measure(folder)
            shutil.rmtree(os.environ["DLEXP_CACHE"], ignore_errors=True)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)

    print(format_table(rows))
    print(f"\n{describe_measurement()}")


main()
