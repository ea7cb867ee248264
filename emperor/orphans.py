"""Masters whose fork server died: they have become the emperor's own children (it is a subreaper).

They are looked after as the fork server would have done: when one dies, its jobs and daemons are ended, its workers
get a grace, and only then is it reaped. The one danger is the loop: looking at all processes of a machine takes long
on a large one, so a thread does it, once for all that are dying.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

WORKER_GRACE = 5.0
"""Seconds that the workers of a master that was killed have to answer what they accepted."""
PAUSE = 0.05
"""Seconds between two looks at sessions that are being ended, at first."""
LONGEST_PAUSE = 0.25


@dataclass(slots=True)
class Orphan:
    """One adopted master; `dead_at` in seconds of the loop's clock, `status` as of `subprocess`."""

    spawn: int
    pid: int
    dead_at: float | None = None
    status: int = 0
    swept: bool = False
    told: bool = False


class Orphans:
    """All adopted masters. `exited` is told of each death once its jobs and daemons have ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exited: Callable[[int, int], None]) -> None:
        self._loop = loop
        self._exited = exited
        self._orphans: dict[int, Orphan] = {}
        self._task: asyncio.Task[None] | None = None
        self.ours: set[int] = set()
        """Children of the emperor that are nobody's orphans: its fork server."""
        self.spared: set[tuple[int, int]] = set()
        """Smart daemons (pid and start time), which outlive their masters."""

    @property
    def known(self) -> set[int]:
        """The emperor's children that are looked after."""
        return {*self._orphans, *self.ours}

    def adopt(self, spawn: int, pid: int) -> None:
        """Look after the master `pid` from now on."""
        if not self._orphans:
            self._loop.add_signal_handler(signal.SIGCHLD, self._look)
        self._orphans[pid] = Orphan(spawn, pid)
        self._loop.call_soon(self._look)

    def end(self, pairs: Collection[tuple[int, int]]) -> None:
        """Kill these smart daemons, with their sessions, where they are the emperor's children by now."""
        with contextlib.suppress(RuntimeError):  # no thread to be had now: the next one will do it
            self._loop.run_in_executor(None, _kill_daemons, frozenset(pairs))

    def sweep(self, spawn: int) -> None:
        """When this one is dead, give its workers no more time."""
        for orphan in self._orphans.values():
            if orphan.spawn == spawn:
                orphan.swept = True

    def _look(self) -> None:
        """Note who has died."""
        for orphan in tuple(self._orphans.values()):
            if orphan.dead_at is not None:
                continue
            try:
                found = os.waitid(os.P_PID, orphan.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                # Reaped by the fork server, which died before it could say so.
                del self._orphans[orphan.pid]
                self._exited(orphan.spawn, 0)
                continue
            if found is not None:
                orphan.dead_at = self._loop.time()
                orphan.status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                orphan.swept = orphan.swept or orphan.status == 0  # then it has seen its workers out itself
        if self._task is None and any(orphan.dead_at is not None for orphan in self._orphans.values()):
            self._task = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        """End the sessions of all that are dead, then let the kernel forget them."""
        pause = PAUSE
        try:
            while dying := [orphan for orphan in self._orphans.values() if orphan.dead_at is not None]:
                now = self._loop.time()
                spared = {o.pid for o in dying if not o.swept and now - (o.dead_at or now) < WORKER_GRACE}
                known = self.known
                ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
                pids = [orphan.pid for orphan in dying]
                with contextlib.suppress(RuntimeError):  # no thread to be had: it is tried again
                    left = await asyncio.to_thread(_end_sessions, pids, spared, known, frozenset(self.spared), ticks)
                    for orphan in dying:
                        self._judge(orphan, *left[orphan.pid])
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
        finally:
            self._task = None

    def _judge(self, orphan: Orphan, workers: int, others: int) -> None:
        if not others and not orphan.told:
            orphan.told = True
            self._exited(orphan.spawn, orphan.status)
        if not others and not workers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan.pid, 0)
            del self._orphans[orphan.pid]


def reap_strangers(known: Collection[int]) -> None:
    """Let the kernel forget children that have ended, up to the first of those who are looked after elsewhere.

    As the first process of a container the emperor inherits every orphan, and what its start script left behind.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if found is None or found.si_pid in known:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
        except ChildProcessError:
            return


def _kill_daemons(pairs: frozenset[tuple[int, int]]) -> None:
    """Kill them and their sessions. Runs in a thread, as `_end_sessions` does."""
    everyone = sessions.everyone()
    apart = {p.session for p in everyone if (p.pid, p.start) in pairs and p.parent == os.getpid()} - {os.getsid(0)}
    sessions.kill([process for process in everyone if process.session in apart])


def _end_sessions(
    dead: list[int], spared: set[int], known: set[int], daemons: frozenset[tuple[int, int]], ticks: int
) -> dict[int, tuple[int, int]]:
    """Kill what dead masters have left, but for the workers of those `spared`; return the counts of (workers, others).

    `daemons` are the smart ones, which are left alone.

    Runs in a thread: it looks at every process of the machine. What is younger than `known` (`ticks` after boot) has
    to wait for the next look: it may be the next fork server.
    """
    caught = sessions.chase(known, spared, sessions.apart(daemons, known))
    processes = [process for process in sessions.everyone() if process.start < ticks]
    counts = {}
    for pid in dead:
        workers, others = sessions.left_over(processes, pid, os.getpid(), known, daemons)
        sessions.kill(others)
        if pid not in spared:
            sessions.kill(workers)
        counts[pid] = len(workers), len(others) + (0 if caught else 1)
    for process in processes:
        if process.state == "Z" and process.parent == os.getpid() and process.pid not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    return counts
