"""How often one client may ask: one budget for all workers, in memory that they share."""

import contextlib
import fcntl
import functools
import hashlib
import mmap
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from services.inference import locks

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# Two of a thousand clients share one in 2 cases of 1000; the memory is the same for any number of them.
SLOTS = 2**20
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Rate:
    """So many requests at once, and as many again in so many seconds, evenly."""

    count: int
    seconds: int

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


def parse(text: str) -> Rate:
    """Read a rate such as ``60/minute``.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(rf"([1-9]\d{{0,5}})/({'|'.join(SECONDS)})", text)
    if not match:
        raise ValueError(text)
    return Rate(int(match[1]), SECONDS[match[2]])


class Table:
    """One number per client: the time at which its budget will be whole again (the generic cell rate algorithm)."""

    def __init__(self) -> None:
        self._whole_at = memoryview(mmap.mmap(-1, SLOTS * 8)).cast("d")
        # Unknown outside, so that nobody can find an address that shares another's slot.
        self._secret = secrets.token_bytes(16)
        self._file = locks.file()
        self._thread = threading.Lock()

    def take(self, client: str, rate: Rate) -> float:
        """Take one request from a client's budget.

        Returns:
            0 if it was there; if not, the seconds until one will be.
        """
        digest = hashlib.blake2b(client.encode(), key=self._secret, digest_size=8).digest()
        slot = int.from_bytes(digest) % SLOTS
        with self._locked():
            now = time.monotonic()
            whole_at = max(self._whole_at[slot], now) + rate.seconds / rate.count
            wait = whole_at - now - rate.seconds
            if wait > ROUNDING:
                return wait
            self._whole_at[slot] = whole_at
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread:  # the file's lock is one of whole processes
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


@functools.cache
def table() -> Table:
    """The table of this process, and of all that were forked from it after the first call."""
    return Table()
