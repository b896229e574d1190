"""Closed and open loops of HTTP requests.

A closed loop keeps a number of connections busy. An open loop sends requests at a fixed rate and measures each latency
from the moment at which the request was due.

Both run on one thread with prebuilt requests and non-blocking sockets, because the generator takes its CPU time from
the server on the same machine. ``Result.cpu_seconds`` is this time.
"""

import itertools
import select
import selectors
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from benchmarks.load.connection import Connection
from benchmarks.load.result import LOST, Result, Sample

LAST_RESPONSES = 30.0  # seconds to wait for them
MAX_CONNECTIONS = 900  # the usual limit of open files is 1,024
FRESH = 1.5  # seconds; every server keeps an idle connection for longer


class _Load:
    """The connections and samples of one run."""

    def __init__(self, url: str, requests: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = itertools.cycle(requests)
        self._selector = selectors.DefaultSelector()
        self._samples: list[Sample] = []
        self._start = time.perf_counter()
        self._cpu = time.process_time()
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()

    def send(self, begun: float, connection: Connection | None = None) -> None:
        """Send the next request, on the given, an idle or a new connection."""
        connection = connection or self._pick()
        self.busy.add(connection)
        connection.send(next(self._requests), begun)

    def _pick(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if time.perf_counter() - connection.ended < FRESH:
                return connection
            connection.close()
        return Connection(self._address, self._selector)

    def wait(self, timeout: float) -> list[Connection]:
        """Wait for responses; return the connections whose response is complete or lost."""
        if timeout > 0:
            select.select([self._selector], [], [], timeout)  # the selector's own timeouts are whole milliseconds
        done = []
        for key, _ in self._selector.select(0):
            connection: Connection = key.data
            status = connection.proceed()
            if status is not None:
                begun = connection.begun - self._start
                self._samples.append(Sample(begun, connection.ended - connection.begun, status))
                self.busy.discard(connection)
                done.append(connection)
        return done

    def result(self, seconds: float) -> Result:
        """Close all connections and return the measurements."""
        cpu = time.process_time() - self._cpu
        for connection in self.busy:
            self._samples.append(Sample(connection.begun - self._start, LAST_RESPONSES, LOST))
        for connection in (*self.busy, *self.idle):
            connection.close()
        self._selector.close()
        return Result(seconds, cpu, self._samples)


def closed_loop(url: str, requests: Sequence[bytes], connections: int, seconds: float) -> Result:
    """Keep connections busy for a time, then wait for the last responses; the wait counts.

    Args:
        url: Only host and port are used; the path is in the requests.
        requests: From ``payload.requests``; sent in turn, cyclically.
        connections: Number of concurrent requests.
        seconds: Duration.
    """
    load = _Load(url, requests)
    start = now = time.perf_counter()
    stop, end = start + seconds, start + seconds + LAST_RESPONSES
    for _ in range(connections):
        load.send(now)
    while load.busy and now < end:
        for connection in load.wait(end - now):
            if (now := time.perf_counter()) < stop:
                load.send(now, connection)
            else:
                load.idle.append(connection)
        now = time.perf_counter()
    return load.result(now - start)


def open_loop(
    url: str, requests: Sequence[bytes], rate: float, seconds: float, connections: int = MAX_CONNECTIONS
) -> Result:
    """Send evenly spaced requests at a fixed rate, then wait for the responses.

    Args:
        url: As for ``closed_loop``.
        requests: As for ``closed_loop``.
        rate: Requests per second.
        seconds: Duration.
        connections: Maximum; above it, requests queue in the generator while their latency counts.
    """
    load = _Load(url, requests)
    start = now = time.perf_counter()
    due = (start + i / rate for i in range(round(rate * seconds)))
    queue: deque[float] = deque()
    following = next(due, None)
    end = start + seconds + LAST_RESPONSES
    while (following is not None or queue or load.busy) and now < end:
        while following is not None and following <= now:
            queue.append(following)
            following = next(due, None)
        while queue and len(load.busy) < connections:
            load.send(queue.popleft())
        load.idle += load.wait((following or end) - now)
        now = time.perf_counter()
    return load.result(seconds)
