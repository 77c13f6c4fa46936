"""Names of what an evaluation writes."""

FOLDER = "evaluation"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
