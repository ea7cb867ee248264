"""One file as it is answered: its header fields, and its bytes where they are few.

The one danger is age: an entry is used again only while the file's `identity` is what it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vassal import httpdate
from vassal.static.ranges import Facts

if TYPE_CHECKING:
    from vassal.static.rules import Expiry

Identity = tuple[int, int, int, int, int]


def identity(facts: os.stat_result) -> Identity:
    """Return what changes when a file is written, replaced or moved over."""
    return facts.st_ino, facts.st_dev, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


class Entry:
    """A representation of a file.

    Attributes:
        path: where it was found; `real` where it lies.
        until: CLOCK_MONOTONIC seconds up to which `path` need not be resolved anew.
        body: its bytes, or None: they are read from the file each time.
        facts: what conditions are judged by.
        kind: its content type.
    """

    __slots__ = ("_expiry", "_fixed", "_second", "_timed", "body", "facts", "identity", "kind", "path", "real", "until")

    def __init__(  # noqa: PLR0913 (made in one place, by name)
        self,
        *,
        path: bytes,
        real: bytes,
        found: os.stat_result,
        kind: str,
        coding: str,
        varies: bool,
        expiry: Expiry | None,
        until: float,
    ) -> None:
        self.path = path
        self.real = real
        self.until = until
        self.body: bytes | None = None
        self.identity = identity(found)
        self.kind = kind
        mtime = int(found.st_mtime)
        # As nginx does: size and time. Not the inode, which differs between machines that serve the same files.
        tail = f"-{coding}" if coding else ""
        self.facts = Facts(found.st_size, mtime, f'"{found.st_mtime_ns:x}-{found.st_size:x}{tail}"')
        fixed = f"ETag: {self.facts.etag}\r\nLast-Modified: {httpdate.written(mtime)}\r\n"
        if coding:
            fixed += f"Content-Encoding: {coding}\r\n"
        if varies:
            fixed += "Vary: Accept-Encoding\r\n"
        self._fixed = fixed.encode("latin-1")
        self._expiry = expiry
        self._second = -1
        self._timed = b""

    def fields(self, second: int) -> bytes:
        """Return the fields that every answer about this file bears; `second` is now, in epoch seconds."""
        if self._expiry is None:
            return self._fixed
        if second != self._second:
            rule = self._expiry
            ends = (self.facts.mtime if rule.from_change else second) + rule.age
            ends = min(ends, _LAST)
            lines = f"Expires: {httpdate.written(ends)}\r\nCache-Control: max-age={max(0, ends - second)}\r\n"
            self._timed = self._fixed + lines.encode()
            self._second = second
        return self._timed

    def unchanged(self) -> bool:
        """Whether `path` still leads to the same file as it was."""
        try:
            return identity(os.stat(self.path)) == self.identity
        except (OSError, ValueError):
            return False


_LAST = 253402300799
"""The last second of the year 9999: dates have four digits."""
