"""Pace: how fast the whole fleet may start, and how long one failing vassal waits.

Pure: names and times come in, names and times go out. The one danger is a place that is never given back: it would
slow the fleet down for good, so a place is only lent, for `PATIENCE` seconds.
"""

from __future__ import annotations

PATIENCE = 5.0
"""Seconds after which a start that is not over gives its place away: a slow app must not delay the others."""
PLACES_PER_CORE = 2
"""Starts at once for each core: one computes while another waits for its disk."""
JITTER = 0.1
"""Share of a wait that chance may take off, so that vassals that fell together do not rise together."""
SHORTEST = 0.1
"""Seconds; also where ``emperor-throttle`` is 0, since a crash loop without any wait starves the other vassals."""


def backoff(failures: int, base_ms: int, max_ms: int, dice: float) -> float:
    """Return how many seconds to wait after `failures` disloyal deaths in a row.

    Args:
        failures: At least 1; fewer count as 1.
        base_ms: The first wait in ms; it doubles with each further failure.
        max_ms: The longest wait in ms.
        dice: In [0, 1): how much of `JITTER` to take off. Never more than `max_ms` comes out.
    """
    doublings = min(max(failures, 1) - 1, 32)  # 2**32 ms is beyond every maximum, and floats stay exact
    wait = min(base_ms * (1 << doublings), max_ms) / 1000
    return max(wait * (1 - JITTER * dice), SHORTEST)


class Pace:
    """Lends places to start in, first come, first served. Who is known to be slow never gets the last one.

    Slow is whose last start took more than `PATIENCE`: when thirty such apps are reloaded, or hang, the touch of
    another does not wait for all of them.

    Args:
        cores: Of the machine; `PLACES_PER_CORE` starts for each at once.
    """

    def __init__(self, cores: int) -> None:
        self.places = PLACES_PER_CORE * max(cores, 1)
        self._queue: dict[str, None] = {}  # in order of arrival; a dict, so that leaving it costs no search
        self._patient: dict[str, None] = {}  # likewise: those that are slow
        self._last: dict[str, None] = {}  # likewise: those that nobody waits for
        self._starts: dict[str, float] = {}  # who holds a place since when
        self._slow: set[str] = set()

    def request(self, name: str, *, last: bool = False) -> None:
        """Queue `name`; one that is in the queue keeps its position. `last`: one at a time, after all who are not."""
        if last:
            self._last.setdefault(name)
        elif name not in self._queue:
            (self._patient if name in self._slow else self._queue).setdefault(name)

    def cancel(self, name: str, now: float) -> None:
        """Let `name` wait no more, and give its place back at `now`. Unknown names are no error."""
        for queue in (self._queue, self._patient, self._last):
            queue.pop(name, None)
        since = self._starts.pop(name, None)
        if since is None:
            return
        if since + PATIENCE <= now:
            self._slow.add(name)
        else:
            self._slow.discard(name)

    def forget(self, name: str) -> None:
        """There is no vassal `name` any more."""
        self.cancel(name, 0.0)
        self._slow.discard(name)

    def started(self, name: str, now: float) -> None:
        """`name` starts at `now` (monotonic seconds), granted before or not: its `PATIENCE` counts from here."""
        self._starts[name] = now

    def finished(self, name: str) -> None:
        """The start of `name` is over, well or ill. A new request of the same name stays in the queue."""
        self._starts.pop(name, None)

    def due(self, now: float) -> list[str]:
        """Return who may start at `now`, in order. Each takes a place, until `finished`, `cancel` or `PATIENCE`."""
        for name in [name for name, since in self._starts.items() if since + PATIENCE <= now]:
            del self._starts[name]
            self._slow.add(name)
        granted: list[str] = []
        while len(self._starts) < self.places:
            if self._queue:
                queue = self._queue
            elif self._patient and len(self._held_by_slow()) < self.places - 1:
                queue = self._patient
            else:
                break
            name = next(iter(queue))
            del queue[name]
            self._starts[name] = now
            granted.append(name)
        if self._last and not self._starts:
            name = next(iter(self._last))
            del self._last[name]
            self._starts[name] = now
            granted.append(name)
        return granted

    def next(self, now: float) -> float | None:
        """Return when `due` has somebody next if nothing else happens (monotonic seconds); None if nobody waits."""
        if not self._queue and not self._patient:
            if not self._last:
                return None
            return now if not self._starts else max(now, max(self._starts.values()) + PATIENCE)
        free = _fewer_than(self.places, list(self._starts.values()), now)
        return free if self._queue else max(free, _fewer_than(self.places - 1, self._held_by_slow(), now))

    def _held_by_slow(self) -> list[float]:
        """Since when those who are slow hold places."""
        return [since for name, since in self._starts.items() if name in self._slow]


def _fewer_than(limit: int, since: list[float], now: float) -> float:
    """Return when fewer than `limit` of the places that are held `since` then are left, by `PATIENCE` alone."""
    over = len(since) - limit  # `started` may hold more places than there are
    return now if over < 0 else max(now, sorted(since)[over] + PATIENCE)
