"""MLflow: the tracker, its connection, and all use of undocumented members of MLflow."""
