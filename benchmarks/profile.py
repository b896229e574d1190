"""Where the time of one request goes: ``python -m benchmarks.profile``.

Starts the service with one worker whose parts are timed, sends it photos, as raw body and as multipart by turns, and
prints microseconds of processor time for each part beside the same work in a loop.
"""

import argparse
import atexit
import functools
import importlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask_openapi3.openapi import OpenAPI
from PIL import Image, ImageFile

from benchmarks import load, payload, photos
from benchmarks.processes import running
from benchmarks.servers import OURS

TOTALS_VARIABLE = "BENCHMARK_TOTALS"
APP = "benchmarks.profile:create_app()"
WARM_UP = 100  # requests
REST = "poller, hand-over to a thread"
# Time in a part is its own: what it calls of another part counts there.
PARTS = {
    "gunicorn: the rest": ["services.inference.worker:Worker._handle_one"],
    "gunicorn: head of the request": [
        "services.inference.worker:_has_head",
        "gunicorn.http.parser:RequestParser.__next__",
        "gunicorn.http.wsgi:create",
    ],
    "Flask: the rest": ["flask:Flask.__call__"],
    "read the body": ["services.inference.uploads:_body"],
    "multipart": ["services.inference.uploads:_files"],
    "decode": ["services.inference.routes.predict:decode", "PIL.ImageFile:ImageFile.load"],
    "resize": ["PIL.Image:Image.resize"],
    "run": ["bundle.predictor:Predictor.answer"],
    "answer": ["services.inference.routes.predict:_answer", "flask.json.provider:DefaultJSONProvider.response"],
    "metrics": [
        "prometheus_client.metrics:MetricWrapperBase.labels",
        "prometheus_client:Counter.inc",
        "prometheus_client:Gauge.inc",
        "prometheus_client:Gauge.dec",
        "prometheus_client:Histogram.observe",
    ],
    "log line": ["logging:Logger.info"],
    "send the answer": ["gunicorn.util:write"],
}


class Spans:
    """Adds up the processor time of named parts, each without the parts within it."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()  # nanoseconds
        self.requests = 0
        self._inner = threading.local()
        self._began = 0

    def time(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time counts for ``part``."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._inner, "spent", 0)
            self._inner.spent = 0
            start = time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time_ns() - start
                self.totals[part] += spent - self._inner.spent
                self._inner.spent = outer + spent

        return timed

    def count(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that handles one request; forget those before the warm-up is over."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.requests == WARM_UP:
                self.totals.clear()
                self._began = time.process_time_ns()
            self.requests += 1
            return function(*args, **kwargs)

        return counted

    def write(self, file: Path) -> None:
        """Write microseconds per request and part."""
        self.totals[REST] = time.process_time_ns() - self._began - self.totals.total()
        requests = self.requests - WARM_UP
        file.write_text(json.dumps({part: spent / requests / 1000 for part, spent in self.totals.items()}))


def create_app() -> OpenAPI:
    """The service's own app, timed; for gunicorn."""
    from services.inference import app

    spans = Spans()
    for part, functions in PARTS.items():
        for function in functions:
            module, _, path = function.partition(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, name, spans.time(part, getattr(owner, name)))
    from services.inference.worker import Worker

    Worker.handle_request = spans.count(Worker.handle_request)  # type: ignore[method-assign]
    atexit.register(spans.write, Path(os.environ[TOTALS_VARIABLE]))
    return app.create_app()


def loop(pictures: Sequence[bytes], seconds: float) -> dict[str, float]:
    """Microseconds per photo without a server: decode, resize and run in a loop."""
    from bundle import load as bundle_folder
    from bundle.predictor import Predictor
    from bundle.preprocess import decode
    from services.inference import settings

    predictor = Predictor(bundle_folder.load(settings.load().model_dir))
    shape = predictor.manifest.input
    spans = Spans()
    decoded, answer = spans.time("decode", decode), spans.time("run", predictor.answer)
    resize, load_ = Image.Image.resize, ImageFile.ImageFile.load
    Image.Image.resize = spans.time("resize", resize)  # type: ignore[method-assign]
    ImageFile.ImageFile.load = spans.time("decode", load_)  # type: ignore[method-assign]
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        answer(decoded(pictures[done % len(pictures)], shape.size, shape.resize)[None])
        done += 1
    Image.Image.resize, ImageFile.ImageFile.load = resize, load_  # type: ignore[method-assign]
    return {part: spent / done / 1000 for part, spent in spans.totals.items()}


def served(requests: Sequence[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Microseconds per request and part of the service."""
    with tempfile.TemporaryDirectory() as folder:
        totals = Path(folder) / "totals.json"
        environment = {**OURS.environment, TOTALS_VARIABLE: str(totals)}
        timed = replace(OURS, arguments=(*OURS.arguments[:-1], APP), environment=environment)
        with running(timed, Path(folder) / "log", workers=1) as server:
            load.closed(server.url, requests, connections, seconds)
        return dict(json.loads(totals.read_text()))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--connections", type=int, default=1, metavar="N", help="at the same time [%(default)s]")
    add("--seconds", type=float, default=5, help="for each column in each round [%(default)s]")
    add("--rounds", type=int, default=3, help="of which the medians are shown [%(default)s]")
    options = parser.parse_args()
    pictures = photos.chosen(parser, options)
    forms = {"raw body": payload.requests(pictures), "multipart": payload.requests(pictures, multipart=True)}
    columns: dict[str, list[dict[str, float]]] = {"in a loop": [], **{form: [] for form in forms}}
    for _ in range(options.rounds):
        columns["in a loop"].append(loop(pictures, options.seconds))
        for form, requests in forms.items():
            columns[form].append(served(requests, options.connections, options.seconds))
    medians = {
        name: {part: statistics.median(one.get(part, 0) for one in rounds) for part in (*PARTS, REST)}
        for name, rounds in columns.items()
    }
    print(f"| part, µs of processor time | {' | '.join(medians)} |")
    print(f"| --- |{' --- |' * len(medians)}")
    for part in (*PARTS, REST):
        print(f"| {part} | {' | '.join(f'{one[part]:,.0f}' if one[part] else '' for one in medians.values())} |")
    totals = [sum(one.values()) for one in medians.values()]
    print(f"| **in all** | {' | '.join(f'**{total:,.0f}**' for total in totals)} |")
    print(f"| of the loop's rate | {' | '.join(f'{totals[0] / total:.0%}' for total in totals)} |")


if __name__ == "__main__":
    main()
