"""The socket of one client: waiting on it, ending it, closing it.

The one danger is a descriptor's number: as soon as it is closed, a new connection may bear it. So only the owner of a
connection closes it, everybody else at most shuts it down, and it is out of every table before it is closed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vassal.crew import Member
    from vassal.loop import Loop

IDLE, HEAD, BODY, READY, RUNNING, SENDING, LINGER, CLOSED = range(8)
"""Waits for a request's first byte; for the rest of its head; for its body; for a thread. Is in the app; is being
sent; is over, but the client may still send; is closed."""

UNDER_WAY = frozenset({BODY, READY, RUNNING, SENDING})
"""States of a connection on which somebody waits for an answer, or for the rest of one."""

RECEIVE_BODY = 262144
"""Bytes asked from the kernel at once, where much may come."""
LINGER_SECONDS = 2.0
"""How long a client whose connection we end may go on sending. A close would reset it, and the reset may overtake the
response (RFC 9112 section 9.6)."""
LINGER_BYTES = 64 * 1024 * 1024

EPOLLIN = select.EPOLLIN
EPOLLOUT = select.EPOLLOUT
_RESET = struct.pack("ii", 1, 0)


class Client:
    """A client's socket and what it waits for."""

    __slots__ = ("buffer", "deadline", "drained", "fd", "loop", "peer", "sock", "state", "watched")

    def __init__(self, loop: Loop, sock: socket.SocketType, fd: int) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = fd
        self.peer = ""
        """Its address for people and for trust; ``""`` on a UNIX socket."""
        self.buffer = b""
        """What was received and not yet read as a request."""
        self.state = IDLE
        self.deadline = 0.0
        """CLOCK_MONOTONIC seconds, looked at while the loop owns the connection."""
        self.watched = 0
        self.drained = 0

    def watch(self, mask: int) -> None:
        """Wait for `mask`, 0 for nothing. The last step of whoever gives the connection to the loop.

        Raises:
            OSError: the kernel takes no more watches.
        """
        before = self.watched
        if mask == before:
            return
        self.watched = mask
        epoll = self.loop.epoll
        if not before:
            epoll.register(self.fd, mask)
        elif mask:
            epoll.modify(self.fd, mask)
        else:
            epoll.unregister(self.fd)

    def end(self, me: Member, *, linger: bool) -> None:
        """End the connection; with `linger` read until the client stops sending, at most two seconds."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            linger = False
        if not linger:
            self.close()
            return
        self.buffer = b""
        self.drained = 0
        self.deadline = me.now + LINGER_SECONDS
        self.state = LINGER
        self.watch(EPOLLIN)

    def receive_rest(self) -> None:
        """Read and forget what the client still sends; close when it stops."""
        try:
            data = self.sock.recv(RECEIVE_BODY)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.drained += len(data)
        if not data or self.drained > LINGER_BYTES:
            self.close()

    def abort(self) -> None:
        """Close by a reset, so that a response cut short does not look complete."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        """Close the socket and forget the connection. Only the owner calls this."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.loop.conns.pop(self.fd, None)
        if self.watched:
            with contextlib.suppress(OSError):
                self.watch(0)
        self.release()
        self.sock.close()

    def release(self) -> None:
        """Give up what the connection holds beside its socket."""
