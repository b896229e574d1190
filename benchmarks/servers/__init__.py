"""The compared servers: a folder each, with its app and its package versions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from sysconfig import get_config_var

FOLDER = Path(__file__).parent
RAW, MULTIPART = "raw body", "multipart"
FORMS = {RAW: "/raw", MULTIPART: "/predict"}
BATCH = "4"  # images in a run of the model


@dataclass(frozen=True)
class Server:
    """Command line and routes of a server; ``{port}`` and ``{workers}`` in its settings are filled in."""

    name: str
    module: str
    """Module for ``python -m``."""
    arguments: tuple[str, ...] = ()
    folder: str | None = None
    """Folder of its requirements.txt; None for the repository's own environment."""
    shares_torch: bool = False
    """Let the environment import the repository's packages: a second PyTorch would take gigabytes."""
    ready: str = "/ready"
    """Readiness route."""
    forms: Mapping[str, str] = field(default_factory=lambda: FORMS)
    """Route for each form of upload."""
    headers: tuple[str, ...] = ()
    """Headers of each request."""
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
    shares_torch=True,
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
    LITSERVE, name="LitServe with batches, ONNX Runtime", arguments=("{port}", "{workers}", BATCH)
)
BENTOML = Server(
    "BentoML, ONNX Runtime",
    "bentoml",
    ("serve", "benchmarks.servers.bentoml.app:Service", "--host", "127.0.0.1", "--port", "{port}"),
    folder="bentoml",
    ready="/readyz",
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)
TRITON = Server(
    "Triton (PyTriton), ONNX Runtime",
    "benchmarks.servers.triton.app",
    ("{port}", "{workers}", BATCH),
    folder="triton",
    ready="/v2/models/classifier/ready",
    forms={RAW: "/v2/models/classifier/infer"},
    headers=("Inference-Header-Content-Length: 0",),  # the body is the only input
    environment={"LD_LIBRARY_PATH": get_config_var("LIBDIR") or ""},  # for the same libpython as the interpreter
)
COMPARED = (OURS, FASTAPI, LITSERVE, LITSERVE_BATCHES, BENTOML, TRITON)
