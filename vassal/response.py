"""One response while the app makes it: PEP 3333's ``start_response`` and ``write``, framing, file_wrapper.

The one danger is a response whose end the client sees elsewhere than we do. So framing is decided in one place
(`Response.head`), and what an app sends beyond its announced length is cut.
"""

from __future__ import annotations

import io
import os
import socket
import stat
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal import scoreboard
from vassal.client import EPOLLOUT
from vassal.heads import (
    CONNECTION,
    DATE,
    FRAMING,
    HEADER_LINES,
    LENGTH,
    SERVER,
    STATUS_LINES,
    BadResponse,
    BodylessLine,
    make_line,
)
from vassal.out import FileSpan, Out
from vassal.outbox import LARGEST, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.heads import Special
    from vassal.protocol import Request
    from vassal.wsgi import Gateway

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

_MINE = {DATE: 1, SERVER: 2}


class ClientGone(ConnectionError):  # noqa: N818 (what it is; the app meets it under this name)
    """The client closed the connection or does not read; raised out of the app's ``write()``."""


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over a file, sent by sendfile where that is possible."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.filelike.read(self.block_size):
            yield block

    def span(self) -> FileSpan | None:
        """Return the rest of the file for sendfile, with a descriptor of its own; None: it is no plain file.

        One of size 0 may have something to say all the same, as those in /proc do: only reading tells.
        """
        try:
            fd = self.filelike.fileno()
            facts = os.fstat(fd)
            # A file with a buffer of its own or a text layer stands elsewhere than its descriptor: ask the object.
            position = self.filelike.tell()
            if (
                not (stat.S_ISREG(facts.st_mode) and facts.st_size)
                or not isinstance(position, int)
                or _is_wrapped(self.filelike)
            ):
                return None
            return FileSpan(os.dup(fd), position, max(0, facts.st_size - position))
        except (AttributeError, OSError, ValueError, TypeError):
            return None


def _is_wrapped(filelike: Any) -> bool:
    """Tell whether what `filelike` reads is something else than its file's bytes (gzip, text, a limited view)."""
    return not isinstance(filelike, (io.BufferedReader, io.BufferedRandom, io.FileIO)) and not (
        # tempfile's wrapper delegates everything to the file that it holds
        isinstance(getattr(filelike, "file", None), (io.BufferedReader, io.BufferedRandom, io.FileIO))
        and type(filelike).__module__ == "tempfile"
    )


class Response:
    """One response while the app makes it. The class holds the defaults: only what differs is stored."""

    status = ""
    parts: list[bytes] | None = None
    """Status line and header lines, once `start_response` was called."""
    length: int | None = None
    """What the app announced as Content-Length."""
    mine = 0
    close = False
    plain = True
    """Neither `mine` nor `close` is set."""
    begun = False
    """The head is on its way: nothing can be taken back."""
    chunked = False
    bodyless = False
    count = 0
    """Bytes of body so far."""
    head_size = 0
    """Bytes of the head, once it is made by `head`."""
    failed = False
    """The app raised after the head had gone out."""
    body = b""
    """The whole of it, where it was complete before the app was through."""
    file: Out | None = None
    """A file that the loop is to send once the app is through."""

    def __init__(self, gateway: Gateway, conn: Connection, request: Request, me: Member) -> None:
        self.gateway = gateway
        self.conn = conn
        self.request = request
        self.me = me

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's ``start_response``.

        Raises:
            BadResponse: a status or header that cannot be sent.
            AssertionError: called twice without `exc_info`.
        """
        if self.parts is not None:
            self._restart(exc_info)
        line = STATUS_LINES[status]
        self.bodyless = line.__class__ is BodylessLine
        parts = [line]
        for pair in headers:
            try:
                made = HEADER_LINES[pair]
            except TypeError:  # a list instead of a tuple
                made = make_line(pair)
            if made.__class__ is bytes:
                parts.append(made)
            else:
                self._special(made, parts)  # type: ignore[arg-type]  # the other half of the union
        self.status = status
        self.parts = parts
        return self.write

    def _restart(self, exc_info: ExcInfo | None) -> None:
        if exc_info is None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        try:
            if self.begun:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None  # the traceback holds this very frame
        self.length = None
        self.mine = 0
        self.close = False
        self.plain = True

    def _special(self, field: Special, parts: list[bytes]) -> None:
        kind = field.kind
        if kind == LENGTH:
            if self.length is not None and self.length != field.number:
                raise BadResponse(f"two different Content-Lengths: {self.length} and {field.number}")
            if self.length is None:
                parts.append(field.line)
            self.length = field.number
        elif kind == CONNECTION:  # ours to send; what it asks for is done
            if "close" in field.value.lower():
                self.close = True
                self.plain = False
        elif kind != FRAMING:
            parts.append(field.line)
            self.mine |= _MINE[kind]
            self.plain = False

    @property
    def said_all(self) -> bool:
        """Whether a response that has begun is complete for its client. One without a body is, with its head."""
        if self.bodyless or self.request.head_only:
            return True
        return self.length is not None and self.count >= self.length

    # --- sending -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """PEP 3333's ``write``: send `data` now.

        Raises:
            ClientGone: unless ``disable-write-exception`` is set.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if not self.send(data) and not self.gateway.quiet_writes:
            raise ClientGone("the client has closed the connection")

    def send(self, data: bytes) -> bool:
        """Send a piece of the body, the head before the first; False: nobody is there to take it."""
        head = b""
        if not self.begun:
            head = self.begin(None)
        if data:
            data = self.fit(data)
        if data and self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        whole = head + data
        return self.push(whole) if whole else True

    def hold(self, data: bytes) -> bool:
        """Keep back a response that `data` completes, as long as its thread leads; False: it must be sent now.

        An app that yields its body is called once more, and then its ``close``. If that takes long, the lead goes to
        another thread, and the response is sent (`Connection.disarm`).
        """
        crew = self.gateway.crew
        size = len(data)
        if size != self.length or size > LARGEST or crew.average > QUICK or self.bodyless or self.request.head_only:
            return False
        conn = self.conn
        self.body = data
        conn.held = self
        if not self.me.claim:  # who takes the claim looks for `held`, perhaps a moment before it was set
            with crew.lock:
                if conn.held is self:
                    conn.held = None
                    return False
        self.begun = True
        self.count = size
        return True

    def let_out(self, member: Member) -> None:
        """Send what was held, because `member`, which is still in the app, loses the lead. Under the crew's lock."""
        conn = self.conn
        conn.held = None
        conn.sent = True
        member.counts[scoreboard.STATE] = scoreboard.SENT
        data = self.head(None) + self.body
        sent = 0
        try:
            sent = conn.sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            pass
        except OSError:
            conn.out = Out()
            conn.out.broken = True
            return
        if sent < len(data):
            conn.out = Out()
            conn.out.put_whole(memoryview(data)[sent:])
            conn.deadline = monotonic() + self.gateway.loop.limits.socket_timeout
            conn.watch(EPOLLOUT)

    def fit(self, data: bytes) -> bytes:
        """Count `data`, and cut what goes beyond the announced length."""
        if self.bodyless or self.request.head_only:
            self.count += len(data)
            return b""
        if self.length is not None and self.count + len(data) > self.length:
            self.gateway.loop.say_once("length", f"the app sends more than its Content-Length {self.length} says; cut")
            data = data[: self.length - self.count]
        self.count += len(data)
        return data

    def begin(self, size: int | None) -> bytes:
        """Claim the connection and return the complete head; `size` is the body's length where it is known.

        Raises:
            ClientGone: harakiri has answered already.
            AssertionError: `start_response` was not called.
        """
        if self.parts is None:
            raise AssertionError("the app sends a body before it has called start_response (PEP 3333)")
        conn = self.conn
        with self.gateway.crew.lock:
            if conn.doomed:
                raise ClientGone("harakiri has answered this request")
            conn.sent = True
        self.me.counts[scoreboard.STATE] = scoreboard.SENT
        self.begun = True
        return self.head(size)

    def head(self, size: int | None) -> bytes:
        """Return status line, fields and empty line; decide about framing and keep-alive."""
        request = self.request
        parts = self.parts or []
        if self.bodyless and self.length is not None and self.status[:3] == "204":
            # RFC 9110 section 8.6: never with 204. A 304 may say how long the body would be.
            parts = [line for line in parts if not line.lower().startswith(b"content-length:")]
        elif self.length is None and not self.bodyless:
            if size == 0 and request.head_only:
                pass  # an app that has left the body out: what a GET would get is unknown (RFC 9110 section 8.6)
            elif size is not None:
                parts.append(b"Content-Length: %d\r\n" % size)
                self.length = size
            elif request.chunks:
                parts.append(b"Transfer-Encoding: chunked\r\n")
                self.chunked = not request.head_only
            else:
                self.close = True  # only the end of the connection tells the end of the body
        parts.append(self.tail())
        data = b"".join(parts)
        self.head_size = len(data)
        return data

    def tail(self) -> bytes:
        """Return our own fields and the empty line; decide about keep-alive."""
        request = self.request
        stamp = self.gateway.stamp
        conn = self.conn
        if not request.keep_alive or (self.gateway.loop.retiring and not conn.buffer):
            self.close = True
        elif conn.waiter is not None and not conn.waiter.whole:
            self.close = True  # nobody knows whether the client will send its body now
        if self.mine:
            word = b"Connection: close\r\n" if self.close else b"Connection: keep-alive\r\n" if request.old else b""
            return stamp.fields(date=not self.mine & 1, server=not self.mine & 2, connection=word)
        if self.close:
            return stamp.close
        return stamp.keep_old if request.old else stamp.keep

    def push(self, data: bytes) -> bool:
        """Send `data`, or keep it for the loop to send; wait only where the client is hopelessly behind."""
        conn = self.conn
        out = conn.out
        if out is None:
            try:
                sent = conn.sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            self.me.tx += sent
            if sent == len(data):
                return True
            out = Out()
            out.put(memoryview(data)[sent:])
            with self.gateway.crew.lock:  # excludes `Connection.disarm` by the ticker
                conn.deadline = monotonic() + self.gateway.loop.limits.socket_timeout
                conn.out = out
                conn.watch(EPOLLOUT)
            return True
        return self._push_behind(out, data)

    def _push_behind(self, out: Out, data: bytes) -> bool:
        conn = self.conn
        with out.lock:
            if out.broken:
                return False
            if out.empty:
                conn.deadline = monotonic() + self.gateway.loop.limits.socket_timeout
            out.put(data)
            try:
                self.me.tx += out.flush(conn.sock, conn.fd)
            except OSError:
                out.broken = True
                return False
            if not out.empty:
                conn.watch(EPOLLOUT)
            full = out.full
        if full:
            self.gateway.let_go(conn)
            with out.lock:
                while out.full and not out.broken:
                    out.moved.wait(1.0)
        return not out.broken
