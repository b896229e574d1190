"""Notices that another model was put in place."""

import time
from pathlib import Path

FILES = ("manifest.json", "model.onnx")
SETTLED = 1.0

_State = tuple[tuple[int, int, int] | None, ...]


class BundleWatch:
    """The files of a bundle, compared with what they were."""

    def __init__(self, folder: Path) -> None:
        """Take the present files as known."""
        self._folder = folder
        self._served = self._latest = self._state()
        self._since = time.monotonic()

    def changed(self) -> bool:
        """True once per change, when nothing has changed any more for a second: a copy takes a moment."""
        state = self._state()
        now = time.monotonic()
        if state != self._latest:
            self._latest, self._since = state, now
        if self._latest == self._served or now - self._since < SETTLED:
            return False
        self._served = self._latest
        return True

    def _state(self) -> _State:
        return tuple(_signature(self._folder / name) for name in FILES)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
