"""From a folder of photos to a tracked, gated bundle; one module per step."""

import os

# Read when mlflow is imported. Its chatter would tear the progress bars apart, and it reports its use to its makers.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
