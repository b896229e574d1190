"""What the processors do without a server: decode, resize and run in a loop, in as many processes."""

import itertools
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from benchmarks.classifier import Classifier

WARM_UP = 50  # photos


@dataclass(frozen=True)
class Limit:
    """What one run reached."""

    rate: float
    """Photos per second, all processes together."""
    processor_seconds: float
    """For one photo."""


def measure(photos: Sequence[bytes], processes: int, seconds: float) -> Limit:
    """Classify photos over and over in processes that share nothing."""
    context = multiprocessing.get_context("spawn")
    together, counts = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=_loop, args=(photos, seconds, together, counts), daemon=True) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    done = [counts.get() for _ in workers]
    for worker in workers:
        worker.join()
    photos_done = sum(number for number, _, _ in done)
    return Limit(sum(number / elapsed for number, elapsed, _ in done), sum(used for _, _, used in done) / photos_done)


def _loop(
    photos: Sequence[bytes], seconds: float, together: Barrier, counts: "SimpleQueue[tuple[int, float, float]]"
) -> None:
    classifier = Classifier()
    endless = itertools.cycle(photos)
    for photo in itertools.islice(endless, WARM_UP):
        classifier.probabilities(photo)
    together.wait()
    number, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < start + seconds:
        classifier.probabilities(next(endless))
        number += 1
    counts.put((number, time.perf_counter() - start, time.process_time() - used))


def share(rate: float, limit: float, generator_seconds: float, seconds: float, processors: int) -> float:
    """Give how much of the limit a server reached.

    The load generator ran on the same processors. What it took is taken off what the server could have had::

        share = rate / (limit × (1 − generator_seconds / (seconds × processors)))

    Args:
        rate: The server's requests per second.
        limit: Photos per second without a server.
        generator_seconds: Processor time of the load generator.
        seconds: How long it drove the server.
        processors: How many there are.
    """
    return rate / (limit * (1 - generator_seconds / (seconds * processors)))
