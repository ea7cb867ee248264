"""Small responses that wait for the end of the leader's turn, so that one wake-up of a client serves many of them.

Where an app is slower than whoever asks (a proxy, a load generator), that peer sleeps, and each send has to wake it:
20 microseconds here, more than all else that a small request costs. Sent one after the other, a turn's responses wake
it once. The one danger is a response that waits while something takes long. So only the leader keeps any, and only
while the app's calls are quick; who takes the lead sends them first; and none waits longer than `PATIENCE` for others.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from vassal.client import EPOLLIN, IDLE
from vassal.out import Out

if TYPE_CHECKING:
    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.loop import Loop

LARGEST = 65536
"""Bytes of a response that may wait; a larger one wakes its client for good reason."""
PATIENCE = 0.0005
"""Seconds for which the first of them waits for others, not counting the call that is just running."""
QUICK = 0.001
"""Mean seconds of an app's calls up to which its responses may wait; one such call is not worth measuring."""
MSG_NOSIGNAL = socket.MSG_NOSIGNAL


class Outbox:
    """Complete responses, each with its connection. Only the leader touches it."""

    __slots__ = ("_loop", "_since", "kept")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._since = 0.0
        self.kept: list[tuple[Connection, bytes, bool, bool]] = []

    def put(self, conn: Connection, data: bytes, me: Member, *, keep: bool, linger: bool) -> None:
        """Keep `data`, all of the response on `conn`, for the end of the turn. `keep`, `linger`: see `finish` there."""
        kept = self.kept
        if not kept:
            self._since = me.now
        conn.request = None  # the app may have hung much on its environ
        kept.append((conn, data, keep, linger))
        if me.now - self._since > PATIENCE:
            self.send(me)

    def send(self, me: Member) -> None:
        """Send all that was kept."""
        kept = self.kept
        for conn, data, keep, linger in kept:
            try:
                self.deliver(conn, data, me, keep=keep, linger=linger)
            except Exception:  # noqa: BLE001 (see `Loop.lead`: an error of ours costs one connection)
                self._loop.failed(conn)
        kept.clear()

    def deliver(self, conn: Connection, data: bytes, me: Member, *, keep: bool, linger: bool) -> None:
        """Send `data`, all of the response on `conn`, now; the loop sends what the client does not take at once."""
        try:
            sent = conn.sock.send(data, MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            conn.close()
            return
        me.tx += sent
        if sent < len(data):
            out = Out()
            out.put_whole(memoryview(data)[sent:])
            conn.send_later(me, out, keep=keep, linger=linger)
        elif keep and not conn.buffer and conn.body is None and not self._loop.retiring and conn.entry is None:
            # What `Connection.finish` does, for the common case.
            conn.request = None
            conn.sent = False
            conn.deadline = me.now + self._loop.limits.keep_alive
            conn.state = IDLE
            if conn.watched != EPOLLIN:
                conn.watch(EPOLLIN)
        else:
            conn.finish(me, keep=keep, linger=linger)
