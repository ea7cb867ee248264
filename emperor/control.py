"""The control socket: `emperor status`, `reload` and their like talk to a running emperor here.

One JSON object a line, one answer a line: `{"command": "status", "names": null}` is answered by
`{"ok": true, "result": ...}` or `{"ok": false, "kind": "unknown-vassal", "error": "..."}`.

The danger here: whoever may write to this socket commands the fleet. It is made with mode 0600, the peer's uid is asked
of the kernel for each connection, and two emperors can never share one: a lock beside it is held for life.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from emperor.claim import ControlError, ControlInUse, is_held, is_there, lock, remove_stale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ControlError",
    "ControlInUse",
    "ControlServer",
    "Handler",
    "NoEmperor",
    "Outcome",
    "UnknownVassal",
    "answer_to",
    "default_path",
    "peer_uid",
]

LINE_LIMIT = 256 * 1024  # bytes of one request: some thousand names
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of one answer, as the client takes it
CONNECTIONS = 128  # a deployment that reloads many vassals side by side holds one for each
PATIENCE = 10.0  # s; for a whole request to arrive, and for an answer to be taken
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)
ANYBODY = -1  # in place of a uid
SYSTEM_PATH = "/run/emperor/control.sock"


class NoEmperor(ControlError):  # noqa: N818  # named for what the person at the prompt has: none
    """No emperor answers on that socket."""


class UnknownVassal(LookupError):  # noqa: N818  # part of the handler's contract
    """There is no vassal of that name.

    Args:
        name: What was asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no vassal is called {name!r}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one vassal that was told to do something.

    Attributes:
        name: The vassal.
        ok: Whether it did.
        generation: The generation that serves now, or None.
        text: One line for people.
    """

    name: str
    ok: bool
    generation: int | None
    text: str


class Handler(Protocol):
    """What the emperor does for the control socket. Names that do not exist raise `UnknownVassal`."""

    async def status(self, names: Sequence[str] | None) -> list[dict[str, Any]]:
        """Facts about these vassals, or all."""

    async def reload(self, names: Sequence[str] | None, *, wait: bool, strategy: str | None) -> list[Outcome]:
        """Reload these vassals, or all; cancelled when the client leaves, which must not undo the reload."""

    async def stop(self, names: Sequence[str]) -> list[Outcome]:
        """Stop these vassals and hold them."""

    async def start(self, names: Sequence[str]) -> list[Outcome]:
        """Let these vassals go again."""

    async def reopen_logs(self, names: Sequence[str] | None) -> list[Outcome]:
        """Let these vassals, or all and the emperor itself, open their log files again."""

    def log_place(self, name: str) -> tuple[str, int] | None:
        """The file that holds a vassal's log, or None where that is the emperor's own output.

        With it comes the uid of who may be trusted with opening it: a file that the vassal has named is to be opened
        with the vassal's rights. `ANYBODY`: the emperor has named it.
        """


def default_path(environ: Mapping[str, str], *, serving: bool) -> str:
    """Where the control socket is unless somebody said otherwise.

    Args:
        environ: EMPEROR_CONTROL, then XDG_RUNTIME_DIR count.
        serving: True for the emperor itself, False for who wants to talk to one.

    Raises:
        ControlError: If there is no good place.
    """
    if given := environ.get("EMPEROR_CONTROL"):
        return given
    if os.geteuid() == 0:
        return SYSTEM_PATH
    # An emperor of root's that we may not talk to anyway must not hide our own.
    reachable = os.path.dirname(SYSTEM_PATH) if serving else SYSTEM_PATH
    if os.access(reachable, os.W_OK):
        return SYSTEM_PATH
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    own = os.path.join(runtime, "emperor", "control.sock")
    if not serving:
        # Who has none of their own means root's, most likely, and is told there whom it obeys, or that it is not there.
        roots = os.path.lexists(SYSTEM_PATH) or not os.path.isdir(runtime)
        return SYSTEM_PATH if roots and not os.path.lexists(own) else own
    if not os.path.isdir(runtime):
        raise ControlError(f"no place for the control socket ({runtime} does not exist): give --control PATH")
    return own


class ControlServer:
    """Serves the control socket.

    Args:
        path: Where; its directory is made if only that is missing.
        handler: Who answers.
        connections: How many clients at once; more are told that the emperor is busy.
        patience: Seconds for a request to arrive and for an answer to be taken.
    """

    def __init__(
        self, path: str, handler: Handler, *, connections: int = CONNECTIONS, patience: float = PATIENCE
    ) -> None:
        self.path = os.path.abspath(path)
        self._handler = handler
        self._connections = connections
        self._patience = patience
        self._lock_fd = -1
        self._identity: tuple[int, int] | None = None
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Lock, bind and listen.

        Raises:
            ControlInUse: If another emperor has it; nothing was changed then.
            ControlError: If the path cannot be used.
        """
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self.path), 0o755)
            self._lock_fd = lock(self.path)
            listener = self._bind()
        except OSError as error:
            self._unlock()
            reason = error.strerror or str(error)
            raise ControlError(f"cannot make the control socket {self.path}: {reason}; give --control PATH") from error
        except ControlError:
            self._unlock()
            raise
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LINE_LIMIT)

    async def renew(self) -> bool:
        """Make the socket anew where somebody has removed it; return whether that was done.

        With a user's last session systemd removes their runtime directory, in which the socket of their emperor lies.
        """
        former = self._server
        if former is None or is_there(self.path):
            return False
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self.path), 0o755)
            if not is_held(self.path, self._lock_fd):
                fresh = lock(self.path)
                os.close(self._lock_fd)
                self._lock_fd = fresh
            listener = self._bind()
        except (OSError, ControlError):
            return False  # there is no such directory, or another emperor has it: the next look may find it changed
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LINE_LIMIT)
        former.close()
        return True

    async def close(self) -> None:
        """End all conversations and remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=1.0)
        with contextlib.suppress(OSError):
            facts = os.lstat(self.path)
            if (facts.st_dev, facts.st_ino) == self._identity:
                os.unlink(self.path)
        self._unlock()

    def _bind(self) -> socket.socket:
        remove_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before bind: the socket's file never has another mode
            listener.bind(self.path)
            facts = os.lstat(self.path)
            self._identity = (facts.st_dev, facts.st_ino)
            listener.listen(self._connections)
            listener.setblocking(False)  # noqa: FBT003  # the method takes it by position only
        except BaseException:
            listener.close()
            raise
        return listener

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            with contextlib.suppress(OSError):
                if is_held(self.path, self._lock_fd):
                    os.unlink(self.path + ".lock")  # while we hold it: who waits for it looks whether it is still there
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._clients.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it left, it was too slow, or the emperor ends: nothing to tell anybody
        finally:
            if task is not None:
                self._clients.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in (0, os.geteuid()):
            await self._send(writer, _refusal("forbidden", "only root and the emperor's own user may command it"))
            return
        if len(self._clients) > self._connections:
            await self._send(writer, _refusal("busy", "too many clients on the control socket; try again"))
            return
        writer.transport.set_write_buffer_limits(high=0)  # drain() then means: the kernel has taken all
        upcoming = asyncio.ensure_future(reader.readuntil(b"\n"))
        try:
            while True:
                try:
                    line = await asyncio.wait_for(asyncio.shield(upcoming), self._patience)
                except asyncio.LimitOverrunError:
                    await self._send(writer, _refusal("bad-request", f"a request is at most {LINE_LIMIT} bytes"))
                    return
                upcoming = asyncio.ensure_future(reader.readuntil(b"\n"))  # also tells when the client leaves
                answer = await self._unless_left(line, upcoming)
                if answer is None:
                    return
                await self._send(writer, answer)
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _unless_left(self, line: bytes, upcoming: asyncio.Future[bytes]) -> dict[str, Any] | None:
        """The answer to one request; None if the client left before it was ready."""
        work = asyncio.ensure_future(answer_to(self._handler, line))
        try:
            await asyncio.wait((work, upcoming), return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not upcoming.cancelled() and upcoming.exception() is None:
                await work  # it sent its next request already
            return work.result() if work.done() else None
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _send(self, writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
        writer.write(json.dumps(answer).encode() + b"\n")
        await asyncio.wait_for(writer.drain(), self._patience)


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that connected (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)


async def answer_to(handler: Handler, line: bytes) -> dict[str, Any]:
    """Do what one request line asks; never raises but for cancellation."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return _refusal("bad-request", "a request is one JSON object a line")
    if not isinstance(request, dict):
        return _refusal("bad-request", "a request is one JSON object a line")
    try:
        return {"ok": True, "result": await _perform(handler, request)}
    except UnknownVassal as error:
        return {**_refusal("unknown-vassal", str(error)), "name": error.name}
    except _BadRequestError as error:
        return _refusal("bad-request", str(error))
    except Exception as error:  # noqa: BLE001  # one command that fails must not take the socket along
        return _refusal("failed", f"the emperor could not do that: {error!r}")


class _BadRequestError(Exception):
    """The request makes no sense."""


async def _perform(handler: Handler, request: Mapping[str, Any]) -> object:
    command = request.get("command")
    if command == "status":
        return await handler.status(_names_or_all(request))
    if command == "log_place":
        names = _names(request)
        if len(names) != 1:
            raise _BadRequestError("names: exactly one")
        return handler.log_place(names[0])
    if command == "reload":
        strategy = request.get("strategy")
        if strategy is not None and not isinstance(strategy, str):
            raise _BadRequestError("strategy: a text or null")
        outcomes = await handler.reload(_names_or_all(request), wait=bool(request.get("wait", True)), strategy=strategy)
    elif command == "stop":
        outcomes = await handler.stop(_names(request))
    elif command == "start":
        outcomes = await handler.start(_names(request))
    elif command == "reopen_logs":
        outcomes = await handler.reopen_logs(_names_or_all(request))
    else:
        raise _BadRequestError(f"unknown command {command!r}: status, reload, stop, start, reopen_logs, log_place")
    return [asdict(outcome) for outcome in outcomes]


def _names(request: Mapping[str, Any]) -> list[str]:
    names = request.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise _BadRequestError("names: a list of at least one name")
    return names


def _names_or_all(request: Mapping[str, Any]) -> list[str] | None:
    return None if request.get("names") is None else _names(request)


def _refusal(kind: str, error: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "error": error}
