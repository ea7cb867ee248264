"""The machine's time zone, whatever an app makes of its process's own (Django sets one when it is imported).

The one danger is a zone that cannot be found: then the process's own has to do.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOCALTIME = "/etc/localtime"


STEP = 7 * 86400
"""Seconds between two samples: no zone changes its clocks to and fro within a week."""
FORECAST = 3 * 366 * 86400
"""Seconds that a forecast reaches; a process that runs longer keeps its last offset."""


def forecast(now: int, step: int = STEP, reach: int = FORECAST) -> Callable[[int], int]:
    """Return what `offset` does, for times from `now` on, out of what the process's own zone says today.

    It loads nothing, and goes on to be right when the app has set another zone.
    """

    def east(second: int) -> int:
        return time.localtime(second).tm_gmtoff

    changes = [(now - step, east(now - step))]
    for end in range(now, now + reach, step):
        if east(end) != changes[-1][1]:
            low, high = end - step, end
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if east(middle) != changes[-1][1] else (middle, high)
            changes.append((high, east(high)))

    def of_zone(second: int) -> int:
        while len(changes) > 1 and second >= changes[1][0]:
            changes.pop(0)
        return changes[0][1]

    return of_zone


def offset() -> Callable[[int], int]:
    """Return a function from epoch seconds to seconds east of UTC, for the zone of ``TZ``, or else the machine's."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 (only where there are cron lines)
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            zone = ZoneInfo(name)
        else:
            with open(LOCALTIME, "rb") as file:
                zone = ZoneInfo.from_file(file)
    except (OSError, ValueError):  # a POSIX rule ("CET-1CEST"), or no such file: UTC unless TZ says otherwise
        return lambda seconds: time.localtime(seconds).tm_gmtoff

    def of_zone(seconds: int) -> int:
        found = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset() or timedelta()
        return int(found.total_seconds())

    return of_zone
