"""gunicorn's threaded worker, with threads for whole requests only: slow clients wait in the poller.

By itself it gives a client a thread with the first byte of a request and takes it back with the last of the answer, and
waits in its main loop for clients that do not close. A few connections that say nothing then stop the whole service.

Told to stop, it drops clients that have connected but were not accepted yet, and those that it just promised to keep.
Here it goes on until each has its answer.
"""

import contextlib
import select
import socket
import time
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker  # the worker's own sign for "back to the poller"

from services.inference import settings

HEAD_END = b"\r\n\r\n"
MAX_HEAD = 2**16  # bytes
HEAD_SECONDS = 10.0
LEAVE_SECONDS = 2.0
STAY = 2  # milliseconds
# How long a worker lets others accept first, for each connection that it has: all of a few connections that stay open
# would keep one worker busy, and the others idle. Among many, chance is fair enough.
HEAD_START = 0.0002  # seconds
FEW = 10
CHUNK = 8192
BODY_CHUNK = 65536
PREDICT = "/predict"


class Log(Logger):
    """gunicorn's own log without a line per request: the app writes that, and gunicorn would still put one together."""

    access_log_enabled = False


class WholeBody(Body):
    """A body of known length, read as it arrives; gunicorn asks for it in pieces of 1,024 bytes."""

    def read(self, size: int | None = None) -> bytes:
        """Give the next ``size`` bytes, or all; fewer only at the end."""
        if self.buf.tell():  # readline has read ahead
            return bytes(super().read(size))
        return bytes(self.reader.read(self.getsize(size)))


class Worker(ThreadWorker):
    """Reads the head of a request, and the end of a connection, without waiting for either; stops without a loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings.current()
        self._stop_by: float | None = None
        self._listening = True

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless a worker with fewer takes it first."""
        if self.cfg.workers > 1 and self.nr_conns < FEW:
            for _ in range(self.nr_conns):
                time.sleep(HEAD_START)
                if not _has_come(listener, 0):
                    return
        super().accept(listener)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop, on SIGTERM."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._settings.graceful_timeout
            self.method_queue.defer(lambda: None)  # wakes the main loop

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Stay in the main loop until nobody waits for an answer any more, or the time is up."""
        super().wait_for_and_dispatch_events(timeout)
        if self._stop_by is not None:
            if self._listening:
                self._take_the_last()
            self.alive = self.nr_conns > 0 and time.monotonic() < self._stop_by

    def _take_the_last(self) -> None:
        """Accept who has connected before now: the system has told them so, and would reset them."""
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns:
                before = self.nr_conns
                self.accept(listener)
        self.worker_connections = 0  # or the main loop would listen again
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self._listening = False

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Answer a request; on the way out, so that the client connects anew, to another instance."""
        if self._stop_by is not None or self._settings.draining:
            req.force_close()
        if self._is_full(req):
            from services.inference import refusals  # not at the top, as below

            conn.sock.sendall(refusals.full(req, PREDICT))
            return False
        if isinstance(req.body.reader, LengthReader):
            req.body = WholeBody(req.body.reader)
            conn.parser.unreader.mxchunk = BODY_CHUNK
        return super().handle_request(req, conn)

    def _is_full(self, req: Any) -> bool:
        """Whether this is one prediction too many: most of its cost would be in the app, which would refuse it too."""
        if req.path != PREDICT or req.method != "POST":
            return False
        places = self.wsgi.extensions.get(PREDICT)
        return places is not None and places.refuse()

    def handle(self, conn: TConn) -> object:
        """Go on with a connection that has something to read.

        Returns:
            True to keep the connection alive, False to close it, ``_DEFER`` to call again when more is there.
        """
        while (result := self._handle_one(conn)) is True and self._asks_again(conn):
            pass
        return result

    def _asks_again(self, conn: TConn) -> bool:
        """Whether the next request is here or comes at once; if not, the poller waits for it.

        The way there and back costs more than a short wait here, but nobody else shall wait for this thread.
        """
        if conn.parser.unreader.buf.tell():  # it came with the last one: the poller would not see it
            return True
        if not self.tpool._work_queue.empty():
            return False
        return _has_come(conn.sock, STAY)

    def _handle_one(self, conn: TConn) -> object:
        if hasattr(conn, "leave_by"):
            return _leave(conn)
        try:
            conn.init()
            if not _has_head(conn):
                return _DEFER
        except (ParseException, TimeoutError) as error:
            self.handle_error(None, conn.sock, conn.client, error)
            keep_alive = False
        except OSError:
            return False
        else:
            keep_alive = super().handle(conn)
        if keep_alive:
            return True
        conn.leave_by = time.monotonic() + LEAVE_SECONDS
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        return _leave(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what does not reach the app in the same form as the app's own errors."""
        # Not at the top: gunicorn loads this file before it forks, and the counters belong to the workers.
        from services.inference import refusals

        with contextlib.suppress(OSError):
            util.write_nonblock(client, refusals.answer(req, exc))


def _has_come(sock: Any, milliseconds: int) -> bool:
    """Whether there is something to read, or a connection to accept."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _has_head(conn: TConn) -> bool:
    """Whether all headers of the next request are here, or no more will come.

    Raises:
        LimitRequestHeaders: They are longer than any honest client's.
        TimeoutError: They have been coming for too long.
    """
    unreader = conn.parser.unreader
    head = unreader.take_buffered()
    try:
        while HEAD_END not in head:
            if len(head) > MAX_HEAD:
                raise LimitRequestHeaders(f"more than {MAX_HEAD:,} bytes")
            data = conn.sock.recv(CHUNK, socket.MSG_DONTWAIT)
            if not data:
                break
            head += data
    except BlockingIOError:
        unreader.unread(head)
        now = time.monotonic()
        conn.head_by = getattr(conn, "head_by", None) or now + HEAD_SECONDS
        if now > conn.head_by:
            raise TimeoutError from None
        return False
    unreader.unread(head)
    conn.head_by = None
    return True


def _leave(conn: TConn) -> object:
    """Wait, in the poller, for the client to close: closed too early, it may lose the answer."""
    try:
        while conn.sock.recv(BODY_CHUNK, socket.MSG_DONTWAIT):
            if time.monotonic() > conn.leave_by:
                break
        conn.sock.shutdown(socket.SHUT_RD)  # or gunicorn's main loop would wait for its end
    except BlockingIOError:
        return _DEFER
    except OSError:
        pass
    return False
