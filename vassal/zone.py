"""The machine's time zone, whatever an app makes of its process's own (Django sets one when it is imported).

The one danger is a zone that cannot be found: then the process's own has to do.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from vassal.config import Settings

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


def named(settings: Settings) -> str:
    """Return the ``TZ`` that a vassal's file gives its processes, or that they inherit; '' for the machine's zone."""
    given = [value for name, value in settings.env if name == "TZ"]
    if given:
        return given[-1]
    return "" if "TZ" in settings.unenv else os.environ.get("TZ", "")


def offset(name: str | None = None) -> Callable[[int], int]:
    """Return a function from epoch seconds to seconds east of UTC, for the zone `name`.

    As in tzset(3) that is a zone, the path of its file, or a rule (``CET-1CEST,M3.5.0,M10.5.0/3``); '' is that of the
    machine. None: what ``TZ`` says.
    """
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 (only where there are cron lines)
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    name = (os.environ.get("TZ", "") if name is None else name).removeprefix(":")
    try:
        if name and not name.startswith("/"):
            zone = _zone(name)
        else:
            with open(name or LOCALTIME, "rb") as file:
                zone = ZoneInfo.from_file(file)
    except (OSError, ValueError):  # nothing that can be understood: what the C library makes of it
        return lambda seconds: time.localtime(seconds).tm_gmtoff

    def of_zone(seconds: int) -> int:
        found = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset() or timedelta()
        return int(found.total_seconds())

    return of_zone


def _zone(name: str) -> ZoneInfo:
    """Return the zone of that name, or what the rule says.

    Raises:
        ValueError: it is neither.
    """
    from io import BytesIO  # noqa: PLC0415 (as above)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        # A zone file without a change of the clock, and the rule as its footer (RFC 8536, section 3.3).
        counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
        block = b"TZif2" + bytes(15) + counts + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
        return ZoneInfo.from_file(BytesIO(block + block + b"\n" + os.fsencode(name) + b"\n"))
