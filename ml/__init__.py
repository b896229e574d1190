"""Train, evaluate and register image classifiers; one sub-package per step."""

import os

# Read when mlflow is imported: its messages would tear the progress bars apart, and it sends usage statistics.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
