"""WSGI (PEP 3333): finds the app for a request, runs it and sends what it answers.

The one danger is the app: it may raise at any point, answer twice, announce one length and send another, or never
return. The client then gets a plain 500 or a connection that visibly breaks, never half a response that looks whole.
"""

from __future__ import annotations

import contextlib
import socket
import traceback
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal import logs, scoreboard
from vassal.client import RUNNING
from vassal.heads import error_page
from vassal.loader import end_copy
from vassal.out import Out
from vassal.outbox import LARGEST, QUICK
from vassal.protocol import line_of
from vassal.response import ClientGone, FileWrapper, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.heads import Stamp
    from vassal.loader import Apps, WSGIApp
    from vassal.logbook.requests import RequestLog
    from vassal.loop import Loop

MSG_NOSIGNAL = socket.MSG_NOSIGNAL


def no_app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer where a vassal has no app for a path."""
    body = b"404 Not Found: no app answers here\n"
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class Gateway:
    """Runs the apps of one vassal."""

    def __init__(self, loop: Loop, apps: Apps) -> None:
        self.loop = loop
        self.crew = loop.crew
        self.stamp: Stamp = loop.stamp
        self.default: WSGIApp = apps.default or no_app
        self.mounts = apps.mounts
        self.manage_script_name = False
        self.show_errors = False
        """Put tracebacks into responses (catch-exceptions)."""
        self.quiet_writes = False
        """Let ``write()`` pretend that a client is there (disable-write-exception)."""
        self.log_gone = True
        """Log clients that left during a response (unless ignore-write-errors)."""
        self.harakiri = False
        """The master must be able to see who is answered (harakiri)."""
        self.copied = False
        """This process is a copy of the worker that its app has forked: see `vassal.copies`."""
        self.on_request: Callable[[], None] | None = None
        self.log: RequestLog | None = None
        """None: requests are not logged."""

    def serve(self, conn: Connection, me: Member) -> None:  # noqa: C901, PLR0912, PLR0915 (the hot path: see `Loop.lead`)
        """Run the app for the request that `conn` holds and see to its response. `me` is the main or an app thread."""
        request = conn.request
        assert request is not None  # noqa: S101 (what it means to be given to us)
        crew = self.crew
        environ = request.environ
        conn.state = RUNNING
        if crew.leader is me:
            if crew.slow:
                crew.pass_lead(conn)
            else:
                me.claim.append(conn)
        me.serving = conn
        if self.harakiri:
            me.counts[scoreboard.SOCKET] = conn.fd + 1
            me.counts[scoreboard.STATE] = scoreboard.NOTHING_SENT
        me.times[scoreboard.SINCE] = me.began = began = monotonic()
        response = Response(self, conn, request, me)
        result: Any = None
        try:
            app = self._find(environ) if self.mounts else self.default
            result = app(environ, response.start_response)
            whole = (
                (type(result) is list or type(result) is tuple)
                and len(result) == 1
                and not response.begun
                and type(result[0]) is bytes
            )
            if not whole:
                self._stream(response, result)
        except BaseException as error:  # noqa: BLE001 (SystemExit, too: an app may not stop the worker)
            self._app_failed(response, error)
            whole = False
        me.now = me.last = now = monotonic()
        me.times[scoreboard.SINCE] = 0.0
        me.serving = None
        me.requests += 1
        took = now - began
        me.running += took
        if took > QUICK or crew.average > QUICK:
            crew.measure(took)
        if self.on_request is not None:
            self.on_request()
        try:
            me.claim.pop()
        except IndexError:  # the ticker has taken the lead, or we gave it away
            with crew.lock:  # after which the ticker has finished with the connection
                doomed = conn.doomed
            self.stamp.refresh()
            if doomed:
                conn.close()
                return
        if whole:
            self._send_whole(response, result[0], me)
        elif conn.held is not None:
            conn.held = None
            self._send_whole(response, response.body, me)
        else:
            self._end_stream(response, me)

    def _send_whole(self, response: Response, body: bytes, me: Member) -> None:
        """The common case: one piece of body, nothing sent yet."""
        request = response.request
        parts = response.parts
        size = len(body)
        if parts is None or response.bodyless or response.length not in (None, size):
            self._send_odd(response, body, me)
            return
        if response.length is None and (size or not request.head_only):  # see `Response.head`
            parts.append(b"Content-Length: %d\r\n" % size)
        plain = request.plain and response.plain and not self.loop.retiring
        parts.append(self.stamp.keep if plain else response.tail())
        if not request.head_only:
            if size > LARGEST:
                self._send_large(response, b"".join(parts), body, me)
                return
            parts.append(body)
        data = b"".join(parts)
        if self.log is not None:
            self.log.small(response, len(data), size, len(parts), me)
        self._send_small(response, data, me)

    def _send_small(self, response: Response, data: bytes, me: Member) -> None:
        """Send a complete response: with others at the end of the turn, where the app's calls are quick."""
        conn = response.conn
        crew = self.crew
        outbox = self.loop.outbox
        send = outbox.put if crew.leader is me and crew.average <= QUICK and not conn.buffer else outbox.deliver
        send(conn, data, me, keep=not response.close, linger=response.request.keep_alive)

    def _send_large(self, response: Response, head: bytes, body: bytes, me: Member) -> None:
        """Send a complete response without copying its body."""
        conn = response.conn
        if self.log is not None:
            self.log.later(response, len(head), len(body), len(response.parts or ()) - 2, me)
        try:
            sent = conn.sock.sendmsg((head, body), (), MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            conn.close()
            return
        me.tx += sent
        if sent == len(head) + len(body):
            conn.finish(me, keep=not response.close, linger=response.request.keep_alive)
            return
        out = Out()
        for piece in (head, body):
            if sent < len(piece):
                out.put_whole(memoryview(piece)[sent:])
            sent = max(0, sent - len(piece))
        conn.send_later(me, out, keep=not response.close, linger=response.request.keep_alive)

    def _send_odd(self, response: Response, body: bytes, me: Member) -> None:
        """One piece of body, but no start_response, a status without a body, or another length than announced."""
        try:
            response.send(body)
        except BaseException as error:  # noqa: BLE001 (see `serve`)
            self._app_failed(response, error)
        self._end_stream(response, me)

    # --- streams -------------------------------------------------------------------------------------------------

    def _stream(self, response: Response, result: Iterable[bytes] | bytes) -> None:
        """Send what the app yields, then call its ``close``."""
        if self.copied:
            end_copy()
        if isinstance(result, bytes):
            result = (result,)  # PEP 3333 would have its numbers sent, uWSGI sends it, and apps rely on that
        try:
            if isinstance(result, FileWrapper) and self._send_file(response, result):
                pass
            elif response.parts is not None and not response.begun and isinstance(result, (list, tuple)):
                self._send_pieces(response, result)
            else:
                self._send_each(response, result)
        except BaseException:
            close = getattr(result, "close", None)
            if close is not None:
                close()
            raise
        close = getattr(result, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:  # noqa: BLE001 (see `serve`)
                self._close_failed(response, error)

    def _send_each(self, response: Response, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if type(piece) is not bytes and not isinstance(piece, bytes):
                raise TypeError(f"the app yielded {type(piece).__name__}, not bytes")
            # PEP 3333: the head is not sent before the first piece that is not empty, so that the app may still
            # change its mind.
            if not response.begun:
                if not piece or response.hold(piece):
                    continue
                if response.bodyless or response.request.head_only:
                    response.send(piece)  # the head, which is all of it: no client would wait for what an app yields on
                    return
            if not response.send(piece):
                raise ClientGone("the client has closed the connection")
        if not response.begun:
            response.send(b"") if response.request.head_only else self._send_empty(response)

    def _send_empty(self, response: Response) -> None:
        head = response.begin(0)
        response.push(head)

    def _send_pieces(self, response: Response, pieces: Iterable[bytes]) -> None:
        """A list of pieces is a body of known length."""
        body = b"".join(pieces)
        head = response.begin(len(body))
        body = response.fit(body) if body else b""
        response.push(head + body)

    def _send_file(self, response: Response, wrapper: FileWrapper) -> bool:
        """Let the loop send a file; False: it must be read and sent as any other iterable."""
        if response.begun or response.parts is None:
            return False
        span = wrapper.span()
        if span is None:
            return False
        try:
            length = response.length
            if length is not None:
                if length > span.left and not (response.bodyless or response.request.head_only):
                    self._too_short(span.left, length)
                    response.close = True  # only that tells the client that nothing more will come
                    response.plain = False
                span.left = min(span.left, length)
            head = response.begin(span.left)
        except BaseException:
            span.close()
            raise
        out = Out()
        out.put_whole(memoryview(head))
        if response.bodyless or response.request.head_only or not span.left:
            span.close()
        else:
            response.count = span.left
            out.put_file(span)
        response.file = out
        return True

    def _end_stream(self, response: Response, me: Member) -> None:
        """The app is through: end the body and decide what becomes of the connection."""
        conn = response.conn
        request = response.request
        if self.log is not None:
            self.log.stream(response, me)
        if response.file is not None and not response.failed:
            conn.send_later(me, response.file, keep=not response.close, linger=request.keep_alive)
            return
        broken = not response.begun or (conn.out is not None and conn.out.broken)
        if not (broken or response.failed or response.bodyless or request.head_only):
            if response.chunked:
                broken = not response.push(b"0\r\n\r\n")
            elif response.length is not None and response.count < response.length:
                self._too_short(response.count, response.length)
                broken = True
        if broken or response.failed:
            if response.file is not None:
                response.file.close()
            # Where only the connection's end ends the body, a plain close would make half a body look whole.
            if response.chunked or response.length is not None:
                conn.close()
            else:
                conn.abort()
        elif conn.out is not None:
            conn.send_later(me, conn.out, keep=not response.close, linger=request.keep_alive)
        else:
            conn.finish(me, keep=not response.close, linger=request.keep_alive)

    def _too_short(self, count: int, length: int) -> None:
        self.loop.say_once("short", f"the app sent {count} of the {length} bytes it announced")

    def _close_failed(self, response: Response, error: BaseException) -> None:
        """Log what the app's ``close`` raised: its response is complete, and the client gets all of it."""
        response.me.exceptions += 1
        text = "".join(traceback.format_exception(error)).rstrip()
        logs.say(f"close() raised {type(error).__name__} after {line_of(response.request.environ)}:\n{text}")

    def _app_failed(self, response: Response, error: BaseException) -> None:
        """Log what the app raised; answer 500 if the head has not gone out."""
        if self.copied:
            end_copy(error)
        conn = response.conn
        what = line_of(response.request.environ)
        # One that has said all that it announced is complete, whatever the app does afterwards.
        response.failed = response.begun and not response.said_all
        if conn.held is not None:  # it is complete all the same
            response.close = True
            response.plain = False
        if conn.doomed:
            return
        if isinstance(error, ClientGone):
            if self.log_gone:
                self.loop.say_once("gone " + conn.peer, f"{conn.peer or 'a client'} left during the response to {what}")
            return
        response.me.exceptions += 1
        if isinstance(error, MemoryError):
            _let_go(error)
        text = "".join(traceback.format_exception(error))
        logs.say(f"the app raised {type(error).__name__} for {what}:\n{text.rstrip()}")
        if response.begun:
            return
        head, body = error_page(500, text if self.show_errors else "")
        response.status = "500"
        response.parts = [head]
        response.length = len(body)
        response.mine = 0
        with contextlib.suppress(ClientGone):
            response.send(body)

    def let_go(self, conn: Connection) -> None:
        """Give the lead away if the thread that serves `conn` has it: it is about to wait for the client."""
        for member in tuple(self.crew.members):
            if member.serving is conn:
                with contextlib.suppress(IndexError):  # the ticker was quicker
                    member.claim.pop()
                    self.crew.pass_lead(conn)

    # --- which app -----------------------------------------------------------------------------------------------

    def _find(self, environ: dict[str, Any]) -> WSGIApp:
        """Return the app for a request: by its path with manage-script-name, else by the SCRIPT_NAME it came with."""
        if self.manage_script_name:
            path = environ["PATH_INFO"]
            for prefix, app in self.mounts:
                if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                    environ["SCRIPT_NAME"] = prefix
                    environ["PATH_INFO"] = path[len(prefix) :]
                    return app
            return self.default
        script = environ["SCRIPT_NAME"].rstrip("/")
        for prefix, app in self.mounts:
            if script == prefix:
                return app
        return self.default


def _let_go(error: BaseException) -> None:
    """Free what the app's frames hold: where memory has run out it is theirs, and its loss cannot even be told."""
    told: BaseException | None = error
    while told is not None:
        traceback.clear_frames(told.__traceback__)
        told = told.__context__
