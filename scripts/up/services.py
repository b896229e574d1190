"""What runs: each part's command, address and settings."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.up.settings import ROOT, Settings

# Matched with the port, against the Host header. The last one is how minikube's pods call this machine.
ALLOWED_HOSTS = "localhost:*,127.0.0.1:*,host.minikube.internal:*"
SCRAPE_CONFIGURATION = Path(__file__).with_name("prometheus.yml")


@dataclass(frozen=True)
class Service:
    """A process to start."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    address: str = ""
    health: str = field(default="", metadata={"about": "path under the address that answers 200 when it is up"})
    port: int = 0
    port_setting: str = ""


def mlflow(settings: Settings) -> Service:
    """The tracking server, with its store and artifacts in the state folder."""
    folder = settings.state_dir / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return Service(
        name="mlflow",
        command=[
            *(sys.executable, "-m", "mlflow", "server"),
            # This machine only, unless MLFLOW_HOST says otherwise: without a password, whoever reaches the server
            # can replace the champion. The list of hosts is against browsers, not against that.
            *("--host", settings.mlflow_host, "--port", str(settings.mlflow_port)),
            *("--allowed-hosts", ALLOWED_HOSTS),
            *(("--app-name", "basic-auth") if os.environ.get("MLFLOW_AUTH_CONFIG_PATH") else ()),
            # Relative to the folder, so that it can be moved, and its path may have any character.
            *("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "./artifacts"),
            # One person's load; four workers take three times as long to start.
            *("--workers", "1"),
        ],
        # Its job workers are for language models; without them it starts in half the time.
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        folder=folder,
        address=settings.mlflow_address,
        health="/health",
        port=settings.mlflow_port,
        port_setting="MLFLOW_PORT",
    )


def inference(settings: Settings) -> Service:
    """The service itself; it is up without a model too, and says so at /ready."""
    return Service(
        name="inference",
        command=[
            *(sys.executable, "-m", "gunicorn", "-c", "services/inference/gunicorn.conf.py"),
            "services.inference.app:create_app()",
        ],
        environment={
            "HOST": settings.host,
            "PORT": str(settings.port),
            "MODEL_DIR": str(settings.model_dir),
            # Wiped by gunicorn at its start; in /tmp a killed one would leave its numbers behind.
            "PROMETHEUS_MULTIPROC_DIR": str(settings.state_dir / "metrics"),
        },
        address=settings.service_address,
        health="/health",
        port=settings.port,
        port_setting="PORT",
    )


def prometheus(settings: Settings) -> Service | None:
    """Prometheus with the repository's scrape configuration; None where it is not installed."""
    program = shutil.which("prometheus")
    if not program:
        return None
    folder = settings.state_dir / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    # Prometheus reads no environment variables in its scrape targets.
    text = SCRAPE_CONFIGURATION.read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{settings.port}")
    text = text.replace("127.0.0.1:9090", f"127.0.0.1:{settings.prometheus_port}")
    (folder / SCRAPE_CONFIGURATION.name).write_text(text)
    return Service(
        name="prometheus",
        command=[
            *(program, f"--config.file={SCRAPE_CONFIGURATION.name}", "--storage.tsdb.path=data"),
            *("--storage.tsdb.retention.time=7d", f"--web.listen-address=127.0.0.1:{settings.prometheus_port}"),
        ],
        folder=folder,
        address=f"http://127.0.0.1:{settings.prometheus_port}",
        health="/-/ready",
        port=settings.prometheus_port,
        port_setting="PROMETHEUS_PORT",
    )


def monitor(settings: Settings) -> Service:
    """One check of the service; started again and again."""
    return Service(
        name="monitor",
        command=[sys.executable, "-m", "services.monitor"],
        environment={
            "PREDICT_URL": settings.service_address,
            "MLFLOW_TRACKING_URI": settings.mlflow_address,
            "SPOOL_DIR": str(settings.state_dir / "spool"),
        },
    )
