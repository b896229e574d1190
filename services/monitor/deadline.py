"""Limit the time of a block of code."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

# Between two tries to end the block: an exception is lost where Python ignores it, as in a finaliser.
AGAIN = 1.0  # seconds


class TimeUp(BaseException):
    """The time limit is reached. Not an Exception: HTTP libraries would catch it and retry."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeUp`` in the block after so many seconds; main thread only, not nested.

    The timeout of requests is per read: a server that sends a byte now and then never reaches it.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeUp

    previous = signal.signal(signal.SIGALRM, stop)
    outer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        # A process has one such timer: an outer one continues.
        signal.setitimer(signal.ITIMER_REAL, *outer)
