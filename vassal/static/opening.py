"""Looking for a file and opening it, without a moment between the check and the use.

The one danger is that race: a link that is changed after it was judged. So a path is resolved once, by the kernel, into
a descriptor that gives no access (O_PATH: no FIFO's writer wakes, no device notices). The kernel then tells what that
descriptor is and where it really lies, and the very same inode is opened for reading through it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vassal.static.rules import contains

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
ROOT_KEPT = 1.0
"""Seconds for which the real path of a root is believed. It only decides whether to look again: see `Roots.holds`."""
ROOTS = 256
SHORTAGE = frozenset({"EMFILE", "ENFILE", "ENOMEM", "EIO"})


class Place:
    """What a path led to: an O_PATH descriptor that the holder closes, and its fstat."""

    __slots__ = ("facts", "fd", "real")

    def __init__(self, fd: int, *, resolve: bool) -> None:
        self.fd = fd
        self.facts = os.fstat(fd)
        self.real = os.readlink(b"/proc/self/fd/%d" % fd) if resolve else b""
        """Its real path, if that was asked for."""

    @property
    def regular(self) -> bool:
        """Whether it is an ordinary file."""
        return stat.S_ISREG(self.facts.st_mode)

    @property
    def directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.facts.st_mode)

    def open(self) -> int:
        """Return a descriptor for reading of this very inode.

        Raises:
            OSError: no permission, or no descriptors are left.
        """
        return os.open(b"/proc/self/fd/%d" % self.fd, _READ)

    def close(self) -> None:
        """Give up the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def look(path: bytes, *, resolve: bool = True) -> Place | None:
    """Return what is at `path`; None: nothing that we may see. `resolve`: its real path is wanted, too.

    Raises:
        OSError: the machine is short of something; the file may well be there.
    """
    try:
        fd = os.open(path, _LOOK)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except ValueError:  # a NUL
        return None
    except OSError as error:
        if is_shortage(error):
            raise
        return None
    try:
        return Place(fd, resolve=resolve)
    except OSError as error:
        os.close(fd)
        if is_shortage(error):
            raise
        return None


def is_shortage(error: OSError) -> bool:
    """Tell whether `error` speaks of the machine, not of the file."""
    import errno  # noqa: PLC0415 (rare)

    return errno.errorcode.get(error.errno or 0, "") in SHORTAGE


class Roots:
    """The real paths of the roots, as they were a moment ago."""

    def __init__(self, safe: Iterable[bytes]) -> None:
        self._safe = tuple(safe)
        self._real: dict[bytes, tuple[float, bytes]] = {}

    def holds(self, root: bytes, real: bytes, now: float) -> bool:
        """Tell whether `real` lies below `root` or a static-safe directory, all by their real paths.

        A root that is a link may have been pointed elsewhere (``current`` to another release): before a file is turned
        down, its root is looked at again.
        """
        kept = self._real.get(root)
        if kept is not None and now < kept[0] and contains(kept[1], real):
            return True
        if self._below(root, real, now):
            return True
        return any(self._below(safe, real, now) for safe in self._safe)

    def _below(self, root: bytes, real: bytes, now: float) -> bool:
        place = look(root or b"/")
        if place is None:
            self._real.pop(root, None)
            return False
        place.close()
        if len(self._real) >= ROOTS:
            self._real.clear()
        self._real[root] = (now + ROOT_KEPT, place.real)
        return contains(place.real, real)
