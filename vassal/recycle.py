"""When a worker has served long enough: requests, age, memory.

The one danger is that all workers of a vassal leave at once: the request limit grows with the worker's number
(max-requests-delta), and the master replaces one before it lets go of it.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of one worker: a count, seconds, bytes. 0: none."""

    max_requests: int = 0
    min_lifetime: float = 0.0
    max_lifetime: float = 0.0
    max_rss: int = 0

    @property
    def any(self) -> bool:
        """There is a limit at all."""
        return bool(self.max_requests or self.max_lifetime or self.max_rss)


def decide(rules: Rules, *, age: float, requests: int, rss: int) -> str | None:
    """Return why a worker should be replaced, or None. Pure.

    Args:
        rules: its limits.
        age: seconds since it started.
        requests: requests that it has served.
        rss: bytes of resident memory.
    """
    if rules.max_lifetime and age >= rules.max_lifetime:
        return f"max-worker-lifetime: {age:.0f} s"
    if age < rules.min_lifetime:
        return None
    if rules.max_requests and requests >= rules.max_requests:
        return f"max-requests: {requests}"
    if rules.max_rss and rss >= rules.max_rss:
        return f"reload-on-rss: {rss // 1048576} MiB"
    return None


class Recycler:
    """Counts and looks; `leave` is told the reason, again and again until somebody acts."""

    def __init__(self, rules: Rules, born: float, leave: Callable[[str], None]) -> None:
        self._rules = rules
        self._born = born
        self._leave = leave
        self._counter = itertools.count(1)
        self._served = 0

    def count(self) -> None:
        """One more request has been served. Called by all threads; the counter is atomic."""
        self._served = served = next(self._counter)
        if served == self._rules.max_requests and not self._rules.min_lifetime:
            self._leave(f"max-requests: {served}")

    def look(self, now: float) -> None:
        """Look at everything; `now` is CLOCK_MONOTONIC in seconds."""
        rss = resident() if self._rules.max_rss else 0
        reason = decide(self._rules, age=now - self._born, requests=self._served, rss=rss)
        if reason is not None:
            self._leave(reason)


def resident() -> int:
    """Return this process's resident memory in bytes (proc(5), ``statm``); 0: no descriptor is left to look with."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
