"""Answers whoever connects to the address of the statistics: a part of the master's loop.

The one danger is a reader that does not read, or one that never has done. So every socket is non-blocking, a
conversation ends after `PATIENCE` seconds whatever it has come to, there are at most `READERS`, and what is told is
made anew only every `FRESH` seconds.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import logs, stats

if TYPE_CHECKING:
    from collections.abc import Callable

READERS = 16
"""Conversations at once; one more ends the oldest, which has had its time."""
PATIENCE = 5.0
"""Seconds for a whole conversation. An answer of some hundred kB fits into the kernel's buffers at once."""
LINGER = 1.0
"""Seconds for the client to close after it has the answer: a close with something unread would take the answer back."""
FRESH = 0.05
"""Seconds for which an answer is good for the next reader, too."""
TURN = 8
"""Connections accepted in one turn of the loop."""
HEAD_LIMIT = 8192
"""Bytes of an HTTP request's head, and of whatever else a client sends."""
AGAIN = 1.0
"""Seconds until connections are accepted again, after the machine was short of descriptors or memory."""
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True, eq=False)
class _Reader:
    """One conversation: what is still to be sent (None: its request has to come first), and when it ends."""

    sock: socket.socket
    ends: float
    left: memoryview | None = None
    received: bytes = b""


class StatsServer:
    """Serves `listener`, which stays the caller's, with what `answer` returns; `http`: as ``stats-http`` wants it."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        answer: Callable[[], bytes],
        *,
        http: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._answer = answer
        self._http = http
        self._clock = clock
        self._readers: list[_Reader] = []
        self._made = (float("-inf"), b"")
        self._accepts = False
        self._accept_at: float | None = None

    def open(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        self._selector.register(self._listener, selectors.EVENT_READ, self._called)
        self._accepts = True

    def close(self) -> None:
        """Accept nobody any more; who is being answered gets the rest. To be called before the listener is closed."""
        self._accept_at = None
        if self._accepts:
            self._accepts = False
            self._selector.unregister(self._listener)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold: else a client would wait for the worker's end."""
        for reader in self._readers:
            reader.sock.close()

    def look(self, now: float) -> None:
        """End conversations whose time is over, accept again after a shortage. `now`: monotonic seconds."""
        for reader in [reader for reader in self._readers if reader.ends <= now]:
            self._end(reader)
        if self._accept_at is not None and now >= self._accept_at:
            self._accept_at = None
            self.open()

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        moments = [reader.ends for reader in self._readers]
        if self._accept_at is not None:
            moments.append(self._accept_at)
        return min(moments, default=None)

    # --- conversations -------------------------------------------------------------------------------------------

    def _called(self) -> None:
        for _ in range(TURN):
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                # BlockingIOError among them: nobody is left, or the older generation was quicker.
                if error.errno in _SHORT:
                    self.close()
                    self._accept_at = self._clock() + AGAIN
                    logs.say(f"statistics: cannot accept: {error.strerror}")
                return
            self._meet(sock)

    def _meet(self, sock: socket.socket) -> None:
        if len(self._readers) >= READERS:
            self._end(self._readers[0])
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        reader = _Reader(sock, self._clock() + PATIENCE)
        self._readers.append(reader)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._turn(reader))
        if not self._http:
            self._tell(reader, self._body())

    def _body(self) -> bytes:
        now = self._clock()
        at, body = self._made
        if not at <= now < at + FRESH:
            try:
                body = self._answer()
            except Exception:  # noqa: BLE001 (a mistake in what is told must not end the master)
                logs.say("statistics cannot be told:\n" + traceback.format_exc())
                body = b"{}"
            self._made = (now, body)
        return body

    def _tell(self, reader: _Reader, answer: bytes) -> None:
        reader.left = memoryview(answer)
        self._send(reader)

    def _turn(self, reader: _Reader) -> None:
        try:
            if reader.left:
                self._send(reader)
            else:
                self._hear(reader)
        except OSError:
            self._end(reader)

    def _send(self, reader: _Reader) -> None:
        left = reader.left
        if left is None:
            return
        try:
            while left:
                left = left[reader.sock.send(left) :]
        except BlockingIOError:
            reader.left = left
            self._await(reader, selectors.EVENT_WRITE)
            return
        except OSError:
            self._end(reader)
            return
        reader.left = left
        reader.received = b""
        reader.ends = min(reader.ends, self._clock() + LINGER)
        with contextlib.suppress(OSError):
            reader.sock.shutdown(socket.SHUT_WR)
        self._await(reader, selectors.EVENT_READ)

    def _hear(self, reader: _Reader) -> None:
        """Take a request in; after the answer whatever comes, until the client closes."""
        try:
            data = reader.sock.recv(HEAD_LIMIT)
        except BlockingIOError:
            return
        reader.received += data
        if not data or len(reader.received) > HEAD_LIMIT:
            self._end(reader)
        elif reader.left is None and (b"\r\n\r\n" in reader.received or b"\n\n" in reader.received):
            head_only = reader.received.startswith(b"HEAD ")
            self._tell(reader, stats.with_head(self._body(), head_only=head_only))

    def _await(self, reader: _Reader, event: int) -> None:
        self._selector.modify(reader.sock, event, lambda: self._turn(reader))

    def _end(self, reader: _Reader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)
            self._selector.unregister(reader.sock)
            reader.sock.close()
