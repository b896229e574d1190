"""Run Prometheus and Pushgateway for tests, and query them."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests import servers


def binary(*names: str) -> str:
    """Return the first of these programs that is installed; some have another name on Debian."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise AssertionError(f"Install {names[0]}: on Debian and Ubuntu, apt install {names[0]}.")


@contextlib.contextmanager
def pushgateway(folder: Path, *options: str, credentials: str = "") -> Iterator[str]:
    """Run a Pushgateway, with ``name:password@`` for its health check; yield its address."""
    port = servers.free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / f"pushgateway-{port}.log"
    command = [
        *(binary("prometheus-pushgateway", "pushgateway"), f"--web.listen-address=127.0.0.1:{port}"),
        *("--persistence.file=", *options),  # Debian's default would be read by the next test
    ]
    with servers.running(command, log) as process:
        servers.wait_for(f"http://{credentials}127.0.0.1:{port}/-/ready", process, log)
        yield address


@contextlib.contextmanager
def prometheus(folder: Path, config: Path, port: int | None = None, *options: str, **env: str) -> Iterator[str]:
    """Run a Prometheus with its data in ``folder``; yield its address."""
    port = port or servers.free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / "prometheus.log"
    command = [
        *(binary("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus-data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", *options),
    ]
    with servers.running(command, log, env) as process:
        servers.wait_for(f"{address}/-/ready", process, log)
        yield address


def query(address: str, expression: str, at: float | None = None) -> list[dict[str, Any]]:
    """Return the result of an instant query, at a time in seconds since 1970 or now."""
    data = {"query": expression} | ({"time": at} if at else {})
    answer = requests.post(f"{address}/api/v1/query", data=data, timeout=30).json()
    assert answer["status"] == "success", f"{answer.get('error')}\n{expression}"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def values(address: str, expression: str, at: float | None = None) -> dict[tuple[str, ...], float]:
    """Return the values of an instant query by label values, in the order of the label names."""
    return {
        tuple(value for name, value in sorted(one["metric"].items()) if name != "__name__"): float(one["value"][1])
        for one in query(address, expression, at)
    }


def wait_until(address: str, condition: str, seconds: float = 60) -> None:
    """Wait until a query has a result."""
    deadline = time.monotonic() + seconds
    while not query(address, condition):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {condition}"
        time.sleep(0.2)
