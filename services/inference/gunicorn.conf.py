"""Configure gunicorn. Operators change the settings (settings.py) instead, which are checked here."""  # noqa: N999

# First, before any module keeps a reference to what gevent replaces.
from gevent import monkey

monkey.patch_all()

import gc
import importlib
import os
import resource
import shutil
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from services.inference import auth, model, settings
from services.inference.container import cgroups
from services.inference.worker import TLSSocket, Worker


class _Log(Logger):
    """gunicorn's log without access lines: the app logs each request with more detail."""

    access_log_enabled = False


SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
LIBRARIES = ("flask_openapi3", "jinja2", "onnxruntime", "pythonjsonlogger.json")
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

try:
    _settings = settings.current()
except settings.SettingsError as error:
    # Here and not in a worker, where gunicorn would log a traceback and start the worker again.
    sys.exit(str(error))

# Before any import of prometheus_client, which otherwise counts each worker for itself. In memory, because a full disk
# would end the process: prometheus_client maps its files without reserving their space. A reload runs this file again.
_owns_metrics_folder = _settings.prometheus_multiproc_dir is None
if _owns_metrics_folder and not os.environ.get(METRICS_VARIABLE):
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix="inference-metrics-", dir=memory)

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = [f"{_host}:{port}" for port in (_settings.port, _settings.metrics_port) if port]
workers = _settings.workers
worker_class = Worker
graceful_timeout = _settings.graceful_timeout
keepalive = TLSSocket.TIMEOUT  # seconds for an idle connection, and for the head of a request
if SHARED_MEMORY.is_dir():
    worker_tmp_dir = str(SHARED_MEMORY)  # the heartbeat must not wait for a disk
control_socket_disable = True
logger_class = _Log
logconfig_dict: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(levelname)s %(name)s %(process)d %(message)s",
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "time",
        }
    },
    "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "root": {"level": _settings.log_level.upper(), "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level.upper(), "handlers": ["stdout"], "propagate": False},
        # Pillow logs from native threads, which could wait for gevent's lock of a handler for ever.
        "PIL": {"level": "CRITICAL"},
    },
}


def ssl_context(config: Any, default_ssl_context_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Bound the handshakes of TLS connections, where the command line names a certificate."""
    context = default_ssl_context_factory()
    context.sslsocket_class = TLSSocket
    return context


def on_starting(server: Any) -> None:
    """Refuse an unusable API_KEYS_FILE, remove the files of an earlier start, and read the bundle."""
    if _settings.api_keys_file:
        try:
            auth.read_keys(_settings.api_keys_file)
        except auth.KeysError as error:
            # Only at the start: a slip in this file must not end a running service.
            sys.exit(str(error))
    if _settings.drain_file:
        _settings.drain_file.unlink(missing_ok=True)
    for file in Path(os.environ[METRICS_VARIABLE]).iterdir():
        if settings.METRICS_FILE.fullmatch(file.name):
            file.unlink()
    model.preload(_settings.model_dir, _settings.model_public_key)
    # Imported before the fork, so that workers start sooner and share the memory. None of these starts a thread.
    for library in LIBRARIES:
        importlib.import_module(library)


def on_reload(server: Any) -> None:
    """Read the bundle in the folder again, on SIGHUP."""
    model.reload(_settings.model_dir, _settings.model_public_key)


def pre_fork(server: Any, worker: Any) -> None:
    """Exclude objects of the master from garbage collection, whose marks would copy their pages in each worker."""
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Limit what a worker may allocate to its share of the container's memory.

    A decoder that an image deceives about its size then fails, instead of the container. An eighth is for the master
    and for the metrics.
    """
    limit = cgroups.memory_limit()
    if limit:
        share = limit * 7 // 8 // workers
        resource.setrlimit(resource.RLIMIT_DATA, (share, share))


def pre_request(worker: Any, request: Any) -> None:
    """Close a connection with its answer while the service drains, so that the client connects elsewhere.

    Also after a chunked body: where its end is unknown, because it was refused, the rest would be the next request.
    """
    if _settings.draining or any(name == "TRANSFER-ENCODING" for name, _ in request.headers):
        request.force_close()


def child_exit(server: Any, worker: Any) -> None:
    """Take a dead worker's gauges out of the sums; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the metrics folder."""
    if _owns_metrics_folder:
        shutil.rmtree(os.environ[METRICS_VARIABLE], ignore_errors=True)
