"""MLflow: the tracker, its connection, and everything that MLflow does not document."""
