"""Threads that close descriptors, because closing one that a vassal made can block for as long as its owner likes.

(A socket with SO_LINGER and unsent data: measured, 4 s; a file of a tenant's own FUSE.) The one danger is that such a
close delays somebody else's: so each owner has a queue of its own and at most one thread, which lasts as long as it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections import deque

_ABORT = struct.pack("ii", 1, 0)
"""``struct linger`` (socket(7)): close at once and discard what is unsent."""


class Closer:
    """Closes descriptors in the background."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[int]] = {}
        """Per owner, what its thread has still to close; an owner without a thread is not in it."""

    def close(self, descriptor: int, owner: str = "") -> None:
        """Close `descriptor` soon; from any thread, never blocks. `owner`: the vassal that it may have come from."""
        if descriptor < 0:
            return
        with self._lock:
            running = owner in self._waiting
            self._waiting.setdefault(owner, deque()).append(descriptor)
            if running:
                return
        try:
            threading.Thread(target=self._run, args=(owner,), name=f"closer {owner}", daemon=True).start()
        except RuntimeError:  # no thread to be had: rather a close that may block than a leak
            self._run(owner)

    def _run(self, owner: str) -> None:
        while True:
            with self._lock:
                if not self._waiting[owner]:
                    del self._waiting[owner]
                    return
                descriptor = self._waiting[owner].popleft()
            _discard_unsent(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _discard_unsent(descriptor: int) -> None:
    """Take a connection's SO_LINGER away. A listener keeps it: others serve it, and its connections inherit it."""
    with contextlib.suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        try:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        finally:
            sock.detach()
