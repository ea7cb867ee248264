"""A log file over its life: opened, followed where it is replaced, rotated.

Only masters do this, and hand the new descriptor to their workers, which therefore always write to the same file. The
one danger is two masters (a reload has two for a while) that rotate the same file at once, the second one over what the
first one has just kept: so a rotation holds a lock on the file, and looks again once it has it.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Callable

KEEP, REOPEN, ROTATE = "keep", "reopen", "rotate"
COMPLAINT_EVERY = 60.0
"""Seconds between two complaints about one file."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is at a log's path, None where nothing is, and the file that is open: (device, inode), links, bytes."""

    path: tuple[int, int] | None
    opened: tuple[int, int]
    links: int
    size: int


def decide(seen: Seen, maxsize: int) -> str:
    """Return what is to be done with a log file: `KEEP`, `REOPEN` or `ROTATE`.

    A file that has been renamed and has no successor yet is kept: logrotate makes one in a moment, or sends a signal.
    """
    if seen.path is None:
        return REOPEN if not seen.links else KEEP
    if seen.path != seen.opened:
        return REOPEN
    return ROTATE if maxsize and seen.size > maxsize else KEEP


def backup_name(path: str, wanted: str, now: int, taken: Callable[[str], bool]) -> str:
    """Return what a full log is renamed to: `wanted`, or the path with the time, which overwrites none."""
    if wanted:
        return wanted
    name = f"{path}.{now}"
    number = 0
    while taken(name):
        number += 1
        name = f"{path}.{now}.{number}"
    return name


class LogFile:
    """One open log file.

    Args:
        path: absolute.
        fds: the descriptors that are it; for ever, whatever file is open. Without any, it is opened.
        maxsize: bytes at which it is rotated, 0: never.
        backupname: absolute; ``""``: the path with the time.
        mode: the mode that a file gets, None: what the umask leaves.
        complain: is told what goes wrong later.

    Raises:
        LogError: it cannot be opened.
    """

    def __init__(  # noqa: PLR0913 (each is an option of its own)
        self,
        path: str,
        *,
        fds: tuple[int, ...] = (),
        maxsize: int = 0,
        backupname: str = "",
        mode: int | None = None,
        truncate: bool = False,
        complain: Callable[[str], None] = logs.say,
    ) -> None:
        self.path = path
        self.maxsize = maxsize
        self.backupname = backupname
        self._mode = mode
        self._tell = complain
        self.fds = fds or (logs.open_file(path, truncate=truncate, mode=mode),)
        self._adrift = False
        """The open file is no longer the one at the path, and that one cannot be opened."""
        self._complain_at = 0.0
        self._size = 0
        """Bytes at the last look."""

    def look(self, now: float) -> bool:
        """Follow what has become of the file; True: another one is open now. `now`: CLOCK_MONOTONIC seconds."""
        seen = self._see()
        if seen is None:
            return False
        verdict = decide(seen, self.maxsize)
        if verdict == ROTATE:
            return self.rotate(now)
        if verdict == REOPEN or self._adrift:
            deleted = not seen.links
            if not self.reopen(now, lost=deleted):
                return False
            if deleted:
                lost = max(0, seen.size - self._size)
                self._tell(
                    f"the log {self.path} was deleted, and is made anew; {lost} bytes written meanwhile are lost"
                )
            self._size = 0
            return True
        self._size = seen.size
        return False

    def reopen(self, now: float, *, lost: bool = False) -> bool:
        """Open what is at the path now; False: that fails, the former one stays. `lost`: nobody can read that one."""
        try:
            fresh = logs.open_file(self.path, mode=self._mode)
        except logs.LogError as error:
            self._adrift = True
            self._complain(now, f"{error}; {'what is written to it is lost' if lost else 'the former file stays'}")
            return False
        replace(self.fds, fresh)
        self._adrift = False
        return True

    def rotate(self, now: float) -> bool:
        """Keep what is there under the backup's name and begin anew; True: another file is open now."""
        try:
            fcntl.flock(self.fds[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # another generation is at it
        try:
            if not self._set_aside(now):
                return False
        finally:
            fcntl.flock(self.fds[-1], fcntl.LOCK_UN)
        return self.reopen(now)

    def _set_aside(self, now: float) -> bool:
        """Rename the file, unless another generation has done so; False: it stays, or is just being made."""
        seen = self._see()
        if seen is None or seen.path is None:
            return False
        if seen.path != seen.opened:
            return True
        name = backup_name(self.path, self.backupname, int(time.time()), os.path.lexists)
        try:
            os.rename(self.path, name)
        except OSError as error:
            self._complain(now, f"cannot rotate the log {self.path} to {name}: {error.strerror}; it grows on")
            return False
        return True

    def _see(self) -> Seen | None:
        try:
            mine = os.fstat(self.fds[-1])
        except OSError:
            return None
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            path = None
        except OSError:
            return None  # a directory that cannot be entered just now
        else:
            path = (there.st_dev, there.st_ino)
        return Seen(path, (mine.st_dev, mine.st_ino), mine.st_nlink, mine.st_size)

    def _complain(self, now: float, text: str) -> None:
        if now >= self._complain_at:
            self._complain_at = now + COMPLAINT_EVERY
            self._tell(text)


def replace(fds: tuple[int, ...], fresh: int) -> None:
    """Make every one of `fds` the file `fresh`, and close that."""
    for descriptor in fds:
        os.dup2(fresh, descriptor, inheritable=descriptor <= 2)
    if fresh not in fds:
        os.close(fresh)
