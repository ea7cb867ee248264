"""Vassals that nobody has called yet: where their address comes from, how they are looked at, how they are tidied up.

The one danger is whose rights are used. The command that names a socket is the emperor's own and runs with its rights;
the file that names one belongs to the vassal and is read with the vassal's.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from vassal import identity, jobs, link, logs, net, ports
from vassal.config.reader import reason
from vassal.config.settings import SocketSpec
from vassal.launch import Kept, outlive

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.config import Settings

EXEC_SECONDS = 5.0
"""What ``emperor-on-demand-exec`` may take."""
EXEC_BYTES = 4096
"""What it may print."""


UNLINK_SECONDS = 2.0
"""How long a socket that is to be removed may still be somebody's."""
NOGROUP = 65534


class OnDemandError(Exception):
    """The address of a vassal on demand cannot be found out. The text is for people."""


def ask_command(contract: link.Contract) -> str:
    """Return the address that ``emperor-on-demand-exec`` prints for this vassal, '' where it prints none or fails.

    Its arguments are split as a shell would, and followed by the path of the vassal's file (uWSGI's OnDemandVassals
    page); no shell runs.

    Raises:
        OnDemandError: it cannot be run, takes too long, or prints too much.
    """
    kind, _, command = contract.on_demand.partition(":")
    if kind != "exec":
        return ""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise OnDemandError(f"emperor-on-demand-exec = {command}: {error}") from None
    if not words:
        raise OnDemandError("emperor-on-demand-exec is empty")
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawnp(
            words[0],
            [*words, contract.source],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
            setsigmask=(),
            setsigdef=set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP},
            setpgroup=0,
        )
    except OSError as error:
        os.close(reading)
        raise OnDemandError(f"cannot run emperor-on-demand-exec = {command}: {error.strerror}") from None
    finally:
        os.close(writing)
    try:
        text = _hear(reading)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if text is None:
        raise OnDemandError(
            f"emperor-on-demand-exec = {command}: no end after {EXEC_SECONDS:g} s, or {EXEC_BYTES} bytes"
        )
    del status  # what it printed and then finished counts; uWSGI asks for no more either
    return text.strip()


def _hear(reading: int) -> str | None:
    until = time.monotonic() + EXEC_SECONDS
    told = b""
    while len(told) <= EXEC_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return None
        piece = os.read(reading, EXEC_BYTES + 1 - len(told))
        if not piece:
            return told.decode(errors="replace")
        told += piece
    return None


def ask_file(contract: link.Contract, read: Callable[[str], bytes]) -> str:
    """Return the address in the file beside the vassal's (``emperor-on-demand-extension``), '' where there is none.

    Raises:
        OnDemandError: the file is there and cannot be read.
    """
    kind, _, rest = contract.on_demand.partition(":")
    if kind == "socket":
        return rest
    if kind != "file":
        return ""
    path = contract.source + rest
    if not os.path.lexists(path):
        return ""
    try:
        return read(path).decode(errors="replace").strip()
    except OSError as error:
        raise OnDemandError(f"cannot read {path}: {reason(error)}") from None


def with_address(settings: Settings, address: str, base: str) -> Settings:
    """Return `settings` with the address that callers use, unless the file names it itself.

    It speaks what ``protocol`` says, uwsgi by default (uWSGI's OnDemandVassals page).

    Raises:
        AddressError: it is none.
    """
    key = net.parse(address, base).key
    for spec in settings.sockets:
        with contextlib.suppress(net.AddressError):  # told when it is bound
            if net.parse(spec.address, base).key == key:
                return settings
    protocol = "http" if settings.protocol.startswith("http") else "uwsgi"
    return replace(settings, sockets=(*settings.sockets, SocketSpec(protocol, address)))


def park(end: link.End, settings: Settings, bound: ports.Ports) -> int:
    """Hand the listeners to the emperor, and end: the work of a child that inspects. Return the exit status.

    Raises:
        AddressError: somebody else listens there.
    """
    bound.leave_stats()
    bound.listen(settings.listen)
    bound.apply(settings)
    for record, fds in (
        (link.Listening(bound.keys(), bound.inodes()), bound.descriptors()),
        (link.Parking(jobs.next_wake(settings)), ()),
    ):
        try:
            end.post(record, fds)
        except (link.LinkClosed, link.LinkError):
            return 0  # the emperor is gone, and its listeners with it
    until = time.monotonic() + EXEC_SECONDS
    while end.pending and time.monotonic() < until:
        select.select([], [end.fileno()], [], 1.0)
        with contextlib.suppress(link.LinkClosed):
            end.flush()
    return 0


def unlink(contract: link.Contract) -> int:
    """Remove the paths of sockets that nobody serves any more, with the rights of those who bound them.

    And end the smart daemons that the vassal has left behind, likewise.


    What only root could have put where it is goes as root, everything else as the user whose processes had it.
    """
    left = []
    for key, inode in zip(contract.offers, contract.inodes, strict=True):
        if not key.startswith("/"):
            continue
        if os.geteuid() == 0 and _only_root_writes(os.path.dirname(key)):
            _remove(key, inode)
        else:
            left.append((key, inode))
    if (left or contract.kept) and os.geteuid() == 0:
        if contract.offers_uid < 0:
            return 0
        if contract.offers_uid != 0:
            identity.take(_somebody(contract.offers_uid))
    for key, inode in left:
        _remove(key, inode)
    outlive([note for text in contract.kept if (note := Kept.parse(text)) is not None], float(contract.mercy))
    return 0


def _somebody(uid: int) -> identity.Account:
    try:
        return identity.account(str(uid), "")
    except identity.IdentityError:  # a number without a name, whose group nobody knows
        return identity.account(str(uid), str(NOGROUP))


def _only_root_writes(directory: str) -> bool:
    if identity.weakness(directory) is not None:
        return False
    try:
        return not os.stat(directory).st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    except OSError:
        return False


def _remove(path: str, inode: str) -> None:
    # A file system may give the same inode number to the next socket of that name: another vassal's, which is served.
    until = time.monotonic() + UNLINK_SECONDS
    while net.is_served(path):
        if time.monotonic() >= until:
            return
        time.sleep(0.02)  # the emperor's own copy of the old one is being closed
    if net.inode_of(net.parse(path, "/")) != inode:
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        logs.say(f"cannot remove the socket {path}: {error.strerror}")
