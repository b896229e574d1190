"""Clients that hold still, drip, stop half-way or send too much, and a healthy one among them."""

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator

from tests.services.inference.serving import Service

IDLE = 1000
SLOW = 4  # of each kind; together no more than a worker has places
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
OVERSIZE = 30 * 2**20


@contextlib.contextmanager
def misbehaving(running: Service, idle: int = IDLE, slow: int = SLOW) -> Iterator[list[socket.socket]]:
    """Idle, stalled, dripping, half-closed and oversize clients until the block ends; gives the idle ones."""
    over = threading.Event()
    threads = [
        threading.Thread(target=_again, args=(running, kind, over))
        for kind in (_stalled, _dripping, _half_closed, _oversize)
        for _ in range(slow)
    ]
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(running.connect()) for _ in range(idle)]
        for thread in threads:
            thread.start()
        try:
            yield silent
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _again(running, kind, over) -> None:
    """Do it for as long as it lasts; whoever is shown the door comes back."""
    while not over.is_set():
        with contextlib.suppress(OSError), running.connect() as connection:
            kind(connection, over)
        over.wait(0.5)


def _stalled(connection, over) -> None:
    connection.sendall(HEAD % 100_000 + b"\xff\xd8\xff")
    over.wait(10)


def _dripping(connection, over) -> None:
    connection.sendall(HEAD % 100_000)
    while not over.wait(1):
        connection.sendall(b"\xff")


def _half_closed(connection, over) -> None:
    connection.sendall(HEAD % 100_000 + b"\xff\xd8\xff")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1000)


def _oversize(connection, over) -> None:
    connection.sendall(HEAD % OVERSIZE)
    for _ in range(OVERSIZE // 65536):
        if over.wait(0.05):
            return
        connection.sendall(bytes(65536))


def latencies(port: int, seconds: float, picture: bytes) -> list[float]:
    """Ask over one kept connection, fifty times a second; seconds to each answer, which must be 200."""
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.monotonic() + seconds
    for moment in itertools.takewhile(lambda at: at < end, itertools.count(time.monotonic(), 0.02)):
        time.sleep(max(0, moment - time.monotonic()))
        begin = time.perf_counter()
        connection.request("POST", "/predict", picture, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        response.read()
        found.append(time.perf_counter() - begin)
        if response.status != 200:
            raise RuntimeError(f"a healthy client got {response.status}")
    connection.close()
    return found
