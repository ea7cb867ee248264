"""Which UNIX sockets the kernel holds (/proc/net/unix): a path that nobody is bound to any more may be taken.

The one danger is to overlook one: a socket that does not listen yet refuses connections, as one does that is dead.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNCONNECTED = "01"
"""``St`` of a socket that listens, or is only bound (SS_UNCONNECTED of linux/net.h)."""
LASTS = 5.0
"""Seconds for which a reading of the table is used again, at most: the clock that files are dated by may be set."""
COARSE = 0.1
"""Seconds by which a file may seem older than it is: the kernel dates files by its ticks."""
FRESH = 1.0
"""Seconds for which a reading is believed when it says that somebody is there."""


def _waiting() -> Iterator[str]:
    """Yield the paths of the sockets that listen, or are bound and may come to it.

    An accepted connection bears its listener's path, too, and may outlive it for as long as its request takes.
    """
    try:
        with open("/proc/net/unix", encoding=sys.getfilesystemencoding(), errors="surrogateescape") as table:
            for line in table:
                fields = line.rstrip("\n").split(maxsplit=7)
                if fields[5:6] == [_UNCONNECTED]:
                    yield fields[-1]
    except OSError:
        return


def holds(path: str) -> bool:
    """Tell whether a socket waits at `path`, or is bound there and may come to it."""
    return path in _waiting()


class Table:
    """The same for whoever asks thousands of times: the table is as long as what is asked for.

    A path can be bound only while no file is there. So whoever is not in the table that was read after a file had been
    made will never be bound to that file again, and one reading answers for all files that are older than it.
    """

    def __init__(self) -> None:
        self._paths: frozenset[str] = frozenset()
        self._read = self._dated = float("-inf")

    def holds(self, path: str) -> bool:
        """Tell whether a socket waits at `path`, or is bound there and may come to it."""
        try:
            made = os.lstat(path).st_ctime
        except OSError:
            made = float("inf")
        age = time.monotonic() - self._read
        if age > (FRESH if path in self._paths else LASTS) or made > self._dated - COARSE:
            self._dated, self._read = time.time(), time.monotonic()
            self._paths = frozenset(_waiting())
        return path in self._paths
