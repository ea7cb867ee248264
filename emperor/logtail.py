"""`emperor logs`: the end of a log file, and what is added to it.

The danger here: a log does not stay what it was. It is truncated (copytruncate), renamed and begun anew (logrotate), or
not there yet; following must survive each, and must never block on something that is no file. And what an app has
printed must not command the terminal of who reads it.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 64 * 1024


_COMMANDS = re.compile(rb"(\r?\n|\x1b\[[0-9;:]*m)|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""Line ends and colours, which stay (ECMA-48, SGR); every other control character of ASCII and of Latin 1 in UTF-8."""


def harmless(data: bytes) -> bytes:
    """Return `data` as a terminal may have it: control characters but for line ends, tabs and colours as escapes."""
    return _COMMANDS.sub(lambda found: found[1] or b"".join(b"\\x%02x" % byte for byte in found[0]), data)


class NotALogError(OSError):
    """What lies at the log's path is no regular file."""


def open_log(path: str) -> BinaryIO:
    """Open a log for reading, without ever blocking.

    Raises:
        NotALogError: If it is a FIFO, a device, a directory.
        OSError: If it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotALogError(f"{path} is no regular file")
    return os.fdopen(fd, "rb", buffering=0)


def start_of_last(log: BinaryIO, lines: int) -> int:
    """Offset in bytes at which the last `lines` lines of a file begin; an unfinished last line counts as one."""
    end = at = log.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    wanted = lines + 1
    while at > 0:
        begin = max(0, at - _BLOCK)
        log.seek(begin)
        block = log.read(at - begin)
        if at == end and not block.endswith(b"\n"):
            wanted -= 1
        position = len(block)
        while (position := block.rfind(b"\n", 0, position)) >= 0:
            wanted -= 1
            if wanted == 0:
                return begin + position + 1
        at = begin
    return 0


class Follower:
    """Copies what is appended to a log, across truncation, rename and late creation.

    Args:
        path: The log.
        write: Takes the bytes.
        lines: How many lines of what is already there come first.
    """

    def __init__(self, path: str, write: Callable[[bytes], object], lines: int) -> None:
        self._path = path
        self._write = write
        self._log: BinaryIO | None = None
        self._offset = 0
        self._open(lines)

    def step(self) -> bool:
        """Copy what is new; whether there was something."""
        if self._log is None:
            self._open(None)
        moved = self._copy()
        if self._log is not None and self._renamed():
            moved = self._copy() or moved  # written between the last read and the rename
            self._log.close()
            self._log = None
            self._open(None)
            moved = self._copy() or moved
        return moved

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _open(self, lines: int | None) -> None:
        try:
            self._log = open_log(self._path)
        except FileNotFoundError:
            return
        self._offset = 0 if lines is None else start_of_last(self._log, lines)

    def _renamed(self) -> bool:
        if self._log is None:
            return False
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._log.fileno()))
        except FileNotFoundError:
            return False  # away, and no successor yet: the old file may still be written to

    def _copy(self) -> bool:
        if self._log is None:
            return False
        if os.fstat(self._log.fileno()).st_size < self._offset:
            self._offset = 0  # truncated
        self._log.seek(self._offset)
        moved = False
        while data := self._log.read(_BLOCK):
            self._offset += len(data)
            self._write(data)
            moved = True
        return moved
