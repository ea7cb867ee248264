"""The cron jobs of a vassal that sleeps: no app, no workers, no sockets; run what is due, say when to come again, end.

The one danger is staying: a child that waits for a word that never comes would keep its vassal from being woken for the
next job. So it ends when the emperor does, and hears only what it must.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from vassal import link, sessions
from vassal.jobs import Jobs
from vassal.signals import Signals

if TYPE_CHECKING:
    from vassal.config import Settings
    from vassal.logbook.outlet import Outlet

PATIENCE = 30.0
"""Seconds to wait for `Activate`, which the emperor sends right after the spawn."""
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Errands:
    """Runs them; `run` returns the exit status."""

    def __init__(self, end: link.End, settings: Settings, outlet: Outlet) -> None:
        self._end = end
        self._outlet = outlet
        self._selector = selectors.DefaultSelector()
        self._jobs = Jobs(settings, self._selector, self._tell)
        self._signals = Signals()
        self._until = time.monotonic() + PATIENCE
        self._heard = False
        self._over = False

    def run(self) -> int:
        """Serve until nothing runs and nothing is due, or until told to end."""
        sessions.become_subreaper()
        self._signals.catch(_SIGNALS)
        self._signals.watch(self._selector)
        self._selector.register(self._end.fileno(), selectors.EVENT_READ, self._read_link)
        while not self._done():
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            with contextlib.suppress(link.LinkClosed):
                self._end.flush()
        return 0

    def _done(self) -> bool:
        while self._signals.pending:
            if self._signals.pending.pop(0) != signal.SIGCHLD:
                self._over = True
                self._jobs.terminate()
        self._reap()
        self._jobs.look(time.monotonic())
        if self._jobs.busy:
            return False
        if self._over or (not self._heard and time.monotonic() >= self._until):
            return True
        if self._heard and self._jobs.active:
            self._jobs.tell_all()
            self._post(link.Parking(self._jobs.wake(), self._jobs.minute))
            return True
        return False

    def _timeout(self) -> float | None:
        first = None if self._heard else self._until
        moments = [moment for moment in (self._jobs.deadline(), first) if moment is not None]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._jobs.reaped(pid, os.waitstatus_to_exitcode(status))

    def _read_link(self) -> None:
        try:
            while (message := self._end.read()) is not None:
                self._obey(*message)
        except (link.LinkClosed, link.LinkError):
            self._selector.unregister(self._end.fileno())
            self._over = True
            self._jobs.terminate()

    def _obey(self, record: link.Record, fds: tuple[int, ...] = ()) -> None:
        if isinstance(record, link.Activate):
            self._heard = True
            self._jobs.activate(record.minute, record.running, at_once=True)
        elif isinstance(record, link.Release):
            self._heard = True
            self._jobs.release()
            self._post(link.Released(*self._jobs.parting()))
        elif isinstance(record, link.Retire):
            self._over = True
            if record.final:
                self._jobs.terminate()
                self._post(link.Released(*self._jobs.parting()))
        elif isinstance(record, link.ReopenLogs):
            self._outlet.reopen(time.monotonic(), fds)

    def _tell(self) -> None:
        self._post(self._jobs.report())

    def _post(self, record: link.Record) -> None:
        with contextlib.suppress(link.LinkClosed, link.LinkError):
            self._end.post(record)
