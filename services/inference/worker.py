"""Extend gunicorn's gevent worker to end TLS connections to a plain port at once."""

import contextlib
import socket
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

TLS_HANDSHAKE = b"\x16"  # RFC 8446, section 5.1
HANDSHAKE_BYTES = 16_384


class Worker(GeventWorker):
    """gunicorn's gevent worker, with an own check of a connection's first byte."""

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Handle a connection, unless it begins with a TLS handshake: the head of a request would never be complete."""
        if not self.cfg.is_ssl:
            client.setblocking(True)
            first = b""
            with gevent.Timeout(self.cfg.keepalive, False), contextlib.suppress(OSError):
                first = client.recv(1, socket.MSG_PEEK)
                if first == TLS_HANDSHAKE:
                    client.recv(HANDSHAKE_BYTES)  # a connection with unread bytes is reset
            if first in (b"", TLS_HANDSHAKE):
                client.close()
                return
        super().handle(listener, client, addr)
