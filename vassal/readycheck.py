"""The health gate: a new generation is asked one request before it calls itself ready (``ready-check``).

Its first worker gets one end of a socket pair as if it were a client's connection, so no other generation can answer,
and nobody else can connect. The one danger is an answer that never comes: the caller holds a deadline.
"""

from __future__ import annotations

import re
import socket

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_ENOUGH = 64
"""Bytes in which a status line has shown its code."""


class ReadyCheck:
    """One request for `what`: a path, or ``http://HOST/PATH`` for apps that look at the Host header.

    `worker` is the end for the first worker; `sock` ours, non-blocking.
    """

    def __init__(self, what: str, timeout: float) -> None:
        self.what = what
        self.timeout = timeout
        self.sock, self.worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        self._answer = b""

    def ask(self) -> None:
        """Send the request; it fits into an empty socket buffer."""
        host, path = "localhost", self.what
        if path.startswith("http://"):
            host, slash, rest = path[7:].partition("/")
            path = slash + rest or "/"
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: emperor-ready-check\r\nConnection: close\r\n\r\n"
        self.sock.sendall(head.encode("latin-1", "replace"))

    def hear(self) -> str | None:
        """Read what has come. Return '' if the answer is good, None if it is not complete, or why it is not good."""
        try:
            data = self.sock.recv(_ENOUGH)
        except BlockingIOError:
            return None
        except OSError as error:
            return f"{self.what} was not answered: {error.strerror}"
        self._answer += data
        found = _STATUS.match(self._answer)
        if found:
            return "" if found[1][:1] in (b"2", b"3") else f"{self.what} was answered with {found[1].decode()}"
        if not data or len(self._answer) >= _ENOUGH:
            return f"{self.what} was not answered in HTTP"
        return None

    def close(self) -> None:
        """Hang up."""
        self.sock.close()
        self.worker.close()
