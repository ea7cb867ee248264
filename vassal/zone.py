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
