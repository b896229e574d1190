"""The contract between training and serving: a folder with ``model.onnx`` and ``manifest.json``."""

import os

# ONNX Runtime sends telemetry unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
