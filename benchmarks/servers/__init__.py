"""The servers that are compared: one folder each, with the app and the versions it runs with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.inference.batching import MOST_PICTURES

FOLDER = Path(__file__).parent
RAW, MULTIPART = "raw body", "multipart"
FORMS = {RAW: "/raw", MULTIPART: "/predict"}


@dataclass(frozen=True)
class Server:
    """How to start a server; ``{port}`` and ``{workers}`` in its settings are filled in."""

    name: str
    module: str
    """What ``python -m`` runs."""
    arguments: tuple[str, ...] = ()
    folder: str | None = None
    """Whose requirements.txt its environment has; None for the repository's own."""
    lends_torch: bool = False
    """Whether the environment sees the repository's packages too: a second PyTorch would take gigabytes."""
    ready: str = "/ready"
    """Answers 200 once predictions are answered."""
    forms: Mapping[str, str] = field(default_factory=lambda: FORMS)
    """How it takes a picture, and at which path."""
    environment: Mapping[str, str] = field(default_factory=dict)


OURS = Server(
    "this service",
    "gunicorn",
    ("-c", "services/inference/gunicorn.conf.py", "services.inference.app:create_app()"),
    forms={RAW: "/predict", MULTIPART: "/predict"},
    environment={"PORT": "{port}", "WORKERS": "{workers}"},
)
FASTAPI = Server(
    "FastAPI, uvicorn, eager PyTorch",
    "uvicorn",
    ("benchmarks.servers.fastapi.app:app", "--port", "{port}", "--workers", "{workers}"),
    folder="fastapi",
    lends_torch=True,
)
LITSERVE = Server(
    "LitServe, ONNX Runtime",
    "benchmarks.servers.litserve.app",
    ("{port}", "{workers}", "1"),
    folder="litserve",
    ready="/health",
    forms={MULTIPART: "/predict"},
)
LITSERVE_BATCHES = replace(
    LITSERVE, name="LitServe with batches, ONNX Runtime", arguments=("{port}", "{workers}", str(MOST_PICTURES))
)
BENTOML = Server(
    "BentoML, ONNX Runtime",
    "bentoml",
    ("serve", "benchmarks.servers.bentoml.app:Service", "--host", "127.0.0.1", "--port", "{port}"),
    folder="bentoml",
    ready="/readyz",
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)
PROTOTYPE = Server(
    "prototype: Flask, gunicorn sync, eager PyTorch",
    "gunicorn",
    ("benchmarks.servers.prototype.app:app", "--bind", "127.0.0.1:{port}", "--workers", "{workers}"),
)
COMPARED = (OURS, FASTAPI, LITSERVE, LITSERVE_BATCHES, BENTOML)
