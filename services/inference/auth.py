"""Identify clients by API key or address. Keys come from a file that is read again when it changes."""

import hashlib
import hmac
import ipaddress
import logging
import re
from pathlib import Path

from flask import Request, g, request

from services.inference.problems import UNAUTHORIZED, Problem

# A key has the characters of a bearer token (RFC 6750). Two lines may have one name while a key is replaced.
LINE = re.compile(r"([\w.-]{1,64}):([A-Za-z0-9._~+/=-]{16,512})")
SCHEME = "Bearer"

log = logging.getLogger(__name__)


class KeysError(ValueError):
    """The file cannot be used; the message names it and the line, never the line's text."""


def read_keys(file: Path) -> list[tuple[str, bytes]]:
    """Read lines of ``name:key``, without empty lines and comments (#), into pairs of a name and the key's SHA-256.

    Raises:
        KeysError: The file cannot be read, has an invalid line, or no key at all.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "not text")
        raise KeysError(f"API_KEYS_FILE is '{file}', but cannot be read ({reason}).") from None
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
    """The keys of a file; if the file becomes unusable, its last keys stay valid."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: object = None
        self._keys: list[tuple[str, bytes]] = []

    def require_owner(self, request: Request) -> str:
        """Return the name of the owner of the request's key; raises ``Problem`` (401) without a known key."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != SCHEME.lower() or not key.strip():
            raise _unauthorized(f"Send an API key: 'Authorization: {SCHEME} <key>'.", SCHEME)
        self._refresh()
        given, owner = _hash(key.strip()), None
        for name, known in self._keys:  # compare with all, so that the time reveals nothing
            if hmac.compare_digest(given, known):
                owner = name
        if owner is None:
            detail = "This API key is unknown. Ask the operator of the service for one."
            raise _unauthorized(detail, f'{SCHEME} error="invalid_token"')
        g.log_fields["client"] = owner
        return owner

    def _refresh(self) -> None:
        try:
            # The file behind all links: Kubernetes updates a Secret by one link to its folder.
            status = self._file.stat()
            state: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError as error:
            state = error.errno
        if state != self._state:
            self._state = state
            try:
                self._keys = read_keys(self._file)
            except KeysError as error:
                log.error("%s The keys that were read before stay valid.", error)


def _unauthorized(detail: str, challenge: str) -> Problem:
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def client_address() -> str:
    """Return the address of the client; of IPv6, its /64 network, which one customer gets."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))
