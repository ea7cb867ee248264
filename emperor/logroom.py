"""Whether vassals can write their logs: a full disk and a read-only one are told, once a minute at most.

Nothing depends on it: a vassal that cannot log serves on. The one danger is that the look itself hangs, on a file
system that does not answer: it is taken in a thread, one at a time, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 60.0
"""Seconds between two complaints: a full disk concerns every vassal, at every start."""


class Seldom:
    """Lets one complaint pass in `PAUSE` seconds; the next one that passes says how many it stands for."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next = float("-inf")
        self.general = False
        """Whether the directory of all logs is in trouble: that of a single vassal is then part of it."""
        self._held = 0

    def complain(self, text: str) -> bool:
        """Say `text`, unless something was said less than `PAUSE` seconds ago; return whether it was."""
        now = self._clock()
        if now < self._next:
            self._held += 1
            return False
        more = f" ({self._held} more like this in the last minutes)" if self._held else ""
        self._say(text + more)
        self._next, self._held = now + PAUSE, 0
        return True


def judge(directory: str, found: os.statvfs_result | OSError) -> str | None:
    """Return what is wrong with the file system of `directory`, None where vassals can log there."""
    if isinstance(found, OSError):
        why = f"cannot be used: {found.strerror}"
    elif found.f_flag & os.ST_RDONLY:
        why = "is on a file system that is read-only"
    elif found.f_bavail == 0 or (found.f_files and found.f_favail == 0):
        why = "is on a file system that is full"
    else:
        return None
    return f"the log directory {directory} {why}; vassals serve on, but what they write is lost"


class LogRoom:
    """Looks at the directory of the logs. Belongs to the loop; `complain` is shared with whoever opens the files."""

    def __init__(self, directory: str | None, say: Callable[[str], None], seldom: Seldom) -> None:
        self._directory = directory
        self._seldom = seldom
        self._relief = Seldom(say)
        self._looking = False

    def look(self) -> None:
        """Begin to look, unless an earlier look has not come back; what is wrong will be told."""
        if self._directory is None or self._looking:
            return
        arguments = (self._directory, asyncio.get_running_loop())
        with contextlib.suppress(RuntimeError):  # no thread to be had: the next look will do
            threading.Thread(target=self._ask, args=arguments, name="log-room", daemon=True).start()
            self._looking = True

    def _ask(self, directory: str, loop: asyncio.AbstractEventLoop) -> None:
        found: os.statvfs_result | OSError
        try:
            found = os.statvfs(directory)
        except OSError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self.answer, judge(directory, found))

    def answer(self, wrong: str | None) -> None:
        """Take what a look has found; the end of a trouble is told, too."""
        self._looking = False
        before, self._seldom.general = self._seldom.general, wrong is not None
        if wrong is not None:
            self._seldom.complain(wrong)
        elif before:
            self._relief.complain(f"vassals can log again in {self._directory}")
