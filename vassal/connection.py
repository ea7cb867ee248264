"""One client's connection: what it waits for, and what happens to it next.

Owned by one thread at a time: by the leader, or by the app thread that runs its request. The one danger is doing
anything to a connection after giving it away: handing it to the epoll, to the queue or to the loop is always the last
step of a method.
"""

from __future__ import annotations

import contextlib
import socket
from io import BytesIO
from typing import TYPE_CHECKING, Any

from vassal import awaited
from vassal.body import Body
from vassal.client import BODY, EPOLLIN, EPOLLOUT, HEAD, IDLE, LINGER, READY, RECEIVE_BODY, RUNNING, SENDING, Client
from vassal.heads import error_page
from vassal.protocol import CHUNKED, Answered, Refused, Request, Talk

if TYPE_CHECKING:
    from vassal.crew import Member
    from vassal.logbook.variables import Entry
    from vassal.loop import Loop, Port
    from vassal.out import Out
    from vassal.response import Response

RECEIVE = 65536
"""Bytes asked from the kernel at once, where a head is expected."""
BODY_RATE = 500
"""Bytes a second that a body must arrive with on average, once http-timeout has passed: drops are no body."""


class Connection(Client):
    """A client's connection and its current request."""

    __slots__ = (
        "body",
        "doomed",
        "entry",
        "held",
        "out",
        "parse",
        "port",
        "request",
        "sent",
        "started",
        "talk",
        "waiter",
    )

    def __init__(self, loop: Loop, port: Port, sock: socket.SocketType, fd: int) -> None:
        super().__init__(loop, sock, fd)
        self.port = port
        self.talk = Talk(port.facts)
        self.parse = port.parse
        self.request: Request | None = None
        self.body: Body | None = None
        self.out: Out | None = None
        self.entry: Entry | None = None
        """A line of the request log that is written when the response is sent."""
        self.waiter: Any = None
        self.started = 0.0
        self.sent = False
        """Some of the response has been sent, or is claimed to be by the thread that serves it."""
        self.doomed = False
        """Harakiri has answered: what the app thread produces is thrown away."""
        self.held: Response | None = None
        """A response that is complete, though the app is not through yet. Whoever takes the lead sends it."""

    # --- input ---------------------------------------------------------------------------------------------------

    def disarm(self, member: Member) -> None:
        """The request runs in `member`, which leads no more: wait for no input. Under the crew's lock."""
        if self.held is not None:
            self.held.let_out(member)
        if self.out is None and self.watched:
            self.watch(0)

    def turn(self, me: Member) -> None:
        """Do what the socket is ready for. Only the leader calls this."""
        state = self.state
        if state <= HEAD:
            if self.buffer and state == IDLE:
                return  # requests wait in `Loop.pending`: who sends them faster than we answer must not fill our memory
            try:
                data = self.sock.recv(RECEIVE)
            except BlockingIOError:
                if not self.watched:
                    self.watch(EPOLLIN)
                return
            except OSError:
                self.close()
                return
            if not data:
                self.close()
            else:
                self.advance(self.buffer + data if self.buffer else data, me)
        elif state == BODY:
            self._receive_body(me)
        elif state == LINGER:
            self.receive_rest()
        else:
            self._send_more(me)

    def resume(self, me: Member) -> None:
        """Go on with what was received together with the former request."""
        if self.state <= HEAD and self.buffer:
            self.advance(self.buffer, me)

    # --- requests ------------------------------------------------------------------------------------------------

    def advance(self, data: bytes, me: Member) -> None:
        """Take the next request out of `data`, or wait for the rest of it."""
        try:
            parsed = self.parse(data, self.talk)
        except Refused as refused:
            self.refuse(refused, me, head_only=data.startswith(b"HEAD "))
            return
        except Answered as answered:
            with contextlib.suppress(OSError):
                self.sock.send(answered.data, socket.MSG_NOSIGNAL)
            self.end(me, linger=False)
            return
        if parsed is None:
            if data == b"\r\n" and self.talk.count:  # small clients end a body's last line: no beginning of a request
                self.buffer = b""
                self.deadline = min(self.deadline, self._idle_until(me))
                self.state = IDLE
                self.watch(EPOLLIN)
                return
            if self.state == IDLE:
                self.deadline = me.now + self.loop.limits.http_timeout
                self.state = HEAD
            self.buffer = data
            self.watch(EPOLLIN)
            return
        request, self.buffer = parsed
        self.request = request
        static = self.loop.static
        if request.length and not self._body_in_hand(request):
            self._begin_body(request, me)
        elif static is not None and static.serve(self, me):
            return
        elif self.loop.crew.leader is me and not me.spare:
            self.loop.gateway.serve(self, me)
        else:
            self.dispatch(me)

    def dispatch(self, me: Member) -> None:
        """The request is complete: run it here, or let it wait for a thread that may."""
        if not me.spare and self.loop.crew.leader is me:
            self.loop.serve(self, me)
            return
        self.watch(0)
        self.state = READY
        request = self.request
        self.loop.crew.enqueue(self, request.environ["PATH_INFO"] if request else "")

    def _body_in_hand(self, request: Request) -> bool:
        """Take a small body that came together with its head; False: it did not."""
        length = request.length
        if not 0 < length <= len(self.buffer) or length > self.loop.limits.in_memory:
            return False
        request.environ["wsgi.input"] = BytesIO(self.buffer[:length])
        self.buffer = self.buffer[length:]
        return True

    def _begin_body(self, request: Request, me: Member) -> None:
        limits = self.loop.limits
        body = self.body = Body(request.length, in_memory=limits.in_memory, limit=limits.limit_post)
        if request.expects and not self.buffer:
            self.waiter = awaited.open_for(self, body)
        if self.waiter is not None:
            request.environ["wsgi.input"] = self.waiter
            self.dispatch(me)
            return
        self.started = me.now
        self.state = BODY
        rest, self.buffer = self.buffer, b""
        if rest:
            self._feed(body, rest, me)
        else:
            self.wait_for_body(me)

    def wait_for_body(self, me: Member) -> None:
        """Let the loop collect the body."""
        patience = self.loop.limits.http_timeout
        size = self.body.size if self.body else 0
        self.deadline = min(me.now, self.started + size / BODY_RATE) + patience
        self.watch(EPOLLIN)

    def _receive_body(self, me: Member) -> None:
        body = self.body
        assert body is not None  # noqa: S101 (what the state BODY means)
        most = min(body.left, RECEIVE_BODY) if body.left > 0 else RECEIVE
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._body_lost(me)
            return
        self._feed(body, data, me)

    def _feed(self, body: Body, data: bytes, me: Member) -> None:
        try:
            rest = body.feed(data)
        except Refused as refused:
            self._body_refused(refused, me)
            return
        except OSError as error:
            self._body_refused(Refused(500, f"cannot keep a request body: {error}"), me)
            return
        if rest is None:
            self.wait_for_body(me)
            return
        self.buffer = rest
        if self.waiter is not None:
            self.watch(0)
            self.state = RUNNING
            self.waiter.complete()
            return
        request = self.request
        assert request is not None  # noqa: S101 (what the state BODY means)
        environ = request.environ
        environ["wsgi.input"] = body.open()
        if request.length == CHUNKED:
            # The body is whole and its length known: frameworks that only know of lengths read it, too.
            del environ["HTTP_TRANSFER_ENCODING"]
            environ["CONTENT_LENGTH"] = str(body.size)
        if self.loop.static is None or not self.loop.static.serve(self, me):
            self.dispatch(me)

    def _body_lost(self, me: Member) -> None:
        """The client has gone in the middle of its body."""
        if self.waiter is None:
            self.close()
            return
        self._body_refused(Refused(400, "the client left in the middle of its body"), me)

    def _body_refused(self, refused: Refused, me: Member) -> None:
        if self.waiter is None:
            self.refuse(refused, me)
            return
        self.watch(0)
        self.state = RUNNING
        self.waiter.fail(refused.why)

    def refuse(self, refused: Refused, me: Member, *, head_only: bool = False) -> None:
        """Answer with an error of ours and end the connection."""
        self.loop.complain(self, refused)
        self.answer(refused.status, me, head_only=head_only)

    def answer(self, status: int, me: Member, text: str = "", *, head_only: bool = False) -> None:
        """Send a short answer of ours and end the connection. It fits in any socket's buffer; if not, so be it."""
        head, body = error_page(status, text)
        if head_only or (self.request is not None and self.request.head_only):
            body = b""
        with contextlib.suppress(OSError):
            data = head + self.loop.stamp.close + body
            me.tx += self.sock.send(data, socket.MSG_NOSIGNAL)
        if self.loop.log is not None:
            self.loop.log.answered(self, status, len(head) + len(self.loop.stamp.close), len(body), me)
        self.finish(me, keep=False, linger=True)

    # --- responses -----------------------------------------------------------------------------------------------

    def _send_more(self, me: Member) -> None:
        out = self.out
        if out is None:
            return
        with out.lock:
            if out.over:  # its producer was quicker
                return
            try:
                sent = out.flush(self.sock, self.fd)
            except (OSError, EOFError):
                out.broken = True
                out.moved.notify_all()
                sent = 0
            me.tx += sent
            if sent:
                self.deadline = me.now + self.loop.limits.socket_timeout
            if not (out.empty or out.broken):
                return
            if not out.done:  # the producer goes on, and will see `broken`
                self.watch(0)
                return
            out.over = True
        if out.broken:
            self.close()
        else:
            self.finish(me, keep=out.keep, linger=out.linger)

    def send_later(self, me: Member, out: Out, *, keep: bool, linger: bool) -> None:
        """The response is complete but not sent: the loop sends the rest."""
        out.keep = keep
        out.linger = linger
        self.deadline = me.now + self.loop.limits.socket_timeout
        # Both locks: the leader may be in `_send_more` for this very connection, the ticker in `disarm`.
        with self.loop.crew.lock, out.lock:
            out.done = True
            self.out = out
            self.state = SENDING
            try:
                me.tx += out.flush(self.sock, self.fd)
            except (OSError, EOFError):
                out.broken = True
            if not (out.empty or out.broken):
                self.watch(EPOLLOUT)
                return
            out.over = True
        if out.broken:
            self.close()
        else:
            self.finish(me, keep=keep, linger=linger)

    def finish(self, me: Member, *, keep: bool, linger: bool = False) -> None:
        """The response is sent: wait for the next request, or end."""
        if self.entry is not None and self.loop.log is not None:
            self.loop.log.done(self)
        self.request = None
        if self.body is not None:
            linger = linger or (self.waiter is not None and not self.waiter.whole)  # it may be on its way all the same
            self._drop_body()
        self.sent = False
        if self.out is not None:
            self.out.close()
            self.out = None
        if not keep:
            self.end(me, linger=linger)
            return
        # Where its next request is here nobody waits for the client.
        self.deadline = float("inf") if self.buffer else self._idle_until(me)
        self.state = IDLE
        if not self.buffer:
            self.watch(EPOLLIN)
        elif self.loop.crew.leader is me:
            self.loop.pending.append(self)
        elif self.loop.static is not None:  # files are the leader's
            self.loop.pending.append(self)
            self.loop.kick()
        else:
            self.advance(self.buffer, me)

    def _idle_until(self, me: Member) -> float:
        until = me.now + self.loop.limits.keep_alive
        return min(until, self.loop.grace_ends) if self.loop.retiring else until

    def expire(self, now: float, me: Member) -> None:
        """The deadline has passed. Only the leader calls this, for connections that the loop owns."""
        state = self.state
        if now < self.deadline:  # a thread has given the connection back just now: first its deadline, then its state
            return
        if state == HEAD or (state == BODY and self.waiter is None):
            self.loop.complain(self, Refused(408, "the request did not arrive within http-timeout"))
            self.answer(408, me)
        elif state == BODY:
            self._body_refused(Refused(408, "the body did not arrive within http-timeout"), me)
        elif state == RUNNING:
            self._expire_stream(now)
        elif state != READY:
            self.close()

    def _expire_stream(self, now: float) -> None:
        """A client does not read what an app thread still produces: that thread will close it."""
        with self.loop.crew.lock:  # excludes whoever begins to wait for the client, and sets another deadline
            out = self.out
            if out is None:
                if self.state == RUNNING:
                    self.deadline = float("inf")
                return
        with out.lock:
            if out.empty or out.broken:
                self.deadline = now + self.loop.limits.socket_timeout
                return
            out.broken = True
            out.moved.notify_all()
            self.watch(0)
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Give up body and output."""
        if self.entry is not None and self.loop.log is not None:
            self.loop.log.done(self, broken=True)
        self._drop_body()
        if self.out is not None:
            self.out.close()
        self.request = self.out = None

    def _drop_body(self) -> None:
        if self.waiter is not None:
            self.waiter.abandon()
        if self.body is not None:
            self.body.close()
        self.body = self.waiter = None
