"""The leader's loop: poll, accept, read, run, write, and look after deadlines.

One epoll, level-triggered, polled by one thread at a time. Level-triggered matters: whatever a leader leaves undone,
because it lost the lead or because it failed, the next one is told of again. The one danger is hoarding: a connection
accepted here while another worker is idle waits for nothing. So one is accepted at a time, and none as long as every
thread is in the app and somebody else might take it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import traceback
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal import logs, scoreboard
from vassal.client import HEAD, IDLE, READY, RUNNING, UNDER_WAY
from vassal.complaints import Complaints
from vassal.connection import Connection
from vassal.crew import Crew, Member
from vassal.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.heads import Stamp
    from vassal.logbook.requests import RequestLog
    from vassal.net import Listener
    from vassal.protocol import Refused, Request, Talk
    from vassal.static.serving import Static
    from vassal.wsgi import Gateway

BATCH = 64
"""Events taken from the kernel at once."""
SCAN = 1.0
"""Seconds between two looks at all deadlines."""
RETIRING_SCAN = 0.05
GRACE = 5.0
"""Seconds that an idle connection may still use for one more request, once the worker retires (DESIGN, "Reload")."""
HOLD_OFF = 0.01
"""Seconds for which connections are left to other workers, when all threads of this one are in the app."""
DEFER = 0.25
"""The same as long as one of them has a thread to spare: it may be waiting for a processor, or be stopped for good."""
IN_A_ROW = 8
"""Connections that a leader takes from one listener, one by one, before it looks at the others again."""
BURST = 16
"""Connections accepted after that, at once."""
FRESH = 0.2
"""Seconds from the answer on, during which a connection is not taken for idle."""
STARVED = 0.5
"""Seconds without accepting after the descriptors have run out."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a vassal's file says of time and space. Times in seconds, sizes in bytes, 0: no limit."""

    http_timeout: float = 60.0
    socket_timeout: float = 60.0
    keep_alive: float = 65.0
    in_memory: int = 262144
    limit_post: int = 0
    queue: int = 0
    """Requests that may wait for a thread before no more connections are accepted: 0 where no other worker could."""


class Port:
    """One listener as this worker sees it: what is spoken there, and what every request there begins with."""

    __slots__ = ("facts", "listener", "meet", "parse", "sock", "tcp")

    def __init__(
        self,
        listener: Listener,
        facts: dict[str, Any],
        parse: Callable[[bytes, Talk], tuple[Request, bytes] | None],
        meet: Callable[[Connection, Any], None],
    ) -> None:
        self.listener = listener
        self.sock = listener.sock
        self.tcp = listener.sock.family != socket.AF_UNIX
        self.facts = facts
        self.parse = parse
        self.meet = meet
        """Fills in what depends on the client: its address, whether it is trusted."""


class Loop:
    """All connections of a worker, and the descriptors that wake it."""

    def __init__(self, limits: Limits, stamp: Stamp, threads: int, row: Callable[[int | None], scoreboard.Row]) -> None:
        self.limits = limits
        self.stamp = stamp
        self.epoll = select.epoll()
        self.conns: dict[int, Connection] = {}
        self.pending: deque[Connection] = deque()
        self.outbox = Outbox(self)
        self.crew = Crew(self, threads, row)
        self.gateway: Gateway
        self.static: Static | None = None
        """Answers requests for files; None: the vassal serves none."""
        self.log: RequestLog | None = None
        """None: requests are not logged."""
        self.ports: list[Port] = []
        self.on_scan: Callable[[float], None] = lambda _now: None
        self.on_done: Callable[[bool], None] = lambda _in_time: self.crew.stop()
        self.others_free: Callable[[], bool] = lambda: False
        """Whether another worker could take what waits."""
        self.accepting = False
        self.retiring = False
        self.grace_ends = 0.0
        self.mercy_ends = 0.0
        self.next_scan = monotonic() + SCAN
        self._accept_at = 0.0
        self._defer_until = 0.0
        self._starved = False
        self._accepted = 0
        self._own = row(None)
        self._special: dict[int, Callable[[Member], None]] = {}
        self.say_once = Complaints().say_once
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.listen_to(self._kick, self._kicked)

    # --- the leader ----------------------------------------------------------------------------------------------

    def lead(self, me: Member) -> None:  # noqa: C901, PLR0912 (the hot path: a call more costs every request)
        """Poll and act until `me` leads no more."""
        crew = self.crew
        conns = self.conns
        poll = self.epoll.poll
        kept = self.outbox.kept
        if not me.spare and self._accept_at and not self._starved:
            self._resume_accepting()
        if kept:
            self.outbox.send(me)
        while crew.leader is me:
            if crew.stopping or (me.spare and crew.idle and crew.give_back()):
                return
            events = poll(self._timeout(me), BATCH)
            me.now = now = monotonic()
            if crew.parked and events:
                crew.unpark()
            self.stamp.refresh()
            for fd, _mask in events:
                conn = conns.get(fd)
                try:
                    if conn is not None:
                        conn.turn(me)
                    else:
                        self._special_turn(fd, me)
                except Exception:  # noqa: BLE001 (an error of ours costs one connection, never the worker)
                    self.failed(conn)
                if crew.leader is not me:
                    return
            if (self.pending or crew.ready) and not self._left_over(me):
                return
            if kept:
                self.outbox.send(me)
            me.publish()
            if now >= self.next_scan or (self._accept_at and now >= self._accept_at):
                self._timers(now, me)

    def _timeout(self, me: Member) -> float:
        if self.pending or (self.crew.ready and not me.spare):
            return 0.0
        if not (self.conns or self.retiring or self._accept_at):
            self._own.counts[scoreboard.UNDER_WAY] = 0  # nobody looks again before the next client comes
            return SCAN if self.on_scan_wanted else -1.0
        until = self.next_scan if not self._accept_at else min(self.next_scan, self._accept_at)
        return max(0.0, until - monotonic())

    on_scan_wanted = False
    """Something other than connections wants `on_scan` to be called every second."""

    def _left_over(self, me: Member) -> bool:
        """Serve what needs no event: pipelined requests, and one that waits for a thread. False: the lead is lost."""
        crew = self.crew
        for _ in range(len(self.pending)):
            conn = self.pending.popleft()
            try:
                conn.resume(me)
            except Exception:  # noqa: BLE001 (see `lead`)
                self.failed(conn)
            if crew.leader is not me:
                return False
        if not me.spare:
            ready = crew.next_ready()
            if ready is not None:
                self.serve(ready, me)
        return crew.leader is me

    def serve(self, conn: Connection, me: Member) -> None:
        """Run the app for the request that `conn` holds, in the thread `me`."""
        try:
            self.gateway.serve(conn, me)
        except Exception:  # noqa: BLE001 (see `lead`)
            self.failed(conn)
        if self.crew.leader is not me:
            me.publish()

    def failed(self, conn: Connection | None) -> None:
        """Log the exception that is being handled, and give up `conn`."""
        logs.say("an error in the server itself; the connection is lost:\n" + traceback.format_exc())
        if conn is not None:
            conn.close()

    def _special_turn(self, fd: int, me: Member) -> None:
        act = self._special.get(fd)
        if act is not None:
            act(me)

    def listen_to(self, fd: int, act: Callable[[Member], None]) -> None:
        """Let the leader call `act` whenever `fd` is readable."""
        self._special[fd] = act
        self.epoll.register(fd, select.EPOLLIN)

    def ignore(self, fd: int) -> None:
        """Undo `listen_to`."""
        if self._special.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self.epoll.unregister(fd)

    def kick(self) -> None:
        """Make the leader return from its poll."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._kick, 1)

    def _kicked(self, _me: Member) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._kick)

    # --- accepting -----------------------------------------------------------------------------------------------

    def start_accepting(self) -> None:
        """Wait for clients on all ports."""
        self.accepting = True
        self._own.counts[scoreboard.ACCEPTING] = 1
        for port in self.ports:
            self.listen_to(port.sock.fileno(), self._acceptor(port))

    def _acceptor(self, port: Port) -> Callable[[Member], None]:
        def act(me: Member) -> None:
            if me.spare:
                self._defer_until = me.now + DEFER
                self._hold_off(me.now + HOLD_OFF)
                return
            # One after the other, each served before the next is taken, as long as that goes quickly.
            for _ in range(IN_A_ROW):
                if not self._accept(port, me) or self.crew.leader is not me:
                    return

        return act

    def _accept(self, port: Port, me: Member) -> bool:
        try:
            fd, address = port.sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 (accept() makes a socket.socket, which costs three times as much)
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno == errno.EINVAL:  # the emperor has shut it down: nobody comes here any more
                self.ignore(port.sock.fileno())
                return False
            if error.errno not in _NO_ROOM:
                raise
            self._starve(error, me)
            return False
        sock = socket.SocketType(port.sock.family, socket.SOCK_STREAM, 0, fd)
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        self._accepted += 1
        conn = Connection(self, port, sock, fd)
        conn.deadline = me.now + self.limits.http_timeout
        port.meet(conn, address)
        self.conns[fd] = conn
        try:
            conn.turn(me)
        except Exception:  # noqa: BLE001 (see `lead`)
            self.failed(conn)
        return True

    def take_in(self, port: Port) -> None:
        """Treat the socket of `port` as a connection that was accepted there."""
        fd = port.sock.detach()
        conn = self.conns[fd] = Connection(self, port, socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd), fd)
        conn.deadline = monotonic() + self.limits.http_timeout
        port.meet(conn, "")
        conn.turn(self.crew.main)

    def _hold_off(self, until: float) -> None:
        """Accept nothing before `until`."""
        self._accept_at = until
        for port in self.ports:
            self.ignore(port.sock.fileno())

    def _resume_accepting(self) -> None:
        self._accept_at = 0.0
        self._starved = False
        if self.accepting:
            self.start_accepting()

    def _starve(self, error: OSError, me: Member) -> None:
        """No descriptors, or no memory for sockets: go on with what we have, and let idle clients go."""
        self._starved = True
        self._hold_off(me.now + STARVED)
        fresh = me.now + self.limits.keep_alive - FRESH  # an app thread may be about to give it back
        idle = [c for c in tuple(self.conns.values()) if c.state == IDLE and not c.buffer]
        for conn in sorted((c for c in idle if not 0 <= c.deadline - fresh <= FRESH), key=lambda c: c.deadline)[:BURST]:
            conn.close()
        self.say_once(
            "accept",
            f"cannot accept a connection: {error.strerror}; {len(self.conns)} are open: raise max-fd (ulimit -n)",
        )

    def _accept_now(self, me: Member) -> None:
        """The hold-off is over: what still waits, nobody else took."""
        if me.spare and self._better_elsewhere(me.now):
            self._accept_at = me.now + HOLD_OFF
            return
        self._resume_accepting()
        if not me.spare:
            return
        for port in self.ports:
            for _ in range(BURST):
                if self._starved or not self._accept(port, me):
                    break

    def _better_elsewhere(self, now: float) -> bool:
        """Whether what waits is better left to other workers: enough waits here, one is free, or none here will be."""
        crew, limit = self.crew, self.limits.queue
        crowded = bool(limit) and (len(crew.ready) >= limit or (now < self._defer_until and self.others_free()))
        return crowded or crew.exhausted

    # --- time ----------------------------------------------------------------------------------------------------

    def _timers(self, now: float, me: Member) -> None:
        if self._accept_at and now >= self._accept_at:
            self._accept_now(me)
        if now < self.next_scan:
            return
        self.next_scan = now + (RETIRING_SCAN if self.retiring else SCAN)
        for conn in tuple(self.conns.values()):
            if now >= conn.deadline:
                try:
                    conn.expire(now, me)
                except Exception:  # noqa: BLE001 (see `lead`)
                    self.failed(conn)
        counts = self._own.counts
        counts[scoreboard.CONNECTIONS] = len(self.conns)
        counts[scoreboard.UNDER_WAY] = sum(conn.state in UNDER_WAY for conn in tuple(self.conns.values()))
        counts[scoreboard.RECEIVED] = self._accepted
        try:
            self.on_scan(now)
        except Exception:  # noqa: BLE001 (see `lead`)
            self.failed(None)
        if self.retiring:
            self._check_retired(now)

    def retire(self, now: float, mercy: float) -> None:
        """Accept no more; the worker is done when everything accepted is answered, or `mercy` seconds have passed."""
        if not self.retiring:
            self.retiring = True
            self.grace_ends = now + min(GRACE, mercy)
            self.mercy_ends = now + mercy
            self._stop_accepting()
        self.mercy_ends = min(self.mercy_ends, now + mercy)
        self.next_scan = now

    def _stop_accepting(self) -> None:
        self._hold_off(0.0)
        self.accepting = False
        self._own.counts[scoreboard.ACCEPTING] = 0
        for port in self.ports:
            port.sock.close()
        self.ports = []

    def _check_retired(self, now: float) -> None:
        for conn in tuple(self.conns.values()):  # again and again: app threads still give back what they have answered
            if conn.state == IDLE and conn.watched and not conn.buffer:
                conn.deadline = min(conn.deadline, self.grace_ends)
        if not any(not conn.doomed for conn in tuple(self.conns.values())):
            self.on_done(True)  # noqa: FBT003 (see `on_done`)
        elif now >= self.mercy_ends:
            busy = sum(conn.state in (READY, RUNNING) for conn in tuple(self.conns.values()))
            logs.say(f"mercy is over: {len(self.conns)} connections are cut, {busy} of them with a request in the app")
            self.on_done(False)  # noqa: FBT003 (see `on_done`)

    # --- words ---------------------------------------------------------------------------------------------------

    def complain(self, conn: Connection, refused: Refused) -> None:
        """Log why a client was refused, once a client and minute: a log must not be filled from outside."""
        if conn.state == HEAD and refused.status == 408:
            return  # an open connection without a request is no news
        client = conn.peer or "a client"
        self.say_once(client, f"refused a request from {client} with {refused.status}: {refused.why}")
