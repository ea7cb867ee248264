"""What a monitor says of vassals: manifests, and the three things that can happen to one.

The danger here: a manifest describes one moment. By the time somebody opens the path another file may lie there, so
whoever opens it compares `Manifest.target` and `Manifest.owner` with the open descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, int, int, int, int]
"""(mtime in ns, inode, size in bytes, uid, gid); opaque to all but the monitor: equal or not equal."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One vassal as a place describes it.

    Attributes:
        name: The vassal's name; it never changes while the vassal lives.
        path: Absolute path of the file, as found (symbolic links are not resolved).
        version: Changes when the file counts as touched. Under `emperor-nofollow` time, inode and size are those of
            a symbolic link itself; uid and gid are always those of the file that it leads to.
        owner: (uid, gid) of the file that an open of `path` reaches.
        target: (device, inode) of that file; None where there is none (see `problem`).
        problem: Why this cannot be served at all ("it is a FIFO, not a regular file"), or None.
        on_demand: Address on which a parked vassal is awaited, where an on-demand option gave one.
    """

    name: str
    path: str
    version: Version
    owner: tuple[int, int]
    target: tuple[int, int] | None = None
    problem: str | None = None
    on_demand: str | None = None


@dataclass(frozen=True, slots=True)
class Appeared:
    """A vassal that was not there has come, and its file is at rest."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Touched:
    """The file of a living vassal has a new version, and is at rest."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file of a living vassal is gone, and stayed away."""

    name: str


Event = Appeared | Touched | Vanished
