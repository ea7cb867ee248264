"""What a new generation is told, and the descriptors that go with it.

The one danger is telling it too much: a contract holds what this one vassal may know, and nothing of any other.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emperor import notify, room, states
from emperor.names import file_name
from vassal import link

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from emperor.listeners import Kept
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings

_NOT_INHERITED = (*notify.VARIABLES, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "EMPEROR_CONTROL", "EMPEROR_ARGS")


@dataclass(frozen=True, slots=True)
class Hooking:
    """Lines ``OPTION ACTION:ARGUMENT`` to be run, and the variables that they get besides the emperor's own."""

    lines: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


_NONE = Hooking()


class Contracts:
    """Writes the contracts of one emperor's vassals."""

    def __init__(self, settings: EmperorSettings) -> None:
        self._settings = settings
        self.on_demand = ""
        """Where the address of a vassal on demand comes from, as in `vassal.link.Contract`; but for a directory."""
        if settings.on_demand_extension:
            self.on_demand = f"file:{settings.on_demand_extension}"
        elif settings.on_demand_exec:
            self.on_demand = f"exec:{settings.on_demand_exec}"
        self.opened: dict[str, tuple[int, int]] = {}
        """(device, inode) of the log file that each vassal was given last."""
        self._environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}

    def write(  # noqa: PLR0913 (what a generation may know)
        self,
        name: str,
        number: int,
        manifest: Manifest,
        kept: Sequence[Kept],
        *,
        purpose: states.Purpose,
        on_demand: str,
        own_log: bool,
        hooking: Hooking = _NONE,
    ) -> link.Contract:
        """Return the contract of generation `number`, to which the listeners `kept` are offered, with a log.

        `on_demand` is the path that the emperor itself has bound for it, or ''. `own_log`: the log is this vassal's
        own file, not the emperor's standard error.
        """
        settings = self._settings
        return link.Contract(
            purpose=purpose.value,
            name=name,
            generation=number,
            source=manifest.path,
            version=(manifest.version[0], (manifest.target or (0, 0))[1], manifest.version[2], *manifest.owner),
            offers=tuple(entry.key for entry in kept),
            inodes=tuple(entry.inode for entry in kept),
            log=True,
            tyrant=settings.tyrant and os.geteuid() == 0,
            nofollow=settings.nofollow,
            vassals_uid=settings.vassals_uid or "",
            vassals_gid=settings.vassals_gid or "",
            environment=self._environment,
            inject=settings.inject.to_json(),
            fork=settings.fork_server,
            offers_uid=max((entry.uid for entry in kept), default=-1),
            own_log=own_log,
            on_demand=f"socket:{on_demand}" if on_demand else self.on_demand,
            hooks=hooking.lines,
            hook_environment=hooking.environment,
        )

    def for_hooks(self, manifest: Manifest, hooking: Hooking) -> link.Contract:
        """Return the contract of a child that runs `hooking` for a vassal with the emperor's rights, and ends."""
        return link.Contract(
            purpose="hook",
            name=manifest.name,
            generation=0,
            source=manifest.path,
            version=(),
            log=True,
            environment=self._environment,
            hooks=hooking.lines,
            hook_environment=hooking.environment,
        )

    def limits(self) -> states.Limits:
        """Return what the emperor's settings say to every vassal's life."""
        settings = self._settings
        return states.Limits(
            throttle_ms=settings.throttle_ms,
            max_throttle_ms=settings.max_throttle_ms,
            required_heartbeat=settings.required_heartbeat,
            curse_tolerance=settings.curse_tolerance,
            on_demand="bound" if settings.on_demand_directory else "asked" if self.on_demand else "",
            root=os.geteuid() == 0,
        )

    def log_path(self, name: str) -> str | None:
        """Return the file for the output of vassal `name`, None where it is the emperor's own."""
        if self._settings.log_dir is None:
            return None
        return os.path.join(self._settings.log_dir, file_name(name) + ".log")

    def child(
        self, name: str, purpose: states.Purpose = states.Purpose.SERVE
    ) -> tuple[socket.socket, socket.socket, int, str | None]:
        """Return both ends of a fresh link, and what `open_log` returns, for a new child of vassal `name`.

        Raises:
            OSError: they cannot be had, or too little would be left; its text says which.
        """
        # Who only looks may leave a door: that must not take the room of those who are woken.
        room.require(2 * room.KEPT if purpose is states.Purpose.INSPECT else room.KEPT)
        try:
            ours, theirs = link.pair()
        except OSError as error:
            raise OSError(error.errno, f"no link can be made: {error.strerror}") from None
        try:
            return ours, theirs, *self.open_log(name)
        except OSError as error:
            ours.close()
            theirs.close()
            raise OSError(error.errno, f"no log can be opened: {error.strerror}") from None

    def open_log(self, name: str) -> tuple[int, str | None]:
        """Return a descriptor for the output of vassal `name`, and why it is not its own file, where it should be."""
        path = self.log_path(name)
        if path is None:
            return os.dup(2), None
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
            descriptor = os.open(path, flags | os.O_NONBLOCK, 0o640)  # its owner's lease, or a pipe, would hold up all
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                os.close(descriptor)
                raise OSError(errno.EINVAL, "it is no regular file")
            os.set_blocking(descriptor, True)
            self.opened[name] = found.st_dev, found.st_ino
            return descriptor, None
        except OSError as error:
            return os.dup(2), f"cannot open its log {path}: {error.strerror}; its output goes to the emperor's"
