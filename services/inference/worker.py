"""Extend gunicorn's gevent worker where TLS and plain connections meet."""

import socket
import ssl
from typing import Any

import gevent
import gevent.socket
from gunicorn.workers.ggevent import GeventWorker

TLS_HANDSHAKE = b"\x16\x03"  # RFC 8446, section 5.1


class Worker(GeventWorker):
    """gunicorn's gevent worker, which ends TLS that is sent to a plain port at once."""

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Handle a connection; gunicorn would wait ``keepalive`` seconds for the rest of a request's head."""
        if not self.cfg.is_ssl:
            client = _PlainSocket(client.family, client.type, client.proto, client.detach())
        super().handle(listener, client, addr)


class _PlainSocket(gevent.socket.socket):
    """A connection that ends where it begins with a TLS handshake."""

    _has_begun = False

    def recv(self, *arguments: int) -> bytes:
        """Receive bytes, or none where the first ones are a handshake."""
        data: bytes = super().recv(*arguments)
        if not self._has_begun:
            self._has_begun = True
            if data.startswith(TLS_HANDSHAKE):
                return b""
        return data


class TLSSocket(ssl.SSLSocket):
    """A connection that ends when its handshake fails or takes too long, for which gevent would wait for ever."""

    TIMEOUT = 5  # seconds

    def do_handshake(self, block: bool = False) -> None:
        """Complete the handshake, or close the connection."""
        try:
            with gevent.Timeout(self.TIMEOUT, TimeoutError()):
                super().do_handshake()
        except OSError:
            self.close()
            raise gevent.GreenletExit from None
