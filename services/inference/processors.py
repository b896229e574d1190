"""Which processors compute: those of all workers together are as many as there are."""

import fcntl
import functools

from services.inference import cpus, locks


class Processors:
    """One lock for each processor, in a file; whoever was forked after it was made shares them.

    They are of whole processes: call from one thread at a time.
    """

    def __init__(self, number: int) -> None:
        self._file = locks.file()
        self._number = number
        self._taken: set[int] = set()

    def take(self) -> int | None:
        """Take a processor that nobody computes on; None if there is none."""
        for processor in range(self._number):
            if processor not in self._taken:
                try:
                    fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, processor)
                except OSError:
                    continue
                self._taken.add(processor)
                return processor
        return None

    def give_back(self, processor: int) -> None:
        """Leave a processor to others."""
        self._taken.discard(processor)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, processor)


@functools.cache
def shared() -> Processors:
    """Those of this process, and of all that were forked from it after the first call."""
    return Processors(cpus.limit())
