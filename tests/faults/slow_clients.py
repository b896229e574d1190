"""Idle, stalled, dripping, half-closed and oversize clients, and a healthy one among them."""

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator

from tests.faults.clients import UPLOAD
from tests.faults.tls import TLSService
from tests.services.inference.serving import Service

IDLE = 1000
SLOW = 4  # of each kind
OVERSIZE = 30 * 2**20


@contextlib.contextmanager
def misbehaving(running: Service) -> Iterator[None]:
    """Run all kinds of slow clients until the block ends; a client that is disconnected comes back."""
    over = threading.Event()
    kinds = (
        _idle,
        *(kind for kind in (_stalled, _dripping, _dripping_head, _half_closed, _oversize) for _ in range(SLOW)),
    )
    threads = [threading.Thread(target=_repeat, args=(running, kind, over)) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _repeat(running: Service, kind, over) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError):
            kind(running, over)
        over.wait(0.5)


def _idle(running, over) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(Service.connect(running))  # without TLS, too: the handshake never begins
            if over.wait(0.001):  # a burst would hold up the healthy client in this process
                return
        over.wait(5)


def _stalled(running, over) -> None:
    with running.connect(UPLOAD % 100_000 + b"\xff\xd8\xff"):
        over.wait(10)


def _dripping(running, over, head: bytes = UPLOAD % 100_000) -> None:
    with running.connect(head) as connection:
        while not over.wait(1):
            connection.sendall(b"x")


def _dripping_head(running, over) -> None:
    _dripping(running, over, UPLOAD[:20])


def _half_closed(running, over) -> None:
    with running.connect(UPLOAD % 100_000 + b"\xff\xd8\xff") as connection:
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)


def _oversize(running, over) -> None:
    with running.connect(UPLOAD % OVERSIZE) as connection:
        for _ in range(OVERSIZE // 65536):
            if over.wait(0.05):
                return
            connection.sendall(bytes(65536))


def latencies(running: Service, seconds: float, image: bytes) -> list[float]:
    """Send an image fifty times a second over one connection; return the seconds to each answer, which must be 200."""
    if isinstance(running, TLSService):
        connection = http.client.HTTPSConnection("127.0.0.1", running.port, timeout=30, context=running.context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    found = []
    end = time.monotonic() + seconds
    with contextlib.closing(connection):
        for moment in itertools.takewhile(lambda at: at < end, itertools.count(time.monotonic(), 0.02)):
            time.sleep(max(0, moment - time.monotonic()))
            begin = time.perf_counter()
            connection.request("POST", "/predict", image, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            body = response.read()
            found.append(time.perf_counter() - begin)
            if response.status != 200:
                raise RuntimeError(f"a healthy client got {response.status}: {body!r}")
    return found
