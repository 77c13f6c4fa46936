"""Samples CPU, memory, disk, network and GPU while a run trains, in the format of MLflow's UI.

The one place that knows `mlflow.system_metrics`, which MLflow documents only in part. What is relied on is tested in
`tests/tracking/mlflow/test_system_metrics.py`, which fails with "MLflow changed ..." and names the file of MLflow.
"""

import threading
import time
from collections.abc import Callable, Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 10.0


class SystemSampler:
    """Samples the values of MLflow's monitor after 1 s, then less and less often, and after about 40 s every 10 s.

    MLflow's own loop checks in the database at each sample whether the run is still active, and stops for good if the
    database is locked.

    Args:
        run_id: ID of the MLflow run.
        tracking_uri: URI of the server or the database.
        write: called with the values by name (`system/cpu_utilization_percentage`), the time in milliseconds since
            1970, and the number of the sample; it must not block.
    """

    def __init__(self, run_id: str, tracking_uri: str, write: Callable[[Mapping[str, float], int, int], None]) -> None:
        self._monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=tracking_uri)
        self._next = self._monitor._logging_step
        self._write = write
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for the current sample, then stops."""
        self._stopping.set()
        self._thread.join()

    def _sample(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.wait(pause):
            self._monitor.collect_metrics()
            values = {f"system/{name}": float(value) for name, value in self._monitor.aggregate_metrics().items()}
            for monitor in self._monitor.monitors:
                monitor.clear_metrics()
            self._write(values, round(time.time() * 1000), self._next)
            self._next += 1
            pause = min(1.3 * pause, _LONGEST_PAUSE_SECONDS)
