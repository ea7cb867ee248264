"""What is still to be sent to one client: bytes, a spooled file, a part of a file for ``sendfile``.

Made only when a client does not take a response at once. The app thread that produces and the leader that sends may
both be here, so everything happens under `lock`. The one danger is memory: what a slow client leaves lying goes to a
temporary file beyond a mebibyte, and a producer that gets too far ahead of its client waits.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import IO

IN_MEMORY = 1024 * 1024
"""Bytes of a streamed response kept in memory for a client that reads slowly."""
SPOOL_LIMIT = 128 * 1024 * 1024
"""Bytes of the spool file. Once it has grown to this, its producer waits until all of it is sent."""
TURN = 1024 * 1024
"""Bytes sent to one client before the others get their turn."""


class FileSpan:
    """`left` bytes of the descriptor `fd`, from `offset`. It owns `fd`."""

    __slots__ = ("fd", "left", "offset")

    def __init__(self, fd: int, offset: int, left: int) -> None:
        self.fd = fd
        self.offset = offset
        self.left = left

    def send(self, out: int, most: int) -> int:
        """Send up to `most` bytes to the socket `out`.

        Raises:
            BlockingIOError: the client takes no more for now.
            EOFError: the file has become shorter.
            OSError: the client is gone.
        """
        sent = os.sendfile(out, self.fd, self.offset, min(self.left, most))
        if not sent:
            raise EOFError("the file became shorter while it was sent")
        self.offset += sent
        self.left -= sent
        return sent

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Out:
    """Unsent output of one response, in order."""

    __slots__ = ("_memory", "_parts", "_spool", "_spooled", "broken", "done", "keep", "linger", "lock", "moved", "over")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.moved = threading.Condition(self.lock)
        """Notified when output has gone out or never will."""
        self.done = False
        """The producer has finished: the loop owns the connection."""
        self.over = False
        """All is sent or given up, and whoever set this goes on with the connection."""
        self.broken = False
        """The client is gone or does not read."""
        self.keep = False
        """What happens to the connection when all is sent: keep it."""
        self.linger = False
        self._parts: deque[memoryview | FileSpan] = deque()
        self._memory = 0
        self._spool: IO[bytes] | None = None
        self._spooled: FileSpan | None = None

    @property
    def empty(self) -> bool:
        """Nothing is left to send."""
        return not self._parts

    @property
    def full(self) -> bool:
        """The producer must wait."""
        spooled = self._spooled
        return spooled is not None and spooled.offset + spooled.left >= SPOOL_LIMIT

    def put_whole(self, data: memoryview) -> None:
        """Append bytes that the app holds anyway: spooling them would save nothing."""
        self._parts.append(data)
        self._memory += len(data)

    def put_file(self, span: FileSpan) -> None:
        """Append a part of a file."""
        self._parts.append(span)

    def put(self, data: bytes | memoryview) -> None:
        """Append streamed bytes; the spool takes what the memory should not.

        Raises:
            OSError: the temporary file cannot be written.
        """
        if self._spooled is None and self._memory + len(data) <= IN_MEMORY:
            self._parts.append(memoryview(data))
            self._memory += len(data)
            return
        if self._spool is None:
            import tempfile  # noqa: PLC0415 (few answers need it, every vassal would hold it)

            self._spool = tempfile.TemporaryFile(prefix="vassal-out-", buffering=0)  # noqa: SIM115 (see `close`)
        if self._spooled is None:
            self._spool.seek(0)
            self._spool.truncate()
            self._spooled = FileSpan(os.dup(self._spool.fileno()), 0, 0)
            self._parts.append(self._spooled)
        view = memoryview(data)
        while view:
            written = self._spool.write(view) or 0
            self._spooled.left += written
            view = view[written:]

    def flush(self, sock: socket.SocketType, fd: int) -> int:
        """Send what the client takes, at most about `TURN`; return the bytes sent.

        Raises:
            OSError: the client is gone.
            EOFError: a file became shorter.
        """
        total = 0
        parts = self._parts
        while parts and total < TURN:
            part = parts[0]
            try:
                if isinstance(part, FileSpan):
                    sent = part.send(fd, TURN)
                    done = not part.left
                else:
                    # A head before a file waits for its first bytes, and travels in one packet with them.
                    more = socket.MSG_MORE if len(parts) > 1 else 0
                    sent = sock.send(part, socket.MSG_NOSIGNAL | more)
                    done = sent == len(part)
            except BlockingIOError:
                break
            total += sent
            if done:
                self._drop(parts.popleft())
            elif not isinstance(part, FileSpan):
                parts[0] = part[sent:]
            if not isinstance(part, FileSpan):
                self._memory -= sent
        if total:
            self.moved.notify_all()
        return total

    def _drop(self, part: memoryview | FileSpan) -> None:
        if isinstance(part, FileSpan):
            part.close()
            if part is self._spooled:
                self._spooled = None

    def close(self) -> None:
        """Give up everything that is left."""
        for part in self._parts:
            if isinstance(part, FileSpan):
                part.close()
        self._parts.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
