"""The prediction service: photos in over HTTP, labels out."""

import os

# onnxruntime reports its use to its maker, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
