"""The emperor's end of the fork server: starts it, asks it for children, and takes over when it dies.

The one danger is a death in between: a request that nobody answers any more, or masters that have lost their parent.
A fork server that cannot be understood any more, or stands still, is as good as dead, and is killed.
Unanswered requests are reported as failed; orphaned masters come back to the emperor (see `emperor.orphans`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from emperor import launch
from emperor.orphans import Orphans, reap_strangers
from vassal import link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

FIRST_WAIT = 0.05
"""Seconds before a fork server that died young is replaced; doubled each time."""
LONGEST_WAIT = 5.0
YOUNG = 5.0
"""Seconds of life after which a death counts as the first again."""
PATIENCE = 30.0
"""Seconds without any answer, while there is something to be answered, after which a fork server is taken for hung.

Less than ``start-timeout`` is by default: the reloads that wait for it are tried again then, and not rolled back.
"""
SPARED = 1000
"""Smart daemons in one packet."""


class Parent(Protocol):
    """Who asked for the children."""

    def spawned(self, spawn: int, pid: int, pidfd: int) -> None:
        """The child `spawn` runs as `pid`; `pidfd` is the receiver's to close."""

    def unspawned(self, spawn: int, reason: str) -> None:
        """The child `spawn` does not run."""

    def exited(self, spawn: int, status: int) -> None:
        """The child `spawn` has ended (`status` as of `subprocess`), and so have its jobs and daemons."""


class Spawner:
    """One fork server at a time. Everything here runs on the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parent: Parent, say: Callable[[str], None], nofile: int
    ) -> None:
        self._loop = loop
        self._parent = parent
        self._say = say
        self._nofile = nofile
        self._end: link.End | None = None
        self._pid = 0
        self._pidfd = -1
        self._started = 0.0
        self._wait = FIRST_WAIT
        self._asked: dict[int, int] = {}
        """Spawn -> our copy of the child's end of its link, kept until it is answered."""
        self._later: list[int] = []
        """Spawns asked for while no fork server runs."""
        self._masters: dict[int, int] = {}
        """Spawn -> pid of the children of the fork server that runs now."""
        self._orphans = Orphans(loop, parent.exited)
        self._spared: set[tuple[int, int]] = self._orphans.spared
        self._asked_at: dict[int, float] = {}
        """When the fork server that runs now was asked for each of them (seconds of the loop's clock)."""
        self._heard = 0.0
        self._check: asyncio.TimerHandle | None = None
        self._closing = False

    # --- the fork server -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a fork server.

        Raises:
            OSError: no process can be started.
        """
        launched = launch.take(self._nofile)
        try:
            self._pidfd = os.pidfd_open(launched.pid)
        except OSError:
            launch.end(launched)
            raise
        self._pid = launched.pid
        self._orphans.ours = {self._pid}
        self._started = time.monotonic()
        self._end = link.End(launched.sock, link.AT_SPAWNER)
        self._loop.add_reader(self._pidfd, self._died)
        self._loop.add_reader(launched.sock.fileno(), self._read)
        self._tell_spared(link.Spare, self._spared)
        for spawn in self._later:
            self._ask(spawn)
        self._later.clear()

    @property
    def pid(self) -> int:
        """The fork server's pid, 0 while there is none."""
        return self._pid

    def _died(self) -> None:
        """The fork server is gone: fail what it did not answer, and start another."""
        self._read()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._hang_up()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0
        for spawn in tuple(self._asked):
            self._answered(spawn)
            self._parent.unspawned(spawn, "the fork server died")
        for spawn, pid in self._masters.items():
            self._orphans.adopt(spawn, pid)
        self._masters.clear()
        if self._closing:
            return
        young = time.monotonic() - self._started < YOUNG
        self._wait = min(self._wait * 2, LONGEST_WAIT) if young else FIRST_WAIT
        self._say(f"the fork server died; the vassals go on, another one starts in {self._wait:g} s")
        self._loop.call_later(self._wait, self._start_again)

    def _start_again(self) -> None:
        if self._closing:
            return
        try:
            self.start()
        except OSError as error:
            self._say(f"cannot start a fork server: {error.strerror}; trying again in {LONGEST_WAIT:g} s")
            self._loop.call_later(LONGEST_WAIT, self._start_again)

    def _hang_up(self) -> None:
        if self._end is not None:
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            self._end.close()
            self._end = None

    def reap(self) -> None:
        """Let strangers go who have become children of the emperor, and have ended. Call it once in a while."""
        # Children of the fork server are the emperor's as soon as that is dead, which may not be known yet.
        reap_strangers({*self._orphans.known, *self._masters.values()})

    def close(self) -> None:
        """Let the fork server go; it ends when its last child has."""
        self._closing = True
        if self._check is not None:
            self._check.cancel()
        self._hang_up()

    # --- requests ------------------------------------------------------------------------------------------------

    def spawn(self, spawn: int, descriptor: int) -> None:
        """Ask for a child with the link `descriptor`, which becomes ours to close."""
        self._asked[spawn] = descriptor
        if self._end is None:
            self._later.append(spawn)
        else:
            self._ask(spawn)

    def _ask(self, spawn: int) -> None:
        if self._end is None or spawn not in self._asked:
            return
        try:
            self._end.post(link.Spawn(spawn), (self._asked[spawn],))
            if self._end.pending:
                self._loop.add_writer(self._end.fileno(), self._write)
            self._asked_at[spawn] = self._loop.time()
            if self._check is None:
                self._check = self._loop.call_later(PATIENCE, self._look)
        except (link.LinkError, link.LinkClosed) as error:
            self._answered(spawn)
            self._loop.call_soon(self._parent.unspawned, spawn, f"the fork server does not answer: {error}")

    def _look(self) -> None:
        """End a fork server that stands still (stopped by a signal, say): the next one answers."""
        self._check = None
        if not self._asked_at or self._end is None:
            return
        left = max(self._heard, min(self._asked_at.values())) + PATIENCE - self._loop.time()
        if left > 0:
            self._check = self._loop.call_later(left, self._look)
            return
        self._say(f"the fork server has not answered for {PATIENCE:g} s: another one takes its place")
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def sweep(self, spawn: int) -> None:
        """End what is left of this child's session at once when it is dead."""
        self._orphans.sweep(spawn)
        if self._end is not None:
            try:
                self._end.post(link.Sweep(spawn))
            except (link.LinkError, link.LinkClosed):
                return  # its workers have the usual grace then
            if self._end.pending:
                self._loop.add_writer(self._end.fileno(), self._write)

    def spare(self, pairs: Collection[tuple[int, int]]) -> None:
        """Sweep none of these smart daemons (pid and start time), whoever dies."""
        self._spared.update(pairs)
        self._tell_spared(link.Spare, pairs)

    def unspare(self, pairs: Collection[tuple[int, int]]) -> None:
        """Their vassal has ended for good: kill what is left of them."""
        self._spared.difference_update(pairs)
        self._orphans.end(pairs)
        self._tell_spared(link.Unspare, pairs)

    def _tell_spared(self, record: type[link.Spare | link.Unspare], pairs: Collection[tuple[int, int]]) -> None:
        listed = sorted(pairs)
        for first in range(0, len(listed), SPARED):
            part = listed[first : first + SPARED]
            if self._end is None:
                return  # the next fork server is told of all
            with contextlib.suppress(link.LinkError, link.LinkClosed):
                self._end.post(record(tuple(pid for pid, _ in part), tuple(start for _, start in part)))
            if self._end.pending:
                self._loop.add_writer(self._end.fileno(), self._write)

    def _write(self) -> None:
        if self._end is None:
            return
        with contextlib.suppress(link.LinkClosed):
            if not self._end.flush():
                return
        self._loop.remove_writer(self._end.fileno())

    def _answered(self, spawn: int) -> None:
        self._asked_at.pop(spawn, None)
        descriptor = self._asked.pop(spawn, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def _read(self) -> None:
        end = self._end
        if end is None:
            return
        try:
            while (message := end.read()) is not None:
                self._heard = self._loop.time()
                record, fds = message
                if isinstance(record, link.Spawned):
                    self._answered(record.spawn)
                    self._masters[record.spawn] = record.pid
                    self._parent.spawned(record.spawn, record.pid, fds[0])
                elif isinstance(record, link.Unspawned):
                    self._answered(record.spawn)
                    self._parent.unspawned(record.spawn, record.reason)
                elif isinstance(record, link.Exited):
                    self._masters.pop(record.spawn, None)
                    self._parent.exited(record.spawn, record.status)
        except link.LinkClosed:
            self._loop.remove_reader(end.fileno())  # its pidfd says the rest
        except link.LinkError as error:
            self._loop.remove_reader(end.fileno())
            self._say(f"an answer of the fork server is lost ({error}): another one takes its place")
            self._kill()
