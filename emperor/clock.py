"""Notices when the wall clock is set: by hand, by NTP at boot, after a suspend.

All deadlines here are monotonic, and the one moment that comes from a wall clock is that of a parked vassal's next cron
job. The danger is a machine that boots with the year 1970: what was to run at three o'clock would wait for the hours
that the clock has skipped. So whoever waits for such a moment is told, and counts again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

EVERY = 20.0
"""Seconds between two looks: half a minute late is early enough for a job that is due in a certain minute."""
NOTABLE = 2.0
"""Seconds by which the two clocks must part between two looks; what NTP slews is less."""


class Clock:
    """Calls `moved` after each jump. Everything here runs on the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        moved: Callable[[float], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._loop = loop
        self._moved = moved
        self._wall = wall
        self._apart = wall() - loop.time()

    def watch(self) -> None:
        """Look now, and again and again from now on."""
        apart = self._wall() - self._loop.time()
        jump, self._apart = apart - self._apart, apart
        if abs(jump) >= NOTABLE:
            self._moved(jump)
        self._loop.call_later(EVERY, self.watch)
