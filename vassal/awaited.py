"""``wsgi.input`` of a client that waits for ``100 Continue``: the body is asked for when the app first reads.

The app runs before its body has come, so here a thread does wait for a client. The one danger is that it waits while it
leads, and everybody with it: the lead is given away first. http-timeout bounds the wait, kept by the loop; and where no
thread would be left for others, the body is collected first.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal.client import BODY, EPOLLIN
from vassal.protocol import CHUNKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vassal.body import Body
    from vassal.connection import Connection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def open_for(conn: Connection, body: Body) -> AwaitedInput | None:
    """Return the input of a client that waits for 100 Continue; None: it has been told to send its body at once.

    The latter where no thread would be left if all of them waited: a few clients that never send what they promised
    must not keep everybody from the app. So the loop collects the body, as it does for all others. And where only the
    body tells whether it is too long: an app that reads it could not answer 413.
    """
    crew = conn.loop.crew
    too_many = sum(one.may_wait for one in tuple(crew.awaiting)) >= max(1, crew.threads - 1)
    if too_many or (conn.loop.limits.limit_post and body.left == CHUNKED):
        _send_continue(conn)
        return None
    awaited = AwaitedInput(conn, body, conn.loop.gateway.let_go, conn.loop.limits.http_timeout)
    crew.awaiting.add(awaited)
    return awaited


def _send_continue(conn: Connection) -> None:
    with contextlib.suppress(OSError):
        conn.sock.send(CONTINUE, socket.MSG_NOSIGNAL)


class AwaitedInput(io.BufferedIOBase):
    """A file of which nothing has arrived until somebody reads it."""

    def __init__(self, conn: Connection, body: Body, let_go: Callable[[Connection], None], patience: float) -> None:
        self._conn = conn
        self._body = body
        self._let_go = let_go
        self._patience = patience
        self._arrived = threading.Lock()
        self._arrived.acquire()
        self._file: Any = None
        self.why = ""
        self.whole = False
        """The body has arrived, so the connection may be used again."""

    # --- the loop's side -----------------------------------------------------------------------------------------

    @property
    def may_wait(self) -> bool:
        """Whether a thread may still wait for the client: no more once the body is here, or the response has begun."""
        return not (self.whole or self.why or self._conn.sent)

    def complete(self) -> None:
        """The body is whole."""
        self.whole = True
        self._arrived.release()

    def fail(self, why: str) -> None:
        """The body will never be whole."""
        self.why = why
        self._arrived.release()

    def abandon(self) -> None:
        """The response is complete: who still reads, in a thread of the app's own, gets an error."""
        self._conn.loop.crew.awaiting.discard(self)
        if not (self.whole or self.why):
            self.fail("the response is complete")

    # --- the app's side ------------------------------------------------------------------------------------------

    def readable(self) -> bool:
        """Tell that it can be read, as whatever wraps it (``io.TextIOWrapper``) asks first; this reads nothing."""
        return True

    def close(self) -> None:
        """Do nothing: it is the server's."""

    def _opened(self) -> Any:
        if self._file is None:
            if not self.why:
                self._ask()
            if self.why:
                raise OSError(f"the request's body did not arrive: {self.why}")
            self._file = self._body.open()
        return self._file

    def _ask(self) -> None:
        conn = self._conn
        self._let_go(conn)
        if conn.sent:  # RFC 9110 section 10.1.1: no 100 once the final response has begun; the client may send or not
            self.why = "the app read it after it had begun its response"
            return
        _send_continue(conn)
        with conn.loop.crew.lock:  # see `Connection.expire`
            conn.started = now = monotonic()
            conn.deadline = now + self._patience
            conn.state = BODY
        conn.watch(EPOLLIN)
        self._arrived.acquire()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes of the body.

        Raises:
            OSError: it did not arrive.
        """
        data: bytes = self._opened().read(size)
        return data

    read1 = read

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line, see `read`."""
        data: bytes = self._opened().readline(size)
        return data

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """Return lines, see `read`."""
        lines: list[bytes] = self._opened().readlines(hint)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened())
