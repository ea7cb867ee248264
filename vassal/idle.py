"""How long nobody has asked for anything (``idle``): a pure function of counters and time.

The one danger is to call idle what works: a request that takes long, or a slow upload or download, changes no counter,
so the busy are asked for, too.
"""

from __future__ import annotations

NEVER = float("inf")


class Idle:
    """`limit`: seconds without a request after which a vassal is idle; 0: it never is."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: tuple[int, ...] = ()
        self._since = 0.0

    def begin(self, now: float) -> None:
        """Count from `now` (monotonic seconds) on: workers have begun to serve."""
        self._since = now

    def look(self, counters: tuple[int, ...], now: float, *, busy: bool) -> bool:
        """Return whether it is idle at `now`. `counters` grow with every request; `busy`: one is under way."""
        if busy or counters != self._seen:
            self._seen = counters
            self._since = now
        return bool(self.limit) and now - self._since >= self.limit

    def left(self, now: float) -> float:
        """Return in how many seconds it is idle if nothing happens; inf for never."""
        return max(self._since + self.limit - now, 0.0) if self.limit else NEVER
