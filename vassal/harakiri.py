"""Harakiri: the end of a request that takes too long, and of the thread that is stuck in it.

Two sides. In the worker the ticker sees it: it logs the thread's stack, answers 504 if nothing was sent, and asks to be
replaced. Where C code holds the GIL no Python runs there, so the master does the same from outside. The one danger is
that both answer, or that an answer is mixed into one that has begun: the master stops the worker's process (SIGSTOP)
before it believes what the scoreboard says.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING

from vassal import logs, scoreboard
from vassal.heads import Stamp, error_page
from vassal.protocol import line_of

if TYPE_CHECKING:
    from vassal.connection import Connection
    from vassal.crew import Crew, Member
    from vassal.logbook.requests import RequestLog
    from vassal.scoreboard import Scoreboard

STACK_SIGNAL = signal.SIGRTMIN + 7
"""Makes a worker print all its stacks, even while C code holds the GIL. A signal that no app uses."""
MASTER_GRACE = 1.0
"""Seconds beyond the limit after which the worker's own harakiri must have happened, if Python still runs there."""
STOP_PATIENCE = 1.0
"""Seconds in which a process must have obeyed SIGSTOP (one in an uninterruptible system call does not)."""
STACK_PATIENCE = 0.05
"""Seconds for a worker to print its stacks: faulthandler writes at once, but in the other process."""
_PIDFD_GETFD = 438  # the number on every architecture (include/uapi/asm-generic/unistd.h)


def gateway_timeout() -> bytes:
    """Return the whole 504 response that ends a connection."""
    head, body = error_page(504)
    return head + Stamp().close + body


# --- the worker's side -----------------------------------------------------------------------------------------------


def prepare() -> None:
    """Let the master get this process's stacks by `STACK_SIGNAL`. Called once, in the worker's main thread."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr without a descriptor: then without stacks
        faulthandler.register(STACK_SIGNAL, file=sys.stderr.fileno(), all_threads=True)


class Harakiri:
    """The ticker's part: looks for calls beyond the limit."""

    def __init__(self, crew: Crew, limit: float) -> None:
        self.crew = crew
        self.limit = limit
        self.log: RequestLog | None = None

    def look(self, now: float) -> list[Member]:
        """Strike every call that has lasted longer than the limit; return the threads that were struck just now."""
        struck = []
        for member in tuple(self.crew.members):
            began = member.times[scoreboard.SINCE]
            if began and now - began >= self.limit and self._strike(member, now - began):
                struck.append(member)
        return struck

    def _strike(self, member: Member, took: float) -> bool:
        with self.crew.lock:
            conn = member.serving
            if conn is None or conn.doomed or conn in member.claim:  # still leading: the ticker takes the lead first
                return False
            conn.doomed = True
            data = b"" if conn.sent else gateway_timeout()
            what, stack = _what(conn), stack_of(member)
            # The thread that is stuck owns the connection, and only it may close; `conn.doomed` keeps it from sending.
            # Under the lock: should it come back just now, it would close, and the number may be another client's.
            with contextlib.suppress(OSError):
                if data:
                    conn.sock.send(data, socket.MSG_NOSIGNAL)
                conn.sock.shutdown(socket.SHUT_WR if data else socket.SHUT_RDWR)
            if self.log is not None:
                self.log.struck(conn, member, took, data)
        self.crew.struck = True
        member.counts[scoreboard.HARAKIRI] += 1
        logs.say(f"harakiri: {what} has been in the app for {took:.1f} s\n{stack}")
        return True


def _what(conn: Connection) -> str:
    request = conn.request
    if request is None:
        return "a request"
    return line_of(request.environ)


def stack_of(member: Member) -> str:
    """Return the Python stack of the thread of `member`, innermost call last."""
    frame = sys._current_frames().get(member.ident)  # noqa: SLF001 (the documented way, in spite of its name)
    if frame is None:
        return "(its thread has ended)"
    return "".join(traceback.format_stack(frame)).rstrip()


# --- the master's side -----------------------------------------------------------------------------------------------


def overdue(board: Scoreboard, number: int, now: float, limit: float) -> bool:
    """Tell whether worker `number` has a call beyond `limit` seconds and its own harakiri did not see to it.

    Args:
        board: the scoreboard.
        number: the worker's, from 1.
        now: CLOCK_MONOTONIC, seconds.
        limit: the harakiri option, seconds; 0: never.
    """
    if not limit:
        return False
    view = board.worker(number)
    late = [busy for busy in view.busy if now - busy.since >= limit + MASTER_GRACE]
    return any(board.row(number, busy.thread).counts[scoreboard.HARAKIRI] == 0 for busy in late)


def execute(board: Scoreboard, number: int, pidfd: int, now: float, limit: float) -> int:
    """End worker `number`, whose GIL is held: answer 504 to whom nothing was sent, log its stacks, SIGKILL.

    Blocks for about `STACK_PATIENCE`, at most `STOP_PATIENCE` longer.

    Returns:
        How many clients were answered.
    """
    pid = board.worker(number).pid
    answered = 0
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        if _wait_stopped(pid):
            for busy in board.worker(number).busy:
                cells = board.row(number, busy.thread).counts
                if now - busy.since >= limit and cells[scoreboard.STATE] == scoreboard.NOTHING_SENT:
                    answered += _answer(pidfd, cells[scoreboard.SOCKET] - 1)
        # Only now: the signal may wake what was stuck, and by now it cannot send to that client any more.
        signal.pidfd_send_signal(pidfd, STACK_SIGNAL)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        time.sleep(STACK_PATIENCE)
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return answered


def _wait_stopped(pid: int) -> bool:
    end = time.monotonic() + STOP_PATIENCE
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
        except OSError:
            return False
        if state in (b"T", b"t"):
            return True
        if state == b"Z":
            return False
        time.sleep(0.002)
    return False


def _answer(pidfd: int, fd: int) -> bool:
    """Send a 504 through the stopped worker's own socket (pidfd_getfd(2): allowed for our own children)."""
    if fd < 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    mine = libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    if mine < 0:
        return False
    with socket.socket(fileno=mine) as sock:
        try:
            sock.send(gateway_timeout(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True
