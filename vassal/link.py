"""The link: typed records between the emperor and one generation, over one ``SOCK_SEQPACKET`` socketpair.

One JSON object a packet, descriptors as ``SCM_RIGHTS``. Both ends use this module. The one danger: the other end may
be hostile. Nothing it sends may block us, grow without bound, or leak a descriptor; whatever is not exactly a record
of the table is a `LinkError`, upon which its sender is to be killed.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
from collections import deque
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from vassal.records import (
    FROM_EMPEROR,
    FROM_VASSAL,
    STAGES,
    Activate,
    Chained,
    Contract,
    CronReport,
    DaemonReport,
    Exited,
    Facts,
    Failed,
    Heartbeat,
    Hello,
    KeepWorkers,
    Listening,
    Loyal,
    Parking,
    Ready,
    Record,
    Release,
    Released,
    ReloadWanted,
    ReloadWorkers,
    ReopenLogs,
    Report,
    Retire,
    Spare,
    Spawn,
    Spawned,
    Stats,
    Sweep,
    Trouble,
    Unspare,
    Unspawned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "AT_EMPEROR",
    "AT_FORK_SERVER",
    "AT_SPAWNER",
    "AT_VASSAL",
    "DETAIL_LIMIT",
    "FROM_EMPEROR",
    "FROM_VASSAL",
    "MAX_FDS",
    "MAX_LISTENERS",
    "MAX_PACKET",
    "MAX_QUEUE",
    "PROTOCOL",
    "STAGES",
    "Activate",
    "Chained",
    "Contract",
    "CronReport",
    "DaemonReport",
    "End",
    "Exited",
    "Facts",
    "Failed",
    "Heartbeat",
    "Hello",
    "KeepWorkers",
    "LinkClosed",
    "LinkError",
    "Listening",
    "Loyal",
    "Parking",
    "Ready",
    "Record",
    "Release",
    "Released",
    "ReloadWanted",
    "ReloadWorkers",
    "ReopenLogs",
    "Report",
    "Retire",
    "Schema",
    "Spare",
    "Spawn",
    "Spawned",
    "Stats",
    "Sweep",
    "Trouble",
    "Unspare",
    "Unspawned",
    "decode",
    "encode",
    "facts",
    "failure",
    "pair",
]

PROTOCOL = 1
"""Version that `Hello` announces. The emperor understands this and the previous one."""
MAX_PACKET = 64 * 1024
"""Bytes in a packet, at most."""
PATH_MAX = 4096
"""Bytes of a path, of which Linux opens no longer one."""
MAX_LISTENERS = 64
"""Listeners that one vassal may hold."""
MAX_FDS = MAX_LISTENERS + 2
"""Descriptors in one packet, at most: the listeners, the log and the source."""
MAX_QUEUE = 256
"""Packets that wait for a slow reader before it is given up."""
DETAIL_LIMIT = 16 * 1024
"""Characters of a failure's detail (a traceback) that travel; the rest stays in the vassal's log."""
_CUT, _DESCRIPTORS_CUT = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)
_written = json.JSONEncoder(separators=(",", ":")).encode


class LinkError(Exception):
    """The other end broke the contract of the link, or does not read."""


class LinkClosed(Exception):  # noqa: N818 (an end, not an error: every link closes once)
    """The other end is gone and everything that it sent has been read."""


def _int(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError("not an integer")
    return value


def _str(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a string")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("not a boolean")
    return value


def _tuple_of(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def many(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > 4096:
            raise ValueError("not a list")
        return tuple(check(item) for item in value)

    return many


def _pair(value: Any) -> tuple[str, str]:
    if type(value) is not list or len(value) != 2:
        raise ValueError("not a pair")
    return _str(value[0]), _str(value[1])


def _dict(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("not an object")
    return value


def _str_dict(value: Any) -> dict[str, str]:
    return {key: _str(item) for key, item in _dict(value).items()}


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "str": _str,
    "bool": _bool,
    "tuple[str, ...]": _tuple_of(_str),
    "tuple[int, ...]": _tuple_of(_int),
    "tuple[tuple[str, str], ...]": _tuple_of(_pair),
    "dict[str, str]": _str_dict,
    "dict[str, Any]": _dict,
}

Schema = dict[str, tuple[type[Record], dict[str, "Callable[[Any], Any]"], frozenset[str]]]


def _schema(records: tuple[type[Record], ...]) -> Schema:
    table: Schema = {}
    for record in records:
        own = fields(record)
        checks = {f.name: _CHECKS[str(f.type)] for f in own}
        required = frozenset(f.name for f in own if f.default is MISSING and f.default_factory is MISSING)
        table[record.NAME] = (record, checks, required)
    return table


AT_EMPEROR = _schema(FROM_VASSAL)
"""What the emperor's end of a vassal's link may receive."""
AT_VASSAL = _schema(FROM_EMPEROR)
"""What a vassal's end may receive."""
AT_SPAWNER = _schema((Spawned, Unspawned, Exited))
"""What the emperor's end of the fork server's socket may receive."""
AT_FORK_SERVER = _schema((Spawn, Sweep, Spare, Unspare))
"""What the fork server may receive."""
_WITH_FDS = (Listening, Contract, ReopenLogs, Spawn, Spawned)


def encode(record: Record) -> bytes:
    """Return `record` as one packet.

    Raises:
        LinkError: it would be larger than `MAX_PACKET`.
    """
    body: dict[str, Any] = {"type": record.NAME}
    names: tuple[str, ...] = record.__slots__
    for name in names:
        body[name] = getattr(record, name)
    packet = _written(body).encode()
    if len(packet) > MAX_PACKET:
        raise LinkError(f"a {record.NAME} of {len(packet)} bytes does not fit a packet of {MAX_PACKET}")
    return packet


def decode(packet: bytes, schema: Schema) -> Record:
    """Return the record in `packet`.

    Raises:
        LinkError: not JSON (or nested too deep), no known type, or a field that is missing, unknown or mistyped.
    """
    try:
        body = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise LinkError(f"malformed packet: {type(error).__name__}") from None
    if type(body) is not dict:
        raise LinkError("malformed packet: not an object")
    name = body.pop("type", None)
    entry = schema.get(name) if type(name) is str else None
    if entry is None:
        raise LinkError(f"unknown packet type {str(name)[:40]!r}")
    record, checks, required = entry
    if not required <= body.keys() <= checks.keys():
        raise LinkError(f"a {name} packet with wrong fields")
    try:
        return record(**{key: checks[key](value) for key, value in body.items()})
    except (ValueError, RecursionError) as error:
        raise LinkError(f"a {name} packet with a wrong value: {error}") from None


def failure(stage: str, reason: str, detail: str = "") -> Failed:
    """Return a `Failed` whose texts are cut to what a packet holds."""
    reason, detail = " ".join(reason.split())[:2000], detail[-DETAIL_LIMIT:]
    while len(json.dumps(detail)) > 2 * DETAIL_LIMIT:  # characters that JSON writes as up to twelve bytes
        detail = detail[len(detail) // 4 :]
    return Failed(stage, reason, detail)


def facts(  # noqa: PLR0913, PLR0917 (what there is to say)
    uid: int, start_timeout: int, strategy: str, files: Sequence[str], gid: int = -1, log: str = ""
) -> Facts:
    """Return a `Facts` with as many of `files`, from the first on, as a packet holds; too long a `log` is none."""
    room, fitting = MAX_PACKET // 2, []
    for name in files[:200]:
        room -= len(json.dumps(name)) + 1
        if room < 0:
            break
        fitting.append(name)
    return Facts(uid, start_timeout, strategy, tuple(fitting), gid=gid, log=log if len(log) < PATH_MAX else "")


class End:
    """One end of a link: non-blocking, with a bounded queue.

    `close_fd` disposes of descriptors that nobody wanted; the emperor passes its closer thread's, since closing a
    descriptor that a vassal made can block. `schema` is what may be
    received here, one of `AT_EMPEROR`, `AT_VASSAL`, `AT_SPAWNER`, `AT_FORK_SERVER`.
    """

    __slots__ = ("_close_fd", "_queue", "_schema", "sock")

    def __init__(self, sock: socket.socket, schema: Schema, *, close_fd: Callable[[int], None] = os.close) -> None:
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        self.sock = sock
        self._schema = schema
        self._close_fd = close_fd
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.sock.fileno()

    def read(self) -> tuple[Record, tuple[int, ...]] | None:
        """Return the next record with its descriptors, or None when there is none yet.

        Raises:
            LinkClosed: the other end is gone, nothing is left to read.
            LinkError: the packet breaks the contract. Its descriptors have been disposed of.
        """
        try:
            packet, fds, flags = self._receive()
        except BlockingIOError:
            return None
        except ConnectionError:
            raise LinkClosed from None
        try:
            if flags & _DESCRIPTORS_CUT:
                raise LinkError("descriptors were lost on the way: too many are open here (RLIMIT_NOFILE)")
            if flags & _CUT or len(packet) > MAX_PACKET:
                raise LinkError(f"a packet larger than {MAX_PACKET} bytes")
            if not packet:
                if fds:
                    raise LinkError("descriptors without a packet")
                raise LinkClosed
            record = decode(packet, self._schema)
            if fds and not isinstance(record, _WITH_FDS):
                raise LinkError(f"descriptors with a {record.NAME} packet")
            return record, fds
        except (LinkError, LinkClosed):
            for fd in fds:
                self._close_fd(fd)
            raise

    def _receive(self) -> tuple[bytes, tuple[int, ...], int]:
        received = array.array("i")
        packet, ancillary, flags, _ = self.sock.recvmsg(
            MAX_PACKET + 1, socket.CMSG_SPACE(MAX_FDS * received.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
        return packet, tuple(received), flags

    def post(self, record: Record, fds: Sequence[int] = ()) -> None:
        """Send `record`, now or when the other end reads; `fds` must stay open until `flush` has returned True.

        Raises:
            LinkError: `MAX_QUEUE` packets wait already, or the record is too large.
            LinkClosed: the other end is gone.
        """
        if len(self._queue) >= MAX_QUEUE:
            raise LinkError("the other end does not read its link")
        self._queue.append((encode(record), tuple(fds)))
        self.flush()

    def flush(self) -> bool:
        """Send what waits; True when nothing waits any more.

        Raises:
            LinkClosed: the other end is gone.
        """
        while self._queue:
            packet, fds = self._queue[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self.sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return False
                self._queue.clear()
                raise LinkClosed from None
            self._queue.popleft()
        return True

    @property
    def pending(self) -> bool:
        """True while packets wait to be sent."""
        return bool(self._queue)

    def close(self) -> None:
        """Close this end. The emperor lets its closer thread do it (`detach`)."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def detach(self) -> int:
        """Give up the descriptor without closing it."""
        return self.sock.detach()


def pair() -> tuple[socket.socket, socket.socket]:
    """Return a fresh link: (the emperor's end, the vassal's end), both close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
