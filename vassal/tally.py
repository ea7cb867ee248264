"""What a generation has done so far, summed over workers that come and go. Pure: views of the scoreboard in, facts out.

The one danger is a number that falls: what a worker did is added to the past before its row is cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vassal import link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vassal.scoreboard import WorkerView


class Tally:
    """`loyalty`: seconds of being ready after which a generation is loyal; `own`: requests of its own making."""

    def __init__(self, loyalty: float, own: int) -> None:
        self._loyalty = loyalty
        self._own = own
        self._requests = 0
        self._exceptions = 0
        self._told: link.Stats | None = None
        self.respawns = 0
        self.loyal = False

    @property
    def past(self) -> tuple[int, int]:
        """Requests and exceptions of workers that have ended."""
        return self._requests, self._exceptions

    def ended(self, view: WorkerView) -> None:
        """A worker has ended."""
        self._requests += view.requests
        self._exceptions += view.exceptions

    def proves_loyal(self, views: Sequence[WorkerView], ready_for: float) -> bool:
        """Whether it becomes loyal now: it has served somebody, or has been ready (seconds) for long enough."""
        served = self._requests + sum(view.requests for view in views) > self._own
        if self.loyal or not (served or ready_for >= self._loyalty):
            return False
        self.loyal = True
        return True

    def news(
        self, views: Sequence[WorkerView], pids: tuple[int, ...], *, asleep: bool, always: bool = False
    ) -> link.Stats | None:
        """Return what there is to tell, None if nothing has changed since it was told (`always`: in any case)."""
        stats = link.Stats(
            workers=len(pids),
            requests=self._requests + sum(view.requests for view in views),
            pids=pids,
            exceptions=self._exceptions + sum(view.exceptions for view in views),
            respawns=self.respawns,
            cheap=asleep,
        )
        if stats == self._told and not always:
            return None
        self._told = stats
        return stats
