"""A bound on the time that a block may take, whatever it waits for."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


# Not an Exception: the HTTP libraries turn those into errors of their own, and try again.
class TimeUp(BaseException):
    """The block's time is over."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeUp`` inside the block after so many seconds; for the main thread, not nested.

    A timeout of requests is one of every single read: a server that sends a byte now and then never meets it.
    """

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeUp

    previous = signal.signal(signal.SIGALRM, ring)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        # The timer is one for the whole process: whoever had set it gets it back.
        signal.setitimer(signal.ITIMER_REAL, left)
