"""The log's side of a master: keeps the files as they should be, its workers up to date, and says what was lost.

The one danger is that the log is the only place where its own failure is told. So what is said here goes to the emperor
as well, who writes it into his.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vassal import link, logs
from vassal.logbook import requests
from vassal.logbook.losses import Losses

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from vassal.children import Children
    from vassal.config import Settings
    from vassal.logbook.outlet import Outlet


class Keeper:
    """Keeps `outlet`; `post` sends a record to the emperor."""

    def __init__(self, settings: Settings, outlet: Outlet, post: Callable[[link.Record], None]) -> None:
        self._settings = settings
        self.outlet = outlet
        self._post = post
        self._losses = Losses()
        outlet.complain = self._complain

    @property
    def often(self) -> bool:
        """Whether `look` is to be called every second."""
        return self.outlet.touched or self._losses.waiting

    def begin(self, selector: selectors.BaseSelector, children: Children) -> None:
        """Take what is printed from now on."""
        self.outlet.begin(selector, children.reopened)

    def loading(self) -> AbstractContextManager[None]:
        """Return what surrounds the loading of the app, which may print more than a pipe holds."""
        return self.outlet.pumping()

    def look(self, now: float) -> None:
        """Follow what has become of the files, and say what was lost. `now`: CLOCK_MONOTONIC seconds."""
        self.outlet.look(now)
        for label, lines, why in self.outlet.losses():
            self._losses.add(label, lines, why)
        for text in self._losses.due(now):
            self._complain(text)

    def lost(self, label: str, lines: int, why: str) -> None:
        """A worker has lost lines."""
        self._losses.add(label, lines, why)

    def reopen(self, given: Sequence[int] = ()) -> None:
        """Open all files by their names again."""
        self.outlet.reopen(time.monotonic(), given)

    def killed(self, pid: int, number: int, took: float) -> None:
        """Log a request that harakiri has ended together with its worker, `pid`: what it was, only that worker knew."""
        log = requests.prepare(self._settings, self.outlet, None, number)
        if log is not None:
            log.killed(pid, took)
            log.flush()

    def rotate(self) -> None:
        """Begin new log files."""
        self.outlet.rotate(time.monotonic())

    def end(self) -> None:
        """Nobody writes any more but this process: pass on the last lines."""
        self.look(time.monotonic())
        self.outlet.end()

    def _complain(self, text: str) -> None:
        logs.say(text)
        self._post(link.Trouble(text[:500]))
