"""The doors of parked vassals: the emperor waits there until somebody knocks, and binds some of them itself.

The one danger is a door that stays open while nobody may come in: a listener that is readable and not served would
spin the loop. So a knock is heard once, and the next only when the fleet says `watch` again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from emperor import room
from emperor.listeners import OURS, Kept
from emperor.names import file_name
from vassal import bound, net

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from emperor.listeners import Store
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings

BACKLOG = 1024
"""Connections that may wait at a door of the emperor's making; the vassal sets its own `listen` when it serves."""
AGAIN = 10.0
"""Seconds until a door that could not be made is tried again."""
MODE = 0o666
"""Of the sockets that the emperor binds: who may connect is decided by the rights of their directory."""


class Doors:
    """Everything here runs on the loop. `called` is told the name of a vassal at whose door somebody stands."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        settings: EmperorSettings,
        called: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._directory = settings.on_demand_directory
        if self._directory is not None:
            with contextlib.suppress(OSError):  # told where it is used
                os.makedirs(self._directory, 0o755, exist_ok=True)
        self._tyrant = settings.tyrant and os.geteuid() == 0
        self._called = called
        self._say = say
        # The doors of an emperor that was killed are all there, and dead; nor may a tenant who locks the directory for
        # ever hold this one up.
        self._options = net.BindOptions(wait=False, holds=bound.Table().holds)
        self._watched: dict[str, list[int]] = {}
        self._made: dict[str, tuple[str, str]] = {}
        """Vassal -> path and ``device:inode`` of the socket that was bound here."""
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._told: dict[str, str] = {}
        """Why the door of each of these could not be made, as it was said."""

    # --- waiting -------------------------------------------------------------------------------------------------

    def watch(self, name: str) -> None:
        """Wait for a connection at any listener of `name`."""
        if name in self._watched:
            return
        descriptors = [kept.sock.fileno() for kept in self._store.of(name)]
        for fd in descriptors:
            self._loop.add_reader(fd, self._knock, name)
        self._watched[name] = descriptors

    def leave(self, name: str) -> None:
        """Wait no more; to be called before any of these listeners is closed."""
        for fd in self._watched.pop(name, ()):
            self._loop.remove_reader(fd)

    def _knock(self, name: str) -> None:
        self.leave(name)
        self._called(name)

    # --- doors of our own ----------------------------------------------------------------------------------------

    def address(self, name: str) -> str:
        """Return the path that `name` is called at, '' where the emperor binds none."""
        if self._directory is None:
            return ""
        return os.path.join(self._directory, file_name(name) + ".socket")

    def open(self, name: str, manifest: Manifest) -> None:
        """Make the door of `name`, if the emperor has to and it is not there; if that fails, say so and try again."""
        path = self.address(name)
        if not path or any(kept.key == path for kept in self._store.of(name)):
            return
        self._unlink(name)  # one that was shut down, since its holder may not serve here any more
        try:
            address = net.parse(path, "/")
            room.require(2 * room.KEPT)  # whoever is woken needs room, too
            sock = net.bind(address, self._options, MODE)
            net.listen(sock, BACKLOG, address.key)
        except net.AddressError as error:
            self._fail(name, manifest, str(error))
            return
        except OSError as error:
            self._fail(name, manifest, error.strerror or str(error))
            return
        self._told.pop(name, None)
        if self._tyrant:
            try:
                os.chown(path, *manifest.owner, follow_symlinks=False)
            except OSError as error:
                self._say(f"vassal {name}: cannot give {path} to its owner: {error.strerror}")
        inode = net.inode_of(address)
        self._made[name] = (path, inode)
        self._store.add(name, Kept(address.key, inode, OURS, sock))

    def _fail(self, name: str, manifest: Manifest, why: str) -> None:
        if name not in self._later:
            if self._told.get(name) != why:
                self._told[name] = why
                self._say(f"vassal {name}: cannot wait for its callers: {why}; tried again every {AGAIN:.0f} s")
            self._later[name] = self._loop.call_later(AGAIN, self._retry, name, manifest)

    def _retry(self, name: str, manifest: Manifest) -> None:
        del self._later[name]
        if name in self._watched:
            self.leave(name)
            self.open(name, manifest)
            self.watch(name)

    def remove(self, name: str) -> None:
        """The vassal has ended: what was bound here for it goes, too."""
        timer = self._later.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._told.pop(name, None)
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        """Remove the path of what was bound here for `name`, if it is there and still that one."""
        path, inode = self._made.pop(name, ("", ""))
        if path and net.inode_of(net.parse(path, "/")) == inode:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def ours(self, name: str, key: str) -> bool:
        """Whether the emperor bound `key` itself, and so unlinks it itself."""
        return self._made.get(name, ("", ""))[0] == key
