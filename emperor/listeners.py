"""The listeners kept for each vassal: they outlive every process that serves them.

The one danger is a descriptor that is not what its sender claims. `inspect` accepts only listening sockets that bear
the claimed address; and whoever is to be refused is refused by `shutdown`, which works whatever copies exist.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import link, net

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


OURS = -1
"""`Kept.uid` of what the emperor bound itself."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One listener: its canonical address `key`, its UNIX path's `inode`, the `uid` whose processes hold copies.

    `uid` -1: nobody but the emperor, which bound it itself. `quiet`: a call there wakes nobody, so it is closed while
    the vassal sleeps.
    """

    key: str
    inode: str
    uid: int
    sock: socket.socket
    quiet: bool = False


def inspect(record: link.Listening, fds: Sequence[int], uid: int, close: Callable[[int], None]) -> list[Kept]:
    """Return the listeners that came with `record`, each checked.

    Raises:
        LinkError: one is not what the record claims. All descriptors have been handed to `close` then.
    """
    kept: list[Kept] = []
    left = list(fds)
    try:
        if not len(record.addresses) == len(record.inodes) == len(fds):
            raise link.LinkError("a listening packet whose lists differ in length")
        if len(fds) > link.MAX_LISTENERS:
            raise link.LinkError(f"more than {link.MAX_LISTENERS} listeners")
        for key, inode in zip(record.addresses, record.inodes, strict=True):
            sock = _as_socket(left[0], key)
            left.pop(0)
            kept.append(Kept(key, inode, uid, sock, key in record.quiet))
            _check(sock, key)
    except link.LinkError:
        for fd in [*(entry.sock.detach() for entry in kept), *left]:
            close(fd)
        raise
    return kept


def _as_socket(fd: int, key: str) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError:
        raise link.LinkError(f"the descriptor for {key} is not a socket") from None


def _check(sock: socket.socket, key: str) -> None:
    try:
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        real = net.key_of(sock)
    except (OSError, ValueError):
        raise link.LinkError(f"the descriptor for {key} is not a listening socket") from None
    if key.endswith(":0") and not key.startswith(("/", "@")):
        real = real.rpartition(":")[0] + ":0"  # the kernel chose the port
    if not listening or real != key:
        raise link.LinkError(f"the descriptor for {key} listens on {real if listening else 'nothing'}")


def shown(kept: Kept) -> str:
    """Return the address for people: with the real port where the file says 0."""
    with contextlib.suppress(OSError, ValueError):
        return net.key_of(kept.sock)
    return kept.key


class Store:
    """All kept listeners, by vassal. `close` disposes of a descriptor of the named vassal without blocking."""

    def __init__(self, close: Callable[[int, str], None]) -> None:
        self._close = close
        self._kept: dict[str, list[Kept]] = {}
        self._dropped: dict[str, list[Kept]] = {}
        self._holders: dict[str, dict[str, None]] = {}
        """Which vassals hold an address of a mark (`_mark`), in the order in which they came to it."""
        self._marks: dict[str, set[str]] = {}
        """The other way round."""

    def of(self, name: str) -> list[Kept]:
        """Return the listeners of vassal `name`."""
        return self._kept.get(name, [])

    def offers(self, name: str) -> list[Kept]:
        """Return what a new generation of `name` may adopt: its listeners, then those that left the file of late.

        At most as many as a contract carries, and only those that one and the same user's processes held.
        """
        dropped = self._dropped.get(name, [])[::-1]  # the latest first
        offered = [*self.of(name), *dropped]
        users = {entry.uid: None for entry in offered if entry.uid != OURS}
        user = next(iter(users), OURS)
        return [entry for entry in offered if entry.uid in (user, OURS)][: link.MAX_LISTENERS]

    def add(self, name: str, entry: Kept) -> None:
        """Keep one more listener of `name`: one that the emperor bound itself."""
        self._kept.setdefault(name, []).append(entry)
        self._note(name)

    def commit(self, name: str, fresh: list[Kept]) -> None:
        """Make `fresh` the listeners of `name`. Those whose address left the file go on until `drop`, or come back.

        But not the quiet ones: nobody answers there any more, since that is the newest generation's right alone.
        """
        keys = {entry.key for entry in fresh}
        dropped = []
        for old in [*self._dropped.pop(name, []), *self._kept.pop(name, [])]:
            if old.key in keys:
                self._close(old.sock.detach(), name)  # the same socket, or one that replaced it
            elif old.quiet:
                self._shut(name, [old])
            else:
                dropped.append(old)
        if fresh:
            self._kept[name] = fresh
        if dropped:
            self._dropped[name] = dropped
        self._note(name)

    def drop(self, name: str) -> None:
        """Shut down the addresses that left the file of `name`: whoever served them has retired.

        Not while a generation comes that they were offered to: it would serve them.
        """
        self._shut(name, self._dropped.pop(name, []))
        self._note(name)

    def hush(self, name: str) -> list[Kept]:
        """Refuse clients at the quiet addresses of `name`, which sleeps; return what was closed."""
        quiet = [entry for entry in self.of(name) if entry.quiet]
        if quiet:
            self._kept[name] = [entry for entry in self.of(name) if not entry.quiet]
            self._shut(name, quiet)
            self._note(name)
        return quiet

    def shut(self, name: str) -> None:
        """Refuse clients on all addresses of `name` from now on."""
        self._shut(name, self._dropped.pop(name, []))
        self._shut(name, self._kept.pop(name, []))
        self._note(name)

    def _shut(self, name: str, entries: list[Kept]) -> None:
        for entry in entries:
            with contextlib.suppress(OSError):
                entry.sock.shutdown(socket.SHUT_RDWR)
            if entry.uid == OURS:
                entry.sock.close()  # nobody else has ever had it: this cannot block
            else:
                self._close(entry.sock.detach(), name)

    def holder(self, key: str, other_than: str) -> str | None:
        """Return which vassal, other than `other_than`, holds the address `key` or one that overlaps it.

        One that names it comes before one whose file it has left while an old generation still answers there.
        """
        mark = _mark(key)
        others = [name for name in self._holders.get(mark, ()) if name != other_than]
        for held in (self._kept, self._dropped):
            for name in others:
                if any(_mark(entry.key) == mark for entry in held.get(name, ())):
                    return name
        return None

    def _note(self, name: str) -> None:
        """Know what `name` holds now: a fleet of thousands cannot be asked one by one."""
        marks = {_mark(entry.key) for entry in (*self._kept.get(name, ()), *self._dropped.get(name, ()))}
        before = self._marks.pop(name, set())
        for mark in before - marks:
            del self._holders[mark][name]
            if not self._holders[mark]:
                del self._holders[mark]
        for mark in marks - before:
            self._holders.setdefault(mark, {})[name] = None
        if marks:
            self._marks[name] = marks

    def close_all(self) -> None:
        """Give up every listener, for the emperor's own exit."""
        for name in {*self._kept, *self._dropped}:
            self.shut(name)


def _mark(key: str) -> str:
    """What an address has in common with those that overlap it: its path or name, or the port of any host.

    Port 0 is whatever the kernel chooses, so it overlaps only itself.
    """
    port = key.rpartition(":")[2]
    return key if key.startswith(("/", "@")) or port == "0" else port
