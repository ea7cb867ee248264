"""What a new generation is told, and the descriptors that go with it.

The one danger is telling it too much: a contract holds what this one vassal may know, and nothing of any other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emperor import notify
from vassal import link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emperor.listeners import Kept
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings

_NOT_INHERITED = (*notify.VARIABLES, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "EMPEROR_CONTROL")


class Contracts:
    """Writes the contracts of one emperor's vassals."""

    def __init__(self, settings: EmperorSettings) -> None:
        self._settings = settings
        self._environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}

    def write(
        self, name: str, number: int, manifest: Manifest, kept: Sequence[Kept], *, own_log: bool
    ) -> link.Contract:
        """Return the contract of generation `number`, to which the listeners `kept` are offered, with a log.

        `own_log`: the log is this vassal's own file, not the emperor's standard error.
        """
        settings = self._settings
        return link.Contract(
            purpose="serve",
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
            offers_uid=kept[0].uid if kept else -1,
            own_log=own_log,
        )

    def log_path(self, name: str) -> str | None:
        """Return the file for the output of vassal `name`, None where it is the emperor's own."""
        if self._settings.log_dir is None:
            return None
        return os.path.join(self._settings.log_dir, name.replace("/", "-") + ".log")

    def open_log(self, name: str) -> tuple[int, str | None]:
        """Return a descriptor for the output of vassal `name`, and why it is not its own file, where it should be."""
        path = self.log_path(name)
        if path is None:
            return os.dup(2), None
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
            return os.open(path, flags, 0o640), None
        except OSError as error:
            return os.dup(2), f"cannot open its log {path}: {error.strerror}; its output goes to the emperor's"
