"""When a cron line is due: uWSGI's numbers and crontab's fields, one matcher. Pure: no clock, no process, no zone.

Minutes are epoch minutes; the zone is a function from epoch seconds to seconds east of UTC. The one danger is the night
when the clock is changed: `Schedule.due` is the truth about it, and `next_due` never contradicts it.

- A line that names hours has its runs of a skipped hour as one, at the first minute after it; of two hours that are
  alike it has those of the first.
- A line for every hour runs by real time: an hour more has its runs, an hour less has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from time import gmtime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Offset = Callable[[int], int]

CHANGE = 180
"""Minutes by which a clock is set at most where that is a change to or from summer time, and no correction."""
YEARS = 9
"""How far `next_due` looks: eight years lie between two 29 February at the turn of some centuries."""
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_ITEM = re.compile(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values of each field at which a line is due.

    `either`: day and weekday are both restricted, so that one of them is enough (crontab(5), uWSGI's Cron page).
    `hourly`: every hour is one of its hours.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    hourly: bool

    def on_day(self, wall: int) -> bool:
        """Whether the day of the wall-clock minute `wall` is one of its days."""
        when = gmtime(wall * 60)
        if when.tm_mon not in self.months:
            return False
        day, weekday = when.tm_mday in self.days, (when.tm_wday + 1) % 7 in self.weekdays
        return day or weekday if self.either else day and weekday

    def numbers(self) -> tuple[int | list[int], ...]:
        """Return minute, hour, day, month and weekday as uWSGI writes them; a list where no number can say it."""
        fields = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return tuple(_number(values, *bounds) for values, bounds in zip(fields, _BOUNDS, strict=True))

    def at(self, wall: int) -> bool:
        """Whether a clock that shows `wall` (minutes since 1970 as it shows them) shows one of its times."""
        return wall % 60 in self.minutes and wall // 60 % 24 in self.hours and self.on_day(wall)

    def due(self, minute: int, offset: Offset) -> bool:
        """Whether it is to run in epoch minute `minute`."""
        wall = _wall(minute, offset)
        if self.hourly or offset(minute * 60) == offset((minute - CHANGE) * 60):
            return self.at(wall)
        change = _change(minute - CHANGE, minute, offset)
        return self._due_after(minute - change, wall, _wall(change - 1, offset))

    def _due_after(self, since: int, wall: int, before: int) -> bool:
        """Whether it runs `since` minutes after the clock was set, from `before` on; it shows `wall` now.

        What it has shown already has run, what it has skipped runs now.
        """
        shown = max(before, wall - 1 if since else 0, wall - CHANGE)
        return any(self.at(one) for one in range(shown + 1, wall + 1))

    def next_due(self, after: int, offset: Offset) -> int | None:
        """Return the first epoch minute after `after` in which it is due; None: never within `YEARS` years.

        It goes by whole days, and minute by minute only right after the clock was set: some thousand jobs may be asked
        for at once, when their vassal starts.
        """
        minute = after + 1
        end = after + YEARS * 366 * 1440
        while minute < end:
            now = offset(minute * 60)
            wall = minute + now // 60
            if not self.hourly and now != offset((minute - CHANGE) * 60):
                change = _change(minute - CHANGE, minute, offset)
                before = _wall(change - 1, offset)
                for one in range(minute, change + CHANGE):
                    if self._due_after(one - change, one + now // 60, before):
                        return one
                minute = change + CHANGE
                continue
            midnight = minute + 1440 - wall % 1440
            same = offset(midnight * 60) == now
            until = midnight if same else _change(minute, midnight, offset)
            found = self._next_on_day(wall)
            if found is not None and minute + found - wall < until:
                return minute + found - wall
            minute = until + self._idle(wall + 1440 - wall % 1440, end - until) if same else until
        return None

    def _idle(self, midnight: int, limit: int) -> int:
        """Return how many minutes from the wall-clock minute `midnight` on can be passed over: none of its days begins.

        A day and a half less than until the first that does: the clock may be set meanwhile.
        """
        ahead = 0
        while ahead < limit and not self.on_day(midnight + ahead):
            ahead += 1440
        return max(ahead - 2160, 0)

    def _next_on_day(self, wall: int) -> int | None:
        """Return the first wall-clock minute from `wall` on that it matches on the same day."""
        if not self.on_day(wall):
            return None
        midnight = wall - wall % 1440
        first = wall - midnight
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes) if hour >= first // 60 else ():
                if hour * 60 + minute >= first:
                    return midnight + hour * 60 + minute
        return None


def _wall(minute: int, offset: Offset) -> int:
    return minute + offset(minute * 60) // 60


def _change(before: int, after: int, offset: Offset) -> int:
    """Return the first minute after `before` that has another offset; `after` has one. One change lies between them."""
    old = offset(before * 60)
    while after - before > 1:
        middle = (before + after) // 2
        if offset(middle * 60) == old:
            before = middle
        else:
            after = middle
    return after


def of_numbers(minute: int, hour: int, day: int, month: int, week: int) -> Schedule:
    """Return the schedule of uWSGI's five numbers: -1 any, -N where the value divides by N; week 7 is Sunday."""
    minutes, hours = _numbers(minute, 0, 59), _numbers(hour, 0, 23)
    days, months = _numbers(day, 1, 31), _numbers(month, 1, 12)
    weekdays = _numbers(0 if week == 7 else week, 0, 6)
    return Schedule(minutes, hours, days, months, weekdays, day != -1 and week != -1, len(hours) == 24)


def _numbers(value: int, low: int, high: int) -> frozenset[int]:
    if value < 0:
        return frozenset(one for one in range(low, high + 1) if one % -value == 0)
    return frozenset((value,))


def _number(values: frozenset[int], low: int, high: int) -> int | list[int]:
    """Return the number that `_numbers` makes these values from, or a list of them where there is none."""
    if len(values) == 1:
        return next(iter(values))
    for step in range(1, high + 1):
        if values == _numbers(-step, low, high):
            return -step
    return sorted(values)


def of_fields(fields: list[str]) -> Schedule:
    """Return the schedule of crontab's five fields (crontab(5)): names, ranges, lists, steps.

    Raises:
        ValueError: one of them is none.
    """
    sets = [_field(text.lower(), *what) for text, what in zip(fields, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in sets[4])
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Schedule(sets[0], sets[1], sets[2], sets[3], weekdays, either, len(sets[1]) == 24)


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{name} {item!r}: expected *, a number, a name, or a range, perhaps with /STEP")
        start, end, step = match.groups()
        if start == "*":
            first, last = low, high if name != "weekday" else 6
        else:
            first = _value(start, name, low, high)
            last = _value(end, name, low, high) if end else high if step else first
        if step == "0" or last < first or (start == "*" and end):
            raise ValueError(f"{name} {item!r}: this range has no values")
        values.update(range(first, last + 1, int(step or 1)))
    return frozenset(values)


def _value(text: str, name: str, low: int, high: int) -> int:
    names = {"month": _MONTHS, "weekday": _DAYS}.get(name, [])
    if text in names:
        return names.index(text) + low
    if not text.isdigit() or not low <= int(text[:9]) <= high:
        raise ValueError(f"{name} {text!r}: expected {low} to {high}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Job:
    """One line. `unique`: never twice at once. `harakiri`: seconds after which it is killed, 0 for never."""

    command: str
    schedule: Schedule
    unique: bool = False
    harakiri: int = 0


def parse(line: str, *, unique: bool = False, harakiri: int = 0) -> Job:
    """Return the job of a ``cron`` or ``unique-cron`` line.

    Raises:
        ValueError: neither uWSGI's five numbers nor crontab's five fields (or a nickname) before a command.
    """
    nickname, *rest = line.split(None, 1) or [""]
    if nickname.startswith("@"):
        if nickname not in NICKNAMES or not rest:
            raise ValueError(f"{nickname}: expected one of {', '.join(NICKNAMES)}, and a command")
        return Job(rest[0].strip(), of_fields(NICKNAMES[nickname].split()), unique, harakiri)
    words = line.split(None, 5)
    if len(words) < 6:
        raise ValueError("expected minute, hour, day, month, weekday and a command")
    if all(re.fullmatch(r"-?[0-9]{1,9}", word) for word in words[:5]):
        numbers = [int(word) for word in words[:5]]
        return Job(words[5], of_numbers(*numbers), unique, harakiri)
    return Job(words[5], of_fields(words[:5]), unique, harakiri)


def parse2(keys: dict[str, str], command: str, harakiri: int = 0) -> Job:
    """Return the job of a ``cron2`` line: keys that are not given are -1, any."""
    numbers = [int(keys.get(name, "-1")) for name in ("minute", "hour", "day", "month", "week")]
    own = int(keys.get("harakiri", "0")) or harakiri
    return Job(command, of_numbers(*numbers), keys.get("unique", "0") != "0", own)
