"""Clients that send one request after another, and the number of connections that a service has accepted."""

import contextlib
import http.client
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import drawn_images
from tests.services.inference.serving import Service

ESTABLISHED = "01"
UPLOAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class Client(threading.Thread):
    """Sends images over kept connections to the ports in turn, until it is stopped or a request fails."""

    def __init__(self, ports: list[int], image: bytes) -> None:
        super().__init__()
        self.ports, self.image = ports, image
        self.request_id = uuid.uuid4().hex
        self.answered = 0
        self.longest = 0.0  # wait for an answer, seconds
        self.failure = ""
        self.over = threading.Event()

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self.over.is_set():
                    return
                # Like kube-proxy: the instance is chosen for a connection, not for a request.
                port = self.ports[number % len(self.ports)]
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                    self._use(connection)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failure = repr(error)

    def _use(self, connection: http.client.HTTPConnection) -> None:
        while not self.over.is_set():
            headers = {"Content-Type": "image/jpeg", "X-Request-ID": self.request_id}
            begin = time.monotonic()
            connection.request("POST", "/predict", self.image, headers)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            self.answered += 1
            self.longest = max(self.longest, time.monotonic() - begin)
            if response.will_close:
                return


@contextlib.contextmanager
def clients(count: int, ports: list[int], image: bytes = drawn_images.plain()) -> Iterator[list[Client]]:
    """Run clients until the block ends; ``ports`` may be changed meanwhile."""
    running = [Client(ports, image) for _ in range(count)]
    for client in running:
        client.start()
    try:
        yield running
    finally:
        for client in running:
            client.over.set()
        for client in running:
            client.join()


def answered(running: list[Client]) -> int:
    """Count the answers of all clients."""
    return sum(client.answered for client in running)


def failures(running: list[Client]) -> list[str]:
    """Collect the failures of all clients."""
    return [client.failure for client in running if client.failure]


def accepted(running: Service) -> int:
    """Count open connections that a worker has accepted; until then the kernel lists them without an inode."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{running.port:04X}"
    return sum(line[1].endswith(port) and line[3] == ESTABLISHED and line[9] != "0" for line in lines)


def wait_until(condition: Callable[[], object], running: Service, seconds: float = 60) -> None:
    """Wait for a condition; the failure shows the service's log."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.05)
