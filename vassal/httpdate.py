"""Dates as HTTP writes them (RFC 9110 section 5.6.7): ``Sun, 06 Nov 1994 08:49:37 GMT``.

Python's own are in `email.utils`, which brings twenty modules with it; whatever the fork server holds is in the memory
of every vassal. The one danger is leniency: what is no date of these forms must not count as one.
"""

from __future__ import annotations

import re
import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = tuple(
    re.compile(form, re.ASCII).fullmatch
    for form in (
        rf"[A-Z][a-z]{{2}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_CLOCK} GMT",
        rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_CLOCK} GMT",  # RFC 850, obsolete
        rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})",  # asctime, obsolete
    )
)
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def written(seconds: int) -> str:
    """Return the epoch second `seconds` as an IMF-fixdate, whatever the locale is."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def read(text: str) -> int | None:
    """Return the epoch second that `text` names in one of the three forms, or None: it is no date of HTTP."""
    for form in _FORMS:
        found = form(text)
        if found is not None:
            break
    else:
        return None
    month = _MONTHS.index(found["month"]) + 1
    year, day, hour, minute, second = (int(found[name]) for name in ("year", "day", "hour", "minute", "second"))
    if len(found["year"]) == 2:
        # More than fifty years in the future is the most recent year in the past with these digits.
        now = time.gmtime().tm_year
        year += now - now % 100
        if year > now + 50:
            year -= 100
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 28 if month == 2 and not leap else _LENGTHS[month - 1]
    if not (year >= 1 and 1 <= day <= longest and hour < 24 and minute < 60 and second <= 60):
        return None
    # The days since 1970-01-01 in the Gregorian calendar, with years that begin in March: the leap day comes last.
    if month <= 2:
        year, month = year - 1, month + 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second
