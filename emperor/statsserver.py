"""Answers whoever connects to the address of `emperor-stats`, on the emperor's loop.

The one danger is a reader that does not read, or a fleet so large that telling of it takes long. So a conversation ends
after `PATIENCE` seconds, there are at most `READERS`, and the text is made in pieces, between which the loop turns, and
only so often that it takes a twentieth of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import traceback
from typing import TYPE_CHECKING

from emperor import stats
from emperor.journal import say
from vassal import net

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READERS = 32
"""Conversations at once; one more ends the oldest, which has had its time."""
PATIENCE = 10.0
"""Seconds for a whole conversation."""
LINGER = 1.0
"""Seconds for the client to close after it has the answer: a close with something unread would take the answer back."""
FRESH = 0.5
"""Seconds for which an answer is good for the next reader, too, at least."""
SHARE = 20
"""An answer is good for so many times what making it took."""
AGAIN = 1.0
"""Seconds until connections are accepted again, after the machine was short of descriptors or memory."""
HEAD_LIMIT = 8192
"""Bytes of an HTTP request's head, and of whatever else a client sends."""
BACKLOG = 64


class StatsError(Exception):
    """The address cannot be used; the message says which and why."""


class StatsServer:
    """Serves `address` with what `answer` returns; `http`: after a request, with a head."""

    def __init__(
        self, address: str, answer: Callable[[], Awaitable[bytes]], *, http: bool = False, mode: int | None = None
    ) -> None:
        self._text = address
        self._answer = answer
        self._http = http
        self._mode = mode
        self._address: net.Address | None = None
        self._inode = ""
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._readers: dict[asyncio.Task[None], None] = {}
        self._making: asyncio.Task[bytes] | None = None
        self._made = (float("-inf"), b"")

    def start(self) -> None:
        """Bind, listen, and answer from now on.

        Raises:
            StatsError: the address cannot be used.
        """
        try:
            self._address = net.parse(self._text, "/")
            self._listener = net.bind(self._address, net.BindOptions(wait=False), self._mode)
            self._inode = net.inode_of(self._address)
            net.listen(self._listener, BACKLOG, self._address.key)
        except net.AddressError as error:
            self._shut()
            raise StatsError(f"emperor-stats: {error}") from None
        self._listener.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._listener))

    async def close(self) -> None:
        """Answer nobody any more, and remove the socket."""
        tasks = [task for task in (self._accepting, self._making, *self._readers) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._shut()

    def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._address is not None and self._inode and net.inode_of(self._address) == self._inode:
            with contextlib.suppress(OSError):
                os.unlink(self._address.path)

    # --- conversations -------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(AGAIN)
                continue
            if len(self._readers) >= READERS:
                oldest = next(iter(self._readers))
                del self._readers[oldest]
                oldest.cancel()
            task = loop.create_task(self._converse(sock))
            self._readers[task] = None
            task.add_done_callback(functools.partial(self._left, sock))
            await asyncio.sleep(0)  # others first: a crowd would have every turn

    def _left(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._readers.pop(task, None)
        sock.close()  # here: a task that is cancelled before its first step never runs

    async def _converse(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                head = await _request(sock) if self._http else b""
                if head is None:
                    return
                answer = await self._told()
                if self._http:
                    answer = stats.with_head(answer, head_only=head.startswith(b"HEAD "))
                await loop.sock_sendall(sock, answer)
                sock.shutdown(socket.SHUT_WR)
                async with asyncio.timeout(LINGER):
                    await _drain(sock)

    async def _told(self) -> bytes:
        """Return an answer that is fresh enough; those who ask meanwhile wait for the same one."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._made[0]:
            return self._made[1]
        if self._making is None or self._making.done():
            self._making = loop.create_task(self._make())
        return await asyncio.shield(self._making)

    async def _make(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self._answer()
        except Exception:  # noqa: BLE001 (a mistake in what is told is no reason to leave readers hanging)
            say("statistics cannot be told:\n" + traceback.format_exc())
            answer = b"{}"
        took = loop.time() - began
        self._made = (loop.time() + max(FRESH, SHARE * took), answer)
        return answer


async def _request(sock: socket.socket) -> bytes | None:
    """Return the head of an HTTP request, None where there is none."""
    loop = asyncio.get_running_loop()
    received = b""
    while b"\r\n\r\n" not in received and b"\n\n" not in received:
        data = await loop.sock_recv(sock, HEAD_LIMIT)
        received += data
        if not data or len(received) > HEAD_LIMIT:
            return None
    return received


async def _drain(sock: socket.socket) -> None:
    """Take what comes until the client closes, within reason."""
    loop = asyncio.get_running_loop()
    left = HEAD_LIMIT
    while left > 0 and (data := await loop.sock_recv(sock, HEAD_LIMIT)):
        left -= len(data)
