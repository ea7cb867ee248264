"""The channel between a master and one of its workers: typed records, one JSON object a ``SOCK_SEQPACKET`` packet.

The one danger: blocking. A worker whose master does not read must go on serving, a master whose worker is stuck must go
on for the others; so a packet that does not fit in the socket's buffer is dropped by the sender, which is told so.
"""

from __future__ import annotations

import array
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PACKET = 64 * 1024
"""Bytes in a packet, at most."""
_NEVER_WAIT = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_NEVER_WAIT_CLOEXEC = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
DETAIL_LIMIT = 16 * 1024
"""Characters of a traceback that travel; the whole of it is in the vassal's log."""


class ChannelError(Exception):
    """A packet that is none of the records below."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker to master: the app is loaded, I wait for `Accept`."""

    NAME: ClassVar[str] = "loaded"


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to master: I leave with status 22, because of `reason` (one line); `detail` is a traceback."""

    NAME: ClassVar[str] = "failed"
    stage: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Worker to master: replace me, because of `reason`. I go on serving until `Retire` comes.

    `stuck`: as far as I can; a thread of mine does not come back.
    """

    NAME: ClassVar[str] = "leaving"
    reason: str
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class ReloadWanted:
    """Worker to master: the vassal should be succeeded by a new generation, because of `reason`."""

    NAME: ClassVar[str] = "reload-wanted"
    reason: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Master to worker: the listeners listen, accept on them."""

    NAME: ClassVar[str] = "accept"


@dataclass(frozen=True, slots=True)
class Retire:
    """Master to worker: accept no more, answer what was accepted within `mercy` seconds, and exit."""

    NAME: ClassVar[str] = "retire"
    mercy: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Worker to master: so many lines of the log were lost at the place `label`, because of `reason`."""

    NAME: ClassVar[str] = "lost"
    label: str
    lines: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reopened:
    """Master to worker, with its descriptor: log file number `index` is this file now."""

    NAME: ClassVar[str] = "reopened"
    index: int


Message = Loaded | Failed | Leaving | ReloadWanted | Lost | Accept | Retire | Reopened
_RECORDS: dict[str, type[Any]] = {
    record.NAME: record for record in (Loaded, Failed, Leaving, ReloadWanted, Lost, Accept, Retire, Reopened)
}
_TYPES: dict[str, tuple[type, ...]] = {
    "stage": (str,),
    "reason": (str,),
    "stuck": (bool,),
    "detail": (str,),
    "mercy": (int, float),
    "label": (str,),
    "lines": (int,),
    "index": (int,),
}


def encode(message: Message) -> bytes:
    """Return the packet for `message`, at most 64 KiB: long texts are cut, from their middle in a detail."""
    fields = {name: getattr(message, name) for name in message.__slots__}
    detail = fields.get("detail", "")
    if len(detail) > DETAIL_LIMIT:
        half = DETAIL_LIMIT // 2
        fields["detail"] = f"{detail[:half]}\n[…]\n{detail[-half:]}"
    if len(fields.get("reason", "")) > 2000:
        fields["reason"] = fields["reason"][:2000] + " […]"
    packet = json.dumps({"type": message.NAME, **fields}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if len(packet) > MAX_PACKET:  # only where nearly every character takes four bytes or an escape
        return json.dumps({"type": message.NAME, **fields, "detail": ""}).encode()
    return packet


def decode(packet: bytes) -> Message:
    """Return the record in `packet`.

    Raises:
        ChannelError: not a record of the table, or a field of another type.
    """
    try:
        fields = json.loads(packet)
        record = _RECORDS[fields.pop("type")]
        for name, value in fields.items():
            if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
                raise ChannelError(f"the field {name!r} of a channel packet has the wrong type: {value!r}")
        message: Message = record(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ChannelError(f"not a packet of the channel: {packet[:80]!r} ({error})") from None
    return message


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> bool:
    """Send `message` without ever blocking; return False if the other end is gone or does not read."""
    try:
        # Not socket.send_fds: it forgets its flags (Python 3.11), and would block.
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([encode(message)], ancillary, _NEVER_WAIT)
    except OSError:
        return False
    return True


def receive(sock: socket.socket) -> Message | None:
    """Return the next record, or None where the other end has closed.

    Raises:
        BlockingIOError: nothing has arrived.
        ChannelError: something else has.
    """
    try:
        packet = sock.recv(MAX_PACKET, socket.MSG_DONTWAIT)
    except (ConnectionError, BrokenPipeError):
        return None
    return decode(packet) if packet else None


def receive_with_fds(sock: socket.socket) -> tuple[Message | None, list[int]]:
    """Return the next record with its descriptors, which are the caller's to close; as `receive` otherwise."""
    try:
        packet, fds, _, _ = socket.recv_fds(sock, MAX_PACKET, 1, _NEVER_WAIT_CLOEXEC)
    except (ConnectionError, BrokenPipeError):
        return None, []
    try:
        return (decode(packet) if packet else None), fds
    except ChannelError:
        for descriptor in fds:
            os.close(descriptor)
        raise
