"""Where lines go: files, pipes, sockets, syslog, the journal. Whole lines, without ever waiting for whoever takes them.

The one danger is a worker that stands still because a disk is full, a pipe is not read or a syslog daemon hangs. So
nothing here blocks or raises: what is not taken at once is lost, and counted; `Sink.take_losses` says how much.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vassal.logbook.specs import Spec

PIPE_BUF = select.PIPE_BUF
"""Bytes that a pipe takes as a whole or not at all (pipe(7))."""
RETRY = 5.0
"""Seconds between two tries to reach a socket that nobody listens on."""
SYSLOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"
DATAGRAM = 60_000
"""Bytes of one message, at most; what is longer is cut."""


class Sink:
    """Takes lines. `label` is its name for people, `name` for routes."""

    def __init__(self, label: str, name: str = "") -> None:
        self.label = label
        self.name = name
        self.lost = 0
        """Lines that were not taken since they were told of."""
        self.why = ""

    def write(self, data: bytes, lines: int) -> None:
        """Take `data`, which is so many whole lines."""
        raise NotImplementedError

    def lose(self, lines: int, error: OSError) -> None:
        """Count lines that were not taken."""
        self.lost += lines
        self.why = error.strerror or str(error)

    def take_losses(self) -> tuple[int, str]:
        """Return how many lines were lost since the last call, and why the last one was."""
        lost, self.lost = self.lost, 0
        return lost, self.why


class DescriptorSink(Sink):
    """A descriptor that others write to as well: a file opened for appending, a pipe, a terminal, a stream socket.

    Pipes and terminals must not block: see `vassal.logs.twin`.
    """

    def __init__(self, label: str, fd: int, name: str = "") -> None:
        super().__init__(label, name)
        self.fd = fd
        self._torn = False
        """The last line was taken in part: the next one must begin behind it."""
        self._sock: socket.socket | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look at the descriptor again: it may have been replaced by something else."""
        mode = os.fstat(self.fd).st_mode
        self._file = stat.S_ISREG(mode)
        self._pipe = stat.S_ISFIFO(mode)
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._stream = stat.S_ISSOCK(mode)
        self._waits = not (self._file or self._stream) and os.get_blocking(self.fd)

    def write(self, data: bytes, lines: int) -> None:
        """Take `data` in one write, or as many as a pipe needs to keep lines whole."""
        if self._torn:
            data = b"\n" + data
        if self._file or len(data) <= PIPE_BUF or not self._pipe:
            self._write(data, lines)
            return
        start = 0
        while start < len(data):
            end = len(data)
            if end - start > PIPE_BUF:
                end = data.rfind(b"\n", start, start + PIPE_BUF) + 1 or data.find(b"\n", start) + 1 or len(data)
            self._write(data[start:end], data.count(b"\n", start, end))
            start = end

    def _write(self, data: bytes, lines: int) -> None:
        try:
            if self._stream:
                if self._sock is None:
                    self._sock = socket.socket(fileno=os.dup(self.fd))
                sent = self._sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            elif self._waits and not select.select((), (self.fd,), (), 0)[1]:
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            else:
                sent = os.write(self.fd, data)
        except BlockingIOError:
            self.lose(lines, OSError(errno.EAGAIN, "nobody reads it"))
            return
        except OSError as error:
            self.lose(lines, error)
            return
        self._torn = sent < len(data)
        if self._torn:
            self.lose(max(1, lines - data.count(b"\n", 0, sent)), OSError(errno.ENOSPC, "it took only a part"))
            self._torn = not data[:sent].endswith(b"\n")


class DatagramSink(Sink):
    """A socket that takes a line in each datagram: ``socket:``, ``rsyslog:``, ``syslog:`` and ``systemd``."""

    def __init__(self, label: str, target: str, name: str = "") -> None:
        super().__init__(label, name)
        self._target = target
        self._sock: socket.socket | None = None
        self._retry_at = 0.0

    def write(self, data: bytes, lines: int) -> None:
        """Send each line by itself."""
        for line in data.splitlines(keepends=True) if lines > 1 else (data,):
            self.send(line.removesuffix(b"\n"))

    def send(self, line: bytes) -> None:
        """Send one line."""
        try:
            self._connected().send(self.message(line), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.lose(1, OSError(errno.EAGAIN, "nobody reads it"))
        except OSError as error:
            self.lose(1, error)
            # A stream or UNIX socket whose listener has gone must be looked for anew.
            if error.errno in (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE):
                self.close()

    def _connected(self) -> socket.socket:
        if self._sock is not None:
            return self._sock
        now = time.monotonic()
        if now < self._retry_at:
            raise OSError(errno.ENOTCONN, self.why or "nobody listens there")
        try:
            self._sock = _connect(self._target)
        except OSError:
            self._retry_at = now + RETRY
            raise
        return self._sock

    def close(self) -> None:
        """Close the socket; the next line opens it anew."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def message(self, line: bytes) -> bytes:
        """Return the datagram for a line."""
        return line[:DATAGRAM]


def _connect(target: str) -> socket.socket:
    """Return a datagram socket to ``HOST:PORT``, a path or ``@NAME``.

    Raises:
        OSError: nobody is there.
    """
    if "/" in target or target.startswith("@"):
        family: int = socket.AF_UNIX
        address: Any = f"\0{target[1:]}" if target.startswith("@") else target
    else:
        host, _, port = target.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, address = found[0][0], found[0][4]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class SocketSink(DatagramSink):
    """``socket:HOST:PORT[,PREFIX]`` and ``socket:PATH``: the bare line."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(f"socket:{spec.target}", spec.target, spec.name)
        self._prefix = spec.tag.encode()

    def message(self, line: bytes) -> bytes:
        """Return the datagram for a line."""
        return (self._prefix + line)[:DATAGRAM]


class SyslogSink(DatagramSink):
    """``syslog:[TAG][,FACILITY]`` at /dev/log, ``rsyslog:HOST:PORT[,TAG[,PRIORITY]]`` elsewhere (RFC 3164)."""

    def __init__(self, spec: Spec, who: str) -> None:
        local = spec.kind == "syslog"
        super().__init__("syslog" if local else f"rsyslog:{spec.target}", spec.target or SYSLOG, spec.name)
        self._priority = spec.priority
        host = "" if local else f"{socket.gethostname()} "
        tag = spec.tag or who
        self._head = f"{host}{tag}[{os.getpid()}]: ".encode() if local else f"{host}{tag}: ".encode()

    def message(self, line: bytes) -> bytes:
        """Return the datagram for a line."""
        stamp = time.strftime("%b %e %H:%M:%S").encode()
        return (b"<%d>%b %b" % (self._priority, stamp, self._head) + line)[:DATAGRAM]


class JournalSink(DatagramSink):
    """``systemd``: the journal's own protocol (systemd's Native Journal Protocol), one entry a line."""

    def __init__(self, spec: Spec, who: str) -> None:
        super().__init__("systemd", JOURNAL, spec.name)
        self._head = f"PRIORITY=6\nSYSLOG_IDENTIFIER={who}\nMESSAGE=".encode()

    def message(self, line: bytes) -> bytes:
        """Return the datagram for a line."""
        return self._head + line[:DATAGRAM].replace(b"\n", b" ") + b"\n"


def write_all(sinks: Sequence[Sink], data: bytes, lines: int) -> None:
    """Give `data` to all of `sinks`."""
    for sink in sinks:
        with contextlib.suppress(OSError):  # none is raised; a log must not end a request all the same
            sink.write(data, lines)
