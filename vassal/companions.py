"""What runs beside the app: cron jobs and daemons together, as one generation's master sees them.

The one danger is a successor that starts while something of this generation still runs: `Released` goes out only when
the daemons that it has to see out have ended.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vassal import link
from vassal.attach import Daemons
from vassal.jobs import Jobs

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from vassal.config import Settings


class Companions:
    """Jobs and daemons. `post` sends a record to the emperor, `end` ends the vassal (its control daemon has)."""

    def __init__(
        self,
        settings: Settings,
        selector: selectors.BaseSelector,
        post: Callable[[link.Record], None],
        end: Callable[[], None],
    ) -> None:
        self._post = post
        self.jobs = Jobs(settings, selector, lambda: post(self.jobs.report()))
        self._daemons = Daemons(settings, selector, lambda: post(self._daemons.report()), end)
        self._owed = 0
        """Answers `Released` that wait for daemons to end."""
        self._resting = False

    @property
    def busy(self) -> bool:
        """Whether anything runs that this master has to see out."""
        return self.jobs.busy or self._daemons.busy

    def daemons_told(self) -> list[dict[str, Any]]:
        """Return what the statistics say of the daemons, as uWSGI writes it."""
        report = self._daemons.report()
        rows = zip(report.commands, report.pids, report.restarts, strict=True)
        return [{"cmd": command, "pid": pid, "respawns": restarts} for command, pid, restarts in rows]

    def activate(self, record: link.Activate) -> None:
        """No other generation runs any: start."""
        if self.jobs:
            self.jobs.activate(record.minute, record.running)
        self._daemons.activate(time.monotonic(), record.kept)

    def release(self, now: float, mercy: float) -> bool:
        """Start no more jobs, end plain daemons, answer; return whether that answer has to wait for an end."""
        self.retire(now, mercy)
        self._owed += 1
        self._answer(now)
        return self._owed > 0

    def retire(self, now: float, mercy: float) -> None:
        """The same, where nobody waits for an answer; jobs that run go on."""
        self.jobs.release()
        self._daemons.release(now, mercy)

    def finish(self, now: float, mercy: float) -> None:
        """The vassal ends for good: ask all to end, smart daemons too, and answer when the daemons have."""
        self.jobs.terminate()
        self._daemons.finish(now, mercy)
        self._owed += 1
        self._answer(now)

    def rested(self, now: float, mercy: float) -> bool:
        """The vassal is about to sleep without a process: end plain daemons; return whether nothing is left to end."""
        if self.jobs.busy:
            return False
        if not self._resting:
            self._resting = True
            self._daemons.release(now, mercy, reloading=False)
        if self._daemons.busy:
            return False
        self._daemons.tell_all(now)
        return True

    def wake(self, now: float) -> None:
        """Somebody calls: it does not sleep after all."""
        if self._resting:
            self._resting = False
            self._daemons.resume(now)

    def reaped(self, pid: int, status: int) -> bool:
        """Note the end of child `pid` (`status` as of `subprocess`); False: it is none of these."""
        return self.jobs.reaped(pid, status) or self._daemons.reaped(pid, status, time.monotonic())

    def look(self, now: float) -> None:
        """Do what is due at `now` (monotonic seconds)."""
        self.jobs.look(now)
        self._daemons.look(now)
        self._answer(now)

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        moments = [moment for moment in (self.jobs.deadline(), self._daemons.deadline()) if moment is not None]
        return min(moments, default=None)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        self.jobs.leave()
        self._daemons.leave()

    def _answer(self, now: float) -> None:
        if not self._owed or self._daemons.busy:
            return
        self._daemons.tell_all(now)  # first: whoever comes next is told what runs already
        for _ in range(self._owed):
            self._post(link.Released(*self.jobs.parting()))
        self._owed = 0
