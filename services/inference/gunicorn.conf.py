"""How gunicorn runs the service. What may be changed are the settings (settings.py), checked here at the start."""  # noqa: N999

import ctypes
import gc
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.inference import held, keys, processors, rate, settings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
LIBRARIES = ("flask_openapi3", "jinja2", "onnxruntime", "pythonjsonlogger.json")
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MADE_VARIABLE = "INFERENCE_METRICS_MADE"  # which process made a folder, and which

try:
    _settings = settings.current()
except settings.SettingsError as error:
    # Here and not in a worker: gunicorn would show a traceback, and start the worker again.
    sys.exit(str(error))

# A reload (SIGHUP) runs this file again in the same process, an upgrade (SIGUSR2) in a new one with the same folder.
_maker, _, _made = os.environ.get(MADE_VARIABLE, "").partition(" ")
_makes_metrics_folder = os.environ.get(METRICS_VARIABLE, "").strip() in ("", _made)
# Before any import of prometheus_client, which otherwise counts each worker for itself.
if _makes_metrics_folder and _maker != str(os.getpid()):
    os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix="inference-metrics-")
    os.environ[MADE_VARIABLE] = f"{os.getpid()} {os.environ[METRICS_VARIABLE]}"

# Before the fork: the workers share them.
processors.shared()
if _settings.rate_limit:
    rate.table()

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = [f"{_host}:{port}" for port in (_settings.port, _settings.metrics_port) if port]
workers = _settings.workers
threads = _settings.threads
worker_class = "services.inference.worker.Worker"
logger_class = "services.inference.worker.Log"
graceful_timeout = _settings.graceful_timeout
keepalive = 5
if Path("/dev/shm").is_dir():  # noqa: S108  # the heartbeat must not wait for a disk
    worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None  # the app writes one line per request, with more in it
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
    "loggers": {"gunicorn.error": {"level": _settings.log_level.upper(), "handlers": ["stdout"], "propagate": False}},
}


def on_starting(server: Any) -> None:
    """Refuse keys that cannot be used, and forget what an earlier start left: a volume outlives its container."""
    if _settings.api_keys_file:
        try:
            keys.read(_settings.api_keys_file)
        except keys.KeysError as error:
            # Only here: while the service runs, a slip in this file is no reason to end it.
            sys.exit(str(error))
    if _settings.drain_file:
        _settings.drain_file.unlink(missing_ok=True)
    for file in Path(os.environ[METRICS_VARIABLE]).iterdir():
        if settings.METRICS_FILE.fullmatch(file.name):  # whoever gives a folder may have more in it
            file.unlink()
    held.start(_settings.model_dir)
    # Once, before workers are forked: they start sooner, and share the memory. None of these starts a thread.
    for library in LIBRARIES:
        importlib.import_module(library)


def on_reload(server: Any) -> None:
    """Take the bundle that is in the folder now, if it can be served."""
    held.renew(_settings.model_dir)


def pre_fork(server: Any, worker: Any) -> None:
    """Keep the garbage collector away from what workers share: its marks would make each copy all of it."""
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Have the C library give the memory of large pictures back at once, and counters outlive a full disk.

    By itself the library raises its threshold and keeps a heap per thread: two workers grew from 163 to 257 MB over
    20,000 uploads of all sizes, and with this to 155.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; others have no such habit
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**20)
        # But not of the usual ones: each would be taken from the system again, page by page.
        libc.mallopt(M_TRIM_THRESHOLD, 2**21)
    from services.inference import counts  # it imports prometheus_client

    counts.use()


def child_exit(server: Any, worker: Any) -> None:
    """Take a dead worker's gauges out of the sums; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    try:
        mark_process_dead(worker.pid)
    except OSError as error:  # a disk that turned read-only; unheard, it would end the master
        server.log.error("the gauges of worker %s stay in the sums: %s", worker.pid, error)


def on_exit(server: Any) -> None:
    """Leave nothing behind."""
    if _makes_metrics_folder:
        shutil.rmtree(os.environ[METRICS_VARIABLE], ignore_errors=True)
