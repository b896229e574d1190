"""The API keys: a file that is read again when it changes, compared without a hint of how much was right."""

import hashlib
import hmac
import logging
import re
from pathlib import Path

# A key has the characters of a bearer token (RFC 6750). Of two lines with one name, the older key can go later.
LINE = re.compile(r"([\w.-]{1,64}):([A-Za-z0-9._~+/=-]{16,512})")

log = logging.getLogger(__name__)


class KeysError(ValueError):
    """The file cannot be used; the message names it and the line, and never what stands there."""


def read(file: Path) -> list[tuple[str, bytes]]:
    """Read lines of ``name:key``; empty ones and those that begin with # are left out.

    Returns:
        The name of each key's owner and the key's SHA-256.

    Raises:
        KeysError: The file cannot be read, has a line of another form, or no key at all.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(
            f"API_KEYS_FILE is '{file}', but cannot be read ({getattr(error, 'strerror', 'not text')})."
        ) from None
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            match = LINE.fullmatch(line)
            if not match:
                raise KeysError(
                    f"API_KEYS_FILE is '{file}', but line {number} is not name:key with a key of at least 16 letters, "
                    "digits and ._~+/=- (make one with: openssl rand -hex 32)."
                )
            found.append((match[1], _hash(match[2])))
    if not found:
        raise KeysError(f"API_KEYS_FILE is '{file}', but holds no key: write one name:key per line.")
    return found


class Keys:
    """The keys of a file as they are now; of a file that became unusable, as they were."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: object = None
        self._keys: list[tuple[str, bytes]] = []
        self._refresh()

    def owner(self, key: str) -> str | None:
        """The name beside this key, or None for a key that is none."""
        self._refresh()
        given, owner = _hash(key), None
        for name, known in self._keys:  # all of them: the time says nothing about where it was found
            if hmac.compare_digest(given, known):
                owner = name
        return owner

    def _refresh(self) -> None:
        try:
            # Followed to the end: Kubernetes changes a Secret's files by one link to their folder.
            state = self._file.stat()
            seen: object = (state.st_ino, state.st_mtime_ns, state.st_size)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = read(self._file)
        except KeysError as error:
            log.error("%s The keys that were read before go on.", error)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
