"""The programs that ``make up`` runs: their commands, ports and environments."""

import asyncio
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from scripts.up.settings import ALL_ADDRESSES, LOCALHOST, Settings

# MLflow compares them with the Host header; the last one is this machine to the pods of a minikube.
ALLOWED_HOSTS = "localhost:*,127.0.0.1:*,host.minikube.internal:*"


@dataclass
class Program:
    """A program to run, and its process."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    host: str = LOCALHOST
    port: int = 0
    port_setting: str = ""
    health: str = ""  # path that answers 200 once a server is up
    up: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Address for other programs on this machine."""
        return f"http://{f'[{self.near_host}]' if ':' in self.near_host else self.near_host}:{self.port}"

    @property
    def near_host(self) -> str:
        """Host for other programs on this machine: a server on all addresses is on 127.0.0.1 too."""
        return LOCALHOST if self.host in ALL_ADDRESSES else self.host


def mlflow(settings: Settings) -> Program:
    """Describe the MLflow server."""
    host = settings.mlflow_host
    allowed = ALLOWED_HOSTS if host in ALL_ADDRESSES else f"{ALLOWED_HOSTS},{host}:*"
    # Relative paths, so that the folder can be moved. Four workers would take three times as long to start.
    options = f"""--host {host} --port {settings.mlflow_port} --allowed-hosts {allowed}
        --backend-store-uri sqlite:///mlflow.db --artifacts-destination ./artifacts --workers 1"""
    password = ["--app-name", "basic-auth"] if settings.mlflow_auth_config_path else []
    command = [sys.executable, "-m", "mlflow", "server", *options.split(), *password]
    # The job workers are for language models; without them the server starts in half the time.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    folder = settings.state_dir / "mlflow"
    return Program("mlflow", command, environment, folder, host, settings.mlflow_port, "MLFLOW_PORT", "/health")


def inference(settings: Settings) -> Program:
    """Describe the service."""
    config, app = "services/inference/gunicorn.conf.py", "services.inference.app:create_app()"
    environment = {
        "HOST": settings.host,
        "PORT": str(settings.port),
        "MODEL_DIR": str(settings.model_dir),
        # Emptied by gunicorn at the start; a temporary folder would outlive a killed service.
        "PROMETHEUS_MULTIPROC_DIR": str(settings.state_dir / "metrics"),
        # glibc then returns the memory of large images at once.
        **{"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "2097152"},
    }
    command = [sys.executable, "-m", "gunicorn", "-c", config, app]
    return Program("inference", command, environment, Path(), settings.host, settings.port, "PORT", "/health")


def prometheus(settings: Settings) -> list[Program]:
    """Describe Prometheus, and write its configuration; empty if it is not installed."""
    if not (path := shutil.which("prometheus")):
        print("Prometheus is not started: it is not on the PATH.", flush=True)
        return []
    port, folder = settings.prometheus_port, settings.state_dir / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    # Prometheus expands no environment variables in its targets.
    template = Template(Path(__file__).with_name("prometheus.yml").read_text())
    (folder / "prometheus.yml").write_text(template.substitute(PORT=settings.port, PROMETHEUS_PORT=port))
    options = "--config.file=prometheus.yml --storage.tsdb.path=data --storage.tsdb.retention.time=7d"
    command = [path, *options.split(), f"--web.listen-address={LOCALHOST}:{port}"]
    return [Program("prometheus", command, {}, folder, LOCALHOST, port, "PROMETHEUS_PORT", "/-/ready")]


def monitor(settings: Settings) -> Program:
    """Describe one check of the service."""
    environment = {
        "PREDICT_URL": inference(settings).address,
        "MLFLOW_TRACKING_URI": mlflow(settings).address,
        "SPOOL_DIR": str(settings.state_dir / "spool"),
    }
    return Program("monitor", [sys.executable, "-m", "services.monitor"], environment)
