"""The service with a certificate of its own."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import servers
from tests.services.inference.serving import COMMAND, Service

OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
BUNDLE_VARIABLE = "REQUESTS_CA_BUNDLE"


class TLSService(Service):
    """A service whose connections are encrypted."""

    context: ssl.SSLContext

    def connect(self, data: bytes = b"") -> socket.socket:
        """Connect with TLS, and send these bytes."""
        connection = self.context.wrap_socket(super().connect(), server_hostname="127.0.0.1")
        connection.sendall(data)
        return connection


@contextlib.contextmanager
def tls_service(folder: Path, **settings: Any) -> Iterator[TLSService]:
    """Run the service with TLS and these settings until the block ends."""
    files = {"-keyout": folder / "key.pem", "-out": folder / "certificate.pem"}
    subprocess.run(
        [*OPENSSL.split(), *(word for item in files.items() for word in item)], check=True, capture_output=True
    )
    certificate, log, port = str(files["-out"]), folder / "gunicorn.log", servers.free_port()
    command = [sys.executable, *COMMAND, "--certfile", certificate, "--keyfile", str(files["-keyout"])]
    env = {"PORT": str(port), "WORKERS": "2"} | {name: str(value) for name, value in settings.items()}
    os.environ[BUNDLE_VARIABLE] = certificate
    try:
        with servers.running(command, log, env) as process:
            address = f"https://127.0.0.1:{port}"
            servers.wait_for(f"{address}/health", process, log)
            running = TLSService(address, port, process, log)
            running.context = ssl.create_default_context(cafile=certificate)
            yield running
    finally:
        del os.environ[BUNDLE_VARIABLE]
