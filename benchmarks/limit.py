"""Upper limit of throughput: decode, resize and run the model in a loop, without a server, in one process per CPU."""

import itertools
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from benchmarks.servers.classifier import Classifier

WARM_UP = 50  # photos


@dataclass(frozen=True)
class Limit:
    """Measurements of one run."""

    rate: float
    """Photos per second of all processes."""
    cpu_seconds: float
    """CPU time for one photo."""


def measure(photos: Sequence[bytes], processes: int, seconds: float) -> Limit:
    """Classify photos in independent processes for a time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, _share, (barrier,)) as pool:
        runs = pool.starmap(_loop, [(photos, seconds)] * processes, chunksize=1)
    rate = sum(count / elapsed for count, elapsed, _ in runs)
    return Limit(rate, sum(cpu for _, _, cpu in runs) / sum(count for count, _, _ in runs))


_barrier: Barrier


def _share(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _loop(photos: Sequence[bytes], seconds: float) -> tuple[int, float, float]:
    classifier = Classifier()
    endless = itertools.cycle(photos)
    for photo in itertools.islice(endless, WARM_UP):
        classifier.probabilities(photo)
    _barrier.wait()
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < start + seconds:
        classifier.probabilities(next(endless))
        count += 1
    return count, time.perf_counter() - start, time.process_time() - cpu


def share(rate: float, limit: float, generator_cpu_seconds: float, seconds: float, cpus: int) -> float:
    """Compute the share of the limit that a server reached.

    The load generator ran on the same CPUs, so its CPU time is subtracted from the limit::

        share = rate / (limit × (1 − generator_cpu_seconds / (seconds × cpus)))

    Args:
        rate: Requests per second of the server.
        limit: Photos per second without a server.
        generator_cpu_seconds: CPU time of the load generator.
        seconds: Duration of the run.
        cpus: Number of CPUs.
    """
    return rate / (limit * (1 - generator_cpu_seconds / (seconds * cpus)))
