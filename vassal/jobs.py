"""Cron jobs of one generation: started when they are due, one minute at most once; tagged, timed, reaped.

What is due says `vassal.cron`. The one danger is running a job twice: so nothing starts before `activate` has said
which minute was the last, and nothing after `release`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import cron, link, logs, sessions, shell, stats, zone
from vassal.config.line_types import CRON2_KEYS, keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.config import Settings

SHORTEST, LONGEST = 0.0, 60.0
"""Seconds between two looks at the wall clock: it may be set meanwhile, or the machine sleep."""
TELL_EVERY = 2.0
"""Seconds between two reports: a thousand jobs in a minute are not two thousand packets."""
RUNNING = -(2**31)
"""Exit status of a job that runs, or has never run."""
SHOWN = 100
"""Jobs that `status` shows, at most."""
COMMAND = 200
"""Characters of a command that `status` shows."""
ROOM = 40_000
"""Bytes of a packet that the commands of a report take, as JSON writes them."""
WAITED_FOR = "+"
"""Behind the start time of a running job: it has been due since, and starts once when it ends."""
NOT_STARTED = 127
"""Exit status of a command that could not even be started, as of a shell that finds none."""


@dataclass(slots=True)
class _Entry:
    """One line, when it is due next (epoch minute), and its last run."""

    job: cron.Job
    due: int | None = None
    waits: bool = False
    """It was due while it still ran, and is unique: it starts when that ends."""
    last: int = 0
    exit: int = RUNNING
    took_ms: int = 0


@dataclass(slots=True)
class _Run:
    """One running command, and when it is killed (monotonic)."""

    entry: _Entry
    command: shell.Command
    began: float
    kill_at: float | None


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """A unique job that an earlier generation ran when it was released; `process` None: it has ended since.

    `waited_for`: it was due again meanwhile, and is to start once more when it ends.
    """

    command: str
    process: sessions.Process | None
    waited_for: bool


def parsed(settings: Settings) -> list[cron.Job]:
    """Return all cron lines of a vassal's file.

    Raises:
        ValueError: one of them is none.
    """
    limit = settings.cron_harakiri
    jobs = [cron.parse(line, harakiri=limit) for line in settings.cron]
    jobs += [cron.parse(line, unique=True, harakiri=limit) for line in settings.unique_cron]
    for line in settings.cron2:
        keys, *command = line.split(None, 1)
        if "=" not in keys:
            keys, command = "", [line]
        jobs.append(cron.parse2(keyed(keys, CRON2_KEYS), "".join(command).strip(), limit))
    return jobs


def next_wake(settings: Settings) -> int:
    """Return the epoch second at which the first job of a sleeping vassal is due, 0 for none."""
    jobs = parsed(settings)
    if not jobs:
        return 0
    offset = zone.offset(zone.named(settings))
    now = int(time.time()) // 60
    return min((due * 60 for job in jobs if (due := job.schedule.next_due(now, offset)) is not None), default=0)


class Jobs:
    """`tell` is called when something has changed that `status` shows."""

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, tell: Callable[[], None]) -> None:
        self._selector = selector
        self._tell = tell
        self._entries = [_Entry(job) for job in parsed(settings)]
        self._offset = zone.offset(zone.named(settings)) if self._entries else None
        self._first: int | None = None
        """The first minute in which an entry is due: a thousand of them are not looked at each turn."""
        self._waits = False
        """Whether any entry waits for its own end."""
        self._runs: dict[int, _Run] = {}
        self._elsewhere: list[tuple[str, sessions.Process]] = []
        """Unique jobs that an earlier generation still runs: command and process."""
        self._news = False
        self._tell_at = 0.0
        self.active = False
        self.minute = 0
        """The last minute that was served (epoch minutes); 0: none."""

    # --- the master's calls --------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return bool(self._runs)

    def activate(self, minute: int, running: Sequence[str], *, at_once: bool = False) -> None:
        """No other generation starts jobs any more; the last one served `minute` and still runs `running`.

        What was due in minutes before this one is not made up. `at_once`: started for what is due in this minute.
        """
        now = int(time.time()) // 60
        if minute > now + cron.CHANGE:
            minute = now  # by a clock that was set back since
        self.active = True
        self.minute = max(minute, now - 1) if minute or at_once else now
        told = [found for text in running if (found := _elsewhere(text)) is not None]
        self._elsewhere = [(one.command, one.process) for one in told if one.process is not None]
        waiting = {one.command for one in told if one.waited_for}
        for entry in self._entries:
            entry.due = self._next(entry, self.minute)
            entry.waits = entry.job.unique and entry.job.command in waiting
        self._sum_up()
        self._news = True

    def release(self) -> None:
        """Start no more jobs; those that run go on."""
        self.active = False
        for entry in self._entries:
            entry.due = None
        self._sum_up()

    def parting(self) -> tuple[int, tuple[str, ...]]:
        """Return the last minute served, and the unique jobs that still run: what a successor is told.

        Those of older generations, too, since nobody else knows of them any more.
        """
        unique = [(pid, _start(pid), run.entry.job.command) for pid, run in self._runs.items() if run.entry.job.unique]
        unique += [(one.pid, one.start, command) for command, one in self._elsewhere if _lives(one)]
        waiting = {entry.job.command for entry in self._entries if entry.waits}
        mark = {command: WAITED_FOR if command in waiting else "" for _, _, command in unique}
        return self.minute, tuple(f"{pid} {start}{mark[command]} {command}" for pid, start, command in unique)

    def wake(self) -> int:
        """Return the epoch second at which the next job is due, 0 for none."""
        found = (self._next(entry, max(self.minute, int(time.time()) // 60)) for entry in self._entries)
        return min((due * 60 for due in found if due is not None), default=0)

    def look(self, now: float) -> None:
        """Start what is due, kill what runs too long. `now`: monotonic seconds."""
        if self.active and self._entries:
            minute = int(time.time()) // 60
            if minute < self.minute - cron.CHANGE:
                self._set_back(minute)
            if self._waits or (self._first is not None and self._first <= minute):
                self._serve(minute, now)
            self.minute = max(self.minute, minute)
        for run in list(self._runs.values()):
            if run.kill_at is not None and now >= run.kill_at:
                run.kill_at = None
                logs.say(f"cron: {run.entry.job.command[:COMMAND]} ran longer than {run.entry.job.harakiri} s: killed")
                run.command.signal(signal.SIGKILL)
        if self._news and now >= self._tell_at:
            self._tell_at = now + TELL_EVERY
            self.tell_all()

    def tell_all(self) -> None:
        """Tell what has changed, if anything has."""
        if self._news:
            self._news = False
            self._tell()

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        now = time.monotonic()
        moments = [run.kill_at for run in self._runs.values() if run.kill_at is not None]
        if self.active and self._first is not None:
            moments.append(now + min(max(self._first * 60 - time.time(), SHORTEST), LONGEST))
        if self._news:
            moments.append(self._tell_at)
        if self.active and self._waits and self._elsewhere:
            moments.append(now + 1.0)  # another generation's job: its end is no event here
        return min(moments, default=None)

    def reaped(self, pid: int, status: int) -> bool:
        """Take note of the end of `pid` (`status` as of `subprocess`); False: it is no job."""
        run = self._runs.pop(pid, None)
        if run is None:
            return False
        self._deafen(run)
        run.command.finish()
        entry = run.entry
        entry.exit, entry.took_ms = status, int((time.monotonic() - run.began) * 1000)
        if status:
            took = entry.took_ms / 1000
            logs.say(f"cron: {entry.job.command[:COMMAND]} ended with {shell.describe(status)} after {took:.1f} s")
        self._news = True
        return True

    def terminate(self) -> None:
        """The vassal ends for good: ask what runs to end."""
        self.release()
        for run in self._runs.values():
            run.command.signal(signal.SIGTERM)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        for run in self._runs.values():
            run.command.close()

    def report(self) -> link.CronReport:
        """Return what `status` shows of the first `SHOWN` jobs."""
        entries = self._entries[:SHOWN]
        return link.CronReport(
            commands=tuple(_cut(entry.job.command[:COMMAND], ROOM // len(entries)) for entry in entries),
            next=tuple((entry.due or 0) * 60 for entry in entries),
            last=tuple(entry.last for entry in entries),
            exits=tuple(entry.exit for entry in entries),
            took_ms=tuple(entry.took_ms for entry in entries),
        )

    def told(self) -> list[stats.Cron]:
        """Return what the statistics say of the first `SHOWN` jobs."""
        return [self._told(entry) for entry in self._entries[:SHOWN]]

    def _told(self, entry: _Entry) -> stats.Cron:
        pid = next((run.command.pid for run in self._runs.values() if run.entry is entry), -1)
        return stats.Cron(
            times=entry.job.schedule.numbers(),
            command=entry.job.command[:COMMAND],
            unique=entry.job.unique,
            pid=pid,
            began=entry.last if pid >= 0 else 0,
        )

    def __bool__(self) -> bool:
        return bool(self._entries)

    def _serve(self, minute: int, now: float) -> None:
        for entry in self._entries:
            if entry.due is not None and entry.due <= minute:
                self._be_due(entry, minute, now)
            elif entry.waits and not self._runs_already(entry):
                entry.waits = False
                self._start(entry, now)
        self._sum_up()

    def _sum_up(self) -> None:
        self._first = min((entry.due for entry in self._entries if entry.due is not None), default=None)
        self._waits = any(entry.waits for entry in self._entries)

    # --- one job -------------------------------------------------------------------------------------------------

    def _set_back(self, minute: int) -> None:
        """The clock was wrong, and has been set back by more than a change of summer time: go by the new time."""
        logs.say(f"cron: the clock was set back by {self.minute - minute} minutes: going by the new time")
        self.minute = minute
        for entry in self._entries:
            entry.due = self._next(entry, minute)
        self._sum_up()
        self._news = True

    def _next(self, entry: _Entry, after: int) -> int | None:
        return entry.job.schedule.next_due(after, self._offset) if self._offset is not None else None

    def _be_due(self, entry: _Entry, minute: int, now: float) -> None:
        missed = entry.due != minute  # the clock was set forward, or the machine slept: not made up
        if missed and not entry.job.schedule.due(minute, self._offset or (lambda _: 0)):
            entry.due = self._next(entry, minute)
            self._news = True
            return
        entry.due = self._next(entry, minute)
        if entry.job.unique and self._runs_already(entry):
            entry.waits = True
        else:
            self._start(entry, now)

    def _runs_already(self, entry: _Entry) -> bool:
        self._elsewhere = [(command, process) for command, process in self._elsewhere if _lives(process)]
        return any(run.entry is entry for run in self._runs.values()) or any(
            command == entry.job.command for command, _ in self._elsewhere
        )

    def _start(self, entry: _Entry, now: float) -> None:
        entry.last, entry.exit = int(time.time()), RUNNING
        words = entry.job.command.split()
        label = f"cron {os.path.basename(words[0]) if words else 'sh'}"
        try:
            command = shell.Command(shell.line(entry.job.command), label)
        except OSError as error:
            logs.say(f"cron: cannot run {entry.job.command[:COMMAND]}: {error.strerror}")
            entry.exit, entry.took_ms = NOT_STARTED, 0
            self._news = True
            return
        harakiri = entry.job.harakiri
        run = self._runs[command.pid] = _Run(entry, command, now, now + harakiri if harakiri else None)
        self._selector.register(command.pipe, selectors.EVENT_READ, lambda: self._read(run))
        self._news = True

    def _read(self, run: _Run) -> None:
        pipe = run.command.pipe
        run.command.read()
        if not run.command.open:  # closed by the command, which may run on
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(pipe)

    def _deafen(self, run: _Run) -> None:
        if run.command.open:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(run.command.pipe)


def _start(pid: int) -> int:
    found = sessions.look(pid)
    return found.start if found is not None else 0


def _cut(text: str, room: int) -> str:
    """Return as much of `text` as JSON writes in `room` bytes."""
    while len(json.dumps(text)) > room:
        text = text[: len(text) * 3 // 4]
    return text


def _elsewhere(text: str) -> _Elsewhere | None:
    """Return what a predecessor told by `Jobs.parting`; None for what it cannot have meant."""
    pid, _, rest = text.partition(" ")
    start, _, command = rest.partition(" ")
    waited_for, start = start.endswith(WAITED_FOR), start.removesuffix(WAITED_FOR)
    if not (pid.isdigit() and start.isdigit()):
        return None
    found = sessions.look(int(pid))
    lives = found is not None and found.start == int(start)
    return _Elsewhere(command, found if lives else None, waited_for=waited_for)


def _lives(process: sessions.Process) -> bool:
    now = sessions.look(process.pid)
    return now is not None and now.start == process.start and now.state not in "ZX"
