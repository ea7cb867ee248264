"""The sockets of one generation: adopted from its predecessor, or bound anew.

Until the generation is ready it changes nothing that its predecessor still uses: adopted sockets stay as they are until
`apply`, new ones do not listen before `listen`. The one danger is a bind by root in a directory where others write;
so `bind` is called twice, before and after the identity was taken, and each time does only what may be done then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import identity, logs, net
from vassal.link import MAX_LISTENERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vassal.config import Settings


STATS = "stats"
"""`Port.protocol` of the address where the master itself answers with statistics."""


class CollisionError(Exception):
    """A new address cannot be bound because the vassal's own predecessor holds one that overlaps it."""


@dataclass(slots=True)
class Port:
    """One address of the vassal. `sock` is None until it is bound or adopted."""

    address: net.Address
    protocol: str
    sock: socket.socket | None = None
    fresh: bool = True
    inode: str = ""


@dataclass(slots=True)
class Offer:
    """A listener that the emperor keeps for this vassal."""

    key: str
    inode: str
    sock: socket.socket


class Ports:
    """All addresses that `settings` names, in their order."""

    def __init__(self, settings: Settings, base: str, offers: Sequence[Offer]) -> None:
        """Parse the addresses (relative paths from the directory `base`) and adopt what is on offer.

        Raises:
            AddressError: an address that cannot be, or that is named twice, or too many of them.
        """
        count = len(settings.sockets) + bool(settings.stats)
        if count > MAX_LISTENERS:
            raise net.AddressError(f"a vassal has at most {MAX_LISTENERS} sockets; this file names {count}")
        self._settings = settings
        self._offered = [offer.key for offer in offers]
        self._adopted: set[str] = set()
        self.ports = [Port(net.parse(spec.address, base), spec.protocol) for spec in settings.sockets]
        if settings.stats:
            with _named():
                self.ports.append(Port(net.parse(settings.stats, base), STATS))
        keys = self.keys()
        for port, key in zip(self.ports, keys, strict=True):
            if (port.address.port or port.address.path) and keys.count(key) > 1:
                raise net.AddressError(f"address {key} is named twice in this file")
        for offer in offers:
            if not self._adopt(offer):
                offer.sock.close()

    def _adopt(self, offer: Offer) -> bool:
        if offer.sock.fileno() < 0:
            return False
        for port, key in zip(self.ports, self.keys(), strict=True):
            if port.sock is not None or key != offer.key:
                continue
            if port.address.is_path and net.inode_of(port.address) != offer.inode:
                logs.say(f"{offer.key} was unlinked or replaced by somebody: binding it anew")
                return False
            port.sock, port.fresh, port.inode = offer.sock, False, offer.inode
            self._adopted.add(key)
            return True
        return False

    def keys(self) -> tuple[str, ...]:
        """The canonical addresses, as the file names them (port 0 stays 0: it names the place, not the outcome)."""
        return tuple(port.address.key for port in self.ports)

    @property
    def told(self) -> str:
        """All of them for people."""
        callers = ", ".join(port.address.key for port in self.for_callers) or "no listeners"
        return callers + "".join(f" (statistics: {key})" for key in self.quiet)

    def inodes(self) -> tuple[str, ...]:
        """``"device:inode"`` for each, as `vassal.link.Listening` wants it."""
        return tuple(port.inode for port in self.ports)

    def descriptors(self) -> tuple[int, ...]:
        """The descriptors, in the same order."""
        return tuple(port.sock.fileno() for port in self.ports if port.sock is not None)

    @property
    def for_callers(self) -> list[Port]:
        """Those that callers of the app use."""
        return [port for port in self.ports if port.protocol != STATS]

    @property
    def stats(self) -> socket.socket | None:
        """The one where the master tells statistics."""
        return next((port.sock for port in self.ports if port.protocol == STATS), None)

    @property
    def quiet(self) -> tuple[str, ...]:
        """Addresses at which nobody's call wakes a vassal that sleeps."""
        return tuple(port.address.key for port in self.ports if port.protocol == STATS)

    @property
    def listeners(self) -> list[net.Listener]:
        """What the workers accept on, with the address as shown to people (the real port where it was 0)."""
        return [
            net.Listener(port.sock, port.protocol, net.key_of(port.sock))
            for port in self.for_callers
            if port.sock is not None
        ]

    def bind(self, *, as_root: bool, owner: identity.Account | None = None, give: bool = True) -> None:
        """Bind what is not adopted.

        With `as_root` only TCP ports and UNIX paths in directories that root alone can write, and these become
        `owner`'s; without it whatever is left. `give` them to whom ``chown-socket`` names, as far as that may be done.

        Raises:
            AddressError: it cannot be bound.
            CollisionError: it overlaps an address of the predecessor.
        """
        options = net.BindOptions(self._settings.reuse_port, self._settings.freebind)
        mode = self._settings.chmod_socket
        for port in self.ports:
            if port.sock is not None or (as_root and not _is_roots(port.address)):
                continue
            with _named(port):
                try:
                    port.sock = net.bind(port.address, options, mode)
                except net.AddressError as error:
                    if error.in_use is not None and self._overlaps(port.address):
                        raise CollisionError(f"{error}: by this vassal's own running generation") from None
                    raise
            port.inode = net.inode_of(port.address)
            if port.address.is_path and give:
                self._give_away(port.address.path, owner)

    def bind_and_give(self, owner: identity.Account) -> None:
        """As root: bind UNIX paths that are left with the rights of `owner`, then give them away (``chown-socket``).

        In `owner`'s directories nothing is done with root's rights but that: to the very socket that was bound, by its
        descriptor, so that nothing which is put in its place meanwhile changes hands.

        Raises:
            AddressError: it cannot be bound.
            CollisionError: it overlaps an address of the predecessor.
            IdentityError: the kernel does not let us act as `owner`.
        """
        if not self._settings.chown_socket:
            return
        waiting = [port for port in self.ports if port.sock is None and port.address.is_path]
        if not waiting:
            return
        with identity.lent(owner):
            self.bind(as_root=False, give=False)
        for port in waiting:
            self._hand_over(port, owner)

    def _overlaps(self, address: net.Address) -> bool:
        """Whether `address` overlaps an offered listener that this file does not keep: only that one will go away."""
        leaving = [key for key in self._offered if key not in self._adopted]
        if address.family == socket.AF_UNIX:
            return address.key in leaving
        return any(key.rpartition(":")[2] == str(address.port) for key in leaving)

    def _give_away(self, path: str, owner: identity.Account | None) -> None:
        uid, gid = self._receivers(owner)
        found = os.lstat(path)
        if uid not in (-1, found.st_uid) or gid not in (-1, found.st_gid):
            try:
                os.chown(path, uid, gid, follow_symlinks=False)
            except OSError as error:
                logs.say(f"cannot give {path} to {self._settings.chown_socket or uid}: {error.strerror}")

    def _hand_over(self, port: Port, owner: identity.Account) -> None:
        """Give the socket that `owner` has just bound away, if it is still at its path."""
        path = port.address.path
        uid, gid = self._receivers(None)
        if uid not in (-1, owner.uid) and os.stat(os.path.dirname(path)).st_mode & stat.S_ISVTX:
            whose = f"it stays {owner.name or owner.uid}'s, who could not remove it from a sticky directory otherwise"
            logs.say(f"{path}: of chown-socket = {self._settings.chown_socket} the group counts: {whose}")
            uid = -1
        try:
            descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            logs.say(f"cannot give {path} to {self._settings.chown_socket}: {error.strerror}")
            return
        try:
            found = os.fstat(descriptor)
            if f"{found.st_dev}:{found.st_ino}" != port.inode or found.st_uid != owner.uid or found.st_nlink != 1:
                logs.say(f"cannot give {path} to {self._settings.chown_socket}: it was replaced meanwhile")
                return
            os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
        except OSError as error:
            logs.say(f"cannot give {path} to {self._settings.chown_socket}: {error.strerror}")
        finally:
            os.close(descriptor)

    def _receivers(self, owner: identity.Account | None) -> tuple[int, int]:
        uid, gid = (owner.uid, owner.gid) if owner is not None else (-1, -1)
        if self._settings.chown_socket:
            user, _, group = self._settings.chown_socket.partition(":")
            uid = identity.user_id(user) if user else uid
            gid = identity.group_id(group) if group else gid
        return uid, gid

    def listen(self, backlog: int) -> None:
        """Begin to listen on the new ones.

        Raises:
            AddressError: somebody else began to listen there first.
        """
        for port in self.ports:
            if port.fresh and port.sock is not None:
                with _named(port):
                    net.listen(port.sock, _clamp(backlog), port.address.key)

    def apply(self, settings: Settings) -> None:
        """Give adopted sockets the backlog, mode and owner of the new file: their predecessor is retired now."""
        for port in self.ports:
            if port.fresh or port.sock is None:
                continue
            with contextlib.suppress(net.AddressError):
                net.listen(port.sock, _clamp(settings.listen), port.address.key)
            if not port.address.is_path or net.inode_of(port.address) != port.inode:
                continue
            path = port.address.path
            if settings.chmod_socket is not None:
                try:
                    if stat.S_IMODE(os.lstat(path).st_mode) != settings.chmod_socket:
                        os.chmod(path, settings.chmod_socket)
                except OSError as error:
                    logs.say(f"cannot change the mode of {path}: {error.strerror}")
            if settings.chown_socket:
                self._give_away(path, None)

    def close(self) -> None:
        """Close this process's copies. Whether clients are refused is the emperor's decision."""
        for port in self.ports:
            if port.sock is not None:
                port.sock.close()
                port.sock = None

    def leave_stats(self) -> None:
        """Give up the address of statistics, which only who serves has: a vassal that parks does not."""
        for port in self.ports:
            if port.protocol == STATS and port.sock is not None:
                port.sock.close()
                port.sock = None
                if port.fresh:  # else a successor may have adopted it
                    _unlink(port)
        self.ports = self.for_callers

    def abandon(self) -> None:
        """Remove the paths that were bound here for the first time: the start fails, and nobody else knows of them."""
        for port in self.ports:
            if port.fresh and port.address.is_path and port.inode and net.inode_of(port.address) == port.inode:
                with contextlib.suppress(OSError):  # root has bound it: the next start finds it stale
                    os.unlink(port.address.path)

    def in_place(self) -> bool:
        """Whether all UNIX sockets are still where callers look for them; one that we may not see counts as there."""
        return all(_is_in_place(port) for port in self.ports if port.address.is_path)

    def unlink(self) -> None:
        """Remove the paths of UNIX sockets, where they are still this generation's (``vacuum``, or gone for good)."""
        for port in self.ports:
            _unlink(port)


def _is_in_place(port: Port) -> bool:
    try:
        found = os.lstat(port.address.path)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return f"{found.st_dev}:{found.st_ino}" == port.inode


def _unlink(port: Port) -> None:
    if port.address.is_path and port.inode and net.inode_of(port.address) == port.inode:
        try:
            os.unlink(port.address.path)
        except FileNotFoundError:
            return
        except OSError as error:
            logs.say(f"cannot remove the socket {port.address.path}: {error.strerror} (root may have bound it)")


@contextlib.contextmanager
def _named(port: Port | None = None) -> Iterator[None]:
    """Let what goes wrong say that the address is that of ``stats``."""
    try:
        yield
    except net.AddressError as error:
        if port is not None and port.protocol != STATS:
            raise
        raise net.AddressError(f"stats: {error}", in_use=error.in_use) from None


def _is_roots(address: net.Address) -> bool:
    """Whether root may bind `address`: nobody else could have put something in its place."""
    if address.family != socket.AF_UNIX:
        return True
    if not address.is_path:
        return False
    return identity.roots_alone(os.path.dirname(address.path))


def _clamp(backlog: int) -> int:
    """Return `backlog`, at most what the kernel will grant (``net.core.somaxconn``); say so when it is less."""
    try:
        with open("/proc/sys/net/core/somaxconn", "rb") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        return backlog
    if backlog > limit:
        logs.say(f"listen = {backlog} is more than net.core.somaxconn = {limit}: {limit} it is (raise it by sysctl)")
        return limit
    return backlog
