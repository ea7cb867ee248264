"""Sockets with a path that were shut down: what a vassal that ends may have left in the file system.

The danger here is somebody else's socket at the same path: each is kept with the inode that it had, and the child that
removes them compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emperor.listeners import Kept


class Leftovers:
    """By vassal and address. `ours` tells what the emperor has bound itself: that it removes itself."""

    def __init__(self, ours: Callable[[str, str], bool]) -> None:
        self._ours = ours
        self._left: dict[str, dict[str, Kept]] = {}

    def remember(self, name: str, entries: Iterable[Kept]) -> None:
        """Take note of what vassal `name` had; addresses without a path leave nothing."""
        for entry in entries:
            if entry.inode and not self._ours(name, entry.key):
                self._left.setdefault(name, {})[entry.key] = entry

    def take(self, name: str, uid: int = -1) -> list[Kept]:
        """Return, once, what is to be removed for `name`: what processes of one user had, whose rights will do.

        Of `uid` that is, or, where that is -1, of whoever had the first of them.
        """
        entries = list(self._left.pop(name, {}).values())
        return [entry for entry in entries if entry.uid == (entries[0].uid if uid == -1 else uid)]

    def forget(self, name: str) -> None:
        """There is no such vassal any more."""
        self._left.pop(name, None)
