"""Addresses: parse, bind, adopt.

The one danger: taking away a socket that somebody serves. A UNIX path is unlinked only when the kernel says that no
socket is bound to it any more, under a lock on its directory, so that two starting vassals cannot take it from one
another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import bound

if TYPE_CHECKING:
    from collections.abc import Callable

SUN_PATH_MAX = 107
"""Bytes of a UNIX socket's path (``sun_path`` less its NUL; unix(7))."""
LOCK_PATIENCE = 1.0
"""Seconds to wait for another process that binds in the same directory; then go on without the lock."""


class AddressError(Exception):
    """The address cannot be parsed, resolved or bound. The text is for people."""

    def __init__(self, message: str, *, in_use: str | None = None) -> None:
        super().__init__(message)
        self.in_use = in_use
        """The canonical address, where the cause is that somebody else holds it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place to listen: a TCP ``host, port``, a UNIX ``path``, or an abstract name (path begins with NUL)."""

    family: int
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def key(self) -> str:
        """The canonical text: ``127.0.0.1:80``, ``[::1]:80``, ``/run/x.sock``, ``@name``."""
        if self.family == socket.AF_UNIX:
            return "@" + self.path[1:] if self.path.startswith("\0") else self.path
        host = f"[{self.host}]" if self.family == socket.AF_INET6 else self.host
        return f"{host}:{self.port}"

    @property
    def target(self) -> str | tuple[str, int]:
        """What ``bind`` and ``connect`` take."""
        return self.path if self.family == socket.AF_UNIX else (self.host, self.port)

    @property
    def is_path(self) -> bool:
        """True for a UNIX socket that lives in the file system."""
        return self.family == socket.AF_UNIX and not self.path.startswith("\0")


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket with the protocol spoken on it (``http`` or ``uwsgi``) and its address as shown to people."""

    sock: socket.socket
    protocol: str
    address: str


@dataclass(frozen=True, slots=True)
class BindOptions:
    """Socket options that must be set before ``bind``.

    `wait`: for others who bind in the same directory just now; they hold its lock, for as long as they like. `holds`:
    tells whether a UNIX path is held by a socket that refuses connections.
    """

    reuse_port: bool = False
    freebind: bool = False
    wait: bool = True
    holds: Callable[[str], bool] = bound.holds


def parse(text: str, base: str) -> Address:
    """Return the address that `text` names; relative paths are taken from the directory `base`.

    ``:8000`` and ``*:8000`` are all IPv4 addresses, ``[::]:8000`` all IPv6 ones, ``@name`` is abstract, anything
    without a colon and port is a path (https://uwsgi-docs.readthedocs.io, "Options", ``socket``).

    Raises:
        AddressError: a bad port, an unknown host, or a path that the kernel cannot take.
    """
    text = text.strip()
    if text.startswith("@"):
        return Address(socket.AF_UNIX, path="\0" + _fit(text[1:], text))
    host, colon, port = text.rpartition(":")
    if not colon or "/" in text:
        if not text:
            raise AddressError("an empty address")
        return Address(socket.AF_UNIX, path=_fit(os.path.normpath(os.path.join(base, text)), text))
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise AddressError(f"address {text!r}: the port must be a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return _resolve(host[1:-1], int(port), text, socket.AF_INET6)
    if host in ("", "*"):
        return Address(socket.AF_INET, "0.0.0.0", int(port))
    return _resolve(host, int(port), text, 0)


def _fit(path: str, text: str) -> str:
    if "\0" in path:
        raise AddressError(f"address {text!r}: a NUL byte")
    if len(os.fsencode(path)) > SUN_PATH_MAX:
        raise AddressError(
            f"address {text!r}: {len(os.fsencode(path))} bytes, but the kernel takes {SUN_PATH_MAX} for a UNIX socket; "
            "use a shorter path"
        )
    return path


def _resolve(host: str, port: int, text: str, family: int) -> Address:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.args[-1] if isinstance(error, OSError) else error
        raise AddressError(f"address {text!r}: {reason}") from None
    # IPv4 first where a name has both, as uWSGI binds IPv4 only.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return Address(found[0][0], str(found[0][4][0]), port)


def bind(address: Address, options: BindOptions, mode: int | None = None) -> socket.socket:
    """Return a bound socket that does not listen yet. `mode` is the permission of a UNIX path, or None: the umask's.

    Raises:
        AddressError: with `in_use` where somebody else has it.
    """
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if address.is_path:
            _bind_path(sock, address, mode, options)
        else:
            _set_options(sock, address, options)
            sock.bind(address.target)
    except OSError as error:
        sock.close()
        raise _explain(address, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket, address: Address, options: BindOptions) -> None:
    if address.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if options.freebind:
        sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND, ip(7); not named by the socket module


def _explain(address: Address, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"address {address.key} is already in use", in_use=address.key)
    hints = {
        errno.EACCES: "no permission (a port below 1024 needs root, a socket a writable directory)",
        errno.ENOENT: "its directory does not exist",
        errno.EADDRNOTAVAIL: "no such address on this machine (freebind = true binds it all the same)",
    }
    hint = hints.get(error.errno or 0, os.strerror(error.errno or 0))
    return AddressError(f"cannot bind {address.key}: {hint}")


def listen(sock: socket.socket, backlog: int, address: str) -> None:
    """Start listening, or change the backlog of a socket that listens already.

    Raises:
        AddressError: with `in_use` where another socket began to listen there first.
    """
    try:
        sock.listen(backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(f"address {address} is already in use", in_use=address) from None
        raise AddressError(f"cannot listen on {address}: {error.strerror}") from None


def _bind_path(sock: socket.socket, address: Address, mode: int | None, options: BindOptions) -> None:
    path = address.path
    directory = _open_directory(os.path.dirname(path)) if options.wait else None
    try:
        if directory is not None:
            _lock(directory)
        _clear_stale(path, address, options.holds)
        # The mode is set by the umask: chmod after bind would leave a moment with too much or too little.
        before = os.umask(0o777 & ~mode) if mode is not None else None
        try:
            sock.bind(path)
        finally:
            if before is not None:
                os.umask(before)
    finally:
        if directory is not None:
            os.close(directory)  # releases the lock


def _open_directory(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return None  # a directory that may be written but not read: without the lock, then


def _lock(directory: int) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody who holds it for ever (anyone may lock /tmp) must not stop us: the lock only narrows a race.
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        except OSError:
            return  # a file system without locks
        else:
            return


def _clear_stale(path: str, address: Address, holds: Callable[[str], bool]) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"cannot bind {path}: a file that is not a socket is in the way; move it away")
    if is_served(path, holds):
        raise AddressError(f"address {address.key} is already in use", in_use=address.key)
    os.unlink(path)


def is_served(path: str, holds: Callable[[str], bool] = bound.holds) -> bool:
    """Tell whether some socket is still bound to the UNIX path `path`, listening or not. `holds`: see `BindOptions`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, PermissionError):
            # Also what a socket answers that is bound but does not listen yet: a vassal that starts just now. Or it is
            # another user's, who lets nobody in: who may write its directory could remove it all the same.
            return holds(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            # EAGAIN: a full backlog, EPROTOTYPE: a datagram socket. Both are somebody's.
            return error.errno in (errno.EAGAIN, errno.EPROTOTYPE)
        return True


def inode_of(address: Address) -> str:
    """Return ``"device:inode"`` of a UNIX socket's path, ``""`` for every other address or where it is gone."""
    if not address.is_path:
        return ""
    with contextlib.suppress(OSError):
        found = os.lstat(address.path)
        return f"{found.st_dev}:{found.st_ino}"
    return ""


def key_of(sock: socket.socket) -> str:
    """Return the canonical address that `sock` is bound to.

    Raises:
        OSError: not a socket.
        ValueError: neither TCP nor UNIX.
    """
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(name) if isinstance(name, bytes) else name
        return Address(socket.AF_UNIX, path=path).key
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return Address(sock.family, name[0], name[1]).key
    raise ValueError("neither a TCP nor a UNIX socket")
