"""A load generator: ``python -m benchmarks.load http://127.0.0.1:8000/predict``.

A closed loop keeps a number of connections busy: each asks again as soon as it is answered. An open loop asks at a
fixed rate, whatever comes back, and counts a request's time from the moment at which it was due.

One thread, requests built beforehand, plain non-blocking sockets: what it takes of the processor is taken from the
server on the same machine. It says how much that was.
"""

import argparse
import itertools
import select
import selectors
import time
from collections import Counter, deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from benchmarks import payload, photos
from benchmarks.connection import LOST, Connection
from benchmarks.result import Result, Sample

PATIENCE = 30.0  # seconds for the last answers
MOST_CONNECTIONS = 900  # a process may have 1,024 open files, where nobody changed that
FRESH = 1.5  # seconds; every server keeps an idle connection for longer


class _Load:
    """The connections of one run, and what they were answered."""

    def __init__(self, url: str, requests: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = itertools.cycle(requests)
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._samples: list[Sample] = []
        self._start = time.perf_counter()
        self._processor = time.process_time()

    def ask(self, begun: float, connection: Connection | None = None) -> None:
        """Send the next request, on a connection that is idle, else on a new one."""
        connection = connection or self._pick()
        self._busy.add(connection)
        connection.ask(next(self._requests), begun)

    def _pick(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if time.perf_counter() - connection.since < FRESH:
                return connection
            connection.close()
        return Connection(self._address, self._selector)

    def answered(self, timeout: float) -> list[Connection]:
        """Wait for answers; gives the connections that have one, or whose server closed in the middle of it."""
        # The selector's own timeouts are whole milliseconds.
        if timeout > 0:
            select.select([self._selector], [], [], timeout)
        done = []
        for key, _ in self._selector.select(0):
            connection: Connection = key.data
            status = connection.proceed()
            if status is not None:
                self._samples.append(
                    Sample(connection.begun - self._start, connection.since - connection.begun, status)
                )
                self._busy.discard(connection)
                done.append(connection)
        return done

    def idle(self, connection: Connection) -> None:
        """Keep a connection for later."""
        self._idle.append(connection)

    def result(self, seconds: float) -> Result:
        """Close all; give what was measured."""
        processor = time.process_time() - self._processor
        for connection in self._busy:
            self._samples.append(Sample(connection.begun - self._start, PATIENCE, LOST))
        for connection in (*self._busy, *self._idle):
            connection.close()
        self._selector.close()
        return Result(seconds, processor, self._samples)

    @property
    def busy(self) -> int:
        """How many wait for an answer."""
        return len(self._busy)


def closed(url: str, requests: Sequence[bytes], connections: int, seconds: float) -> Result:
    """Keep connections busy for a time, and wait for the last answers, which keep the server busy too.

    Args:
        url: Only its host and port count; the path is in the requests.
        requests: From ``payload.requests``; sent in turn, from the start again.
        connections: How many ask at the same time.
        seconds: How long.
    """
    load = _Load(url, requests)
    start = now = time.perf_counter()
    stop, end = start + seconds, start + seconds + PATIENCE
    for _ in range(connections):
        load.ask(now)
    while load.busy and now < end:
        for connection in load.answered(end - now):
            if (now := time.perf_counter()) < stop:
                load.ask(now, connection)
            else:
                load.idle(connection)
        now = time.perf_counter()
    return load.result(now - start)


def at_rate(
    url: str, requests: Sequence[bytes], rate: float, seconds: float, connections: int = MOST_CONNECTIONS
) -> Result:
    """Ask at a fixed rate for a time, evenly spaced; then wait for the answers.

    Args:
        url: As for ``closed``.
        requests: As for ``closed``.
        rate: Requests per second.
        seconds: How long.
        connections: At most; above, requests wait in the generator, and their time runs.
    """
    load = _Load(url, requests)
    start = now = time.perf_counter()
    due = (start + i / rate for i in range(round(rate * seconds)))
    waiting: deque[float] = deque()
    following = next(due, None)
    end = start + seconds + PATIENCE
    while (following is not None or waiting or load.busy) and now < end:
        while following is not None and following <= now:
            waiting.append(following)
            following = next(due, None)
        while waiting and load.busy < connections:
            load.ask(waiting.popleft())
        for connection in load.answered((following or end) - now):
            load.idle(connection)
        now = time.perf_counter()
    return load.result(seconds)


def main() -> None:
    """Drive a server that is running, and print what came back."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=main.__doc__)
    add = parser.add_argument
    add("url", help="such as http://127.0.0.1:8000/predict")
    photos.argument(parser)
    add("--connections", type=int, metavar="N", help=f"at the same time [8; with --rate at most {MOST_CONNECTIONS}]")
    add("--rate", type=float, metavar="R", help="requests per second, whatever comes back [as many as are answered]")
    add("--seconds", type=float, default=10, help="[%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="not measured [%(default)s]")
    add("--multipart", action="store_true", help="send forms, not the pictures themselves")
    add("--pictures", type=int, default=1, metavar="N", help="in each request; above 1 in a form [%(default)s]")
    add("--header", action="append", default=[], help="one more, such as 'Authorization: Bearer …'; may be repeated")
    options = parser.parse_args()
    pictures = photos.chosen(parser, options)
    path = urlsplit(options.url).path or "/predict"
    multipart = options.multipart or options.pictures > 1
    requests = payload.requests(pictures, options.pictures, path=path, multipart=multipart, headers=options.header)
    connections = options.connections or 8
    if options.warm_up:
        closed(options.url, requests, connections, options.warm_up)
    if options.rate:
        most = options.connections or MOST_CONNECTIONS
        result = at_rate(options.url, requests, options.rate, options.seconds, most)
    else:
        result = closed(options.url, requests, connections, options.seconds)
    counts: Counter[int] = result.statuses
    print(result.describe())
    if not counts[200]:
        raise SystemExit(f"No request was answered with 200: is {options.url} a service that is ready?")


if __name__ == "__main__":
    main()
