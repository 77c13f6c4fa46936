"""What dlexp relies on in MLflow's monitor of the machine without MLflow documenting it."""

import pathlib

import mlflow
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from dlexp.tracking.mlflow.database import database_path, make_database
from tests.support.pins import Pin


@Pin("MLflow", "SystemMetricsMonitor", "mlflow/system_metrics/system_metrics_monitor.py")
def test_monitor_measures_without_its_thread_and_knows_the_next_step(tmp_path: pathlib.Path) -> None:
    make_database(tmp_path)
    uri = f"sqlite:///{database_path(tmp_path)}"
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    assert SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)._logging_step == 0
    client.log_metric(run_id, "system/cpu_utilization_percentage", 50.0, step=6)
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    assert monitor._logging_step == 7
    assert monitor.aggregate_metrics() == {}
    monitor.collect_metrics()
    assert monitor.aggregate_metrics().keys() >= {"cpu_utilization_percentage", "system_memory_usage_percentage"}
    for part in monitor.monitors:
        part.clear_metrics()
    assert monitor.aggregate_metrics() == {}
