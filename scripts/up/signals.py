"""Ctrl-C, SIGTERM and a closed terminal, as something to look at in a loop."""

import signal
from types import FrameType


class Signals:
    """Remembers the signals that ask to end. A handler that raised would leave processes behind."""

    def __init__(self) -> None:
        """Catch them from now on; ``nohup``, which ignores the closed terminal, keeps its effect."""
        self.received: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
