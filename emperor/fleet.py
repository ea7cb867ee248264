"""The fleet: every vassal's state, the generations that run for it, and the carrying out of what `lifecycle` decides.

Effects only: events are fed to `lifecycle.step`, and its actions are executed in order. The one danger is an action
that feeds an event while another is being handled; so events queue up and are taken one at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from emperor import lifecycle, states
from emperor.beside import Beside
from emperor.chronicle import Chronicle
from emperor.clock import Clock
from emperor.contracts import Contracts
from emperor.doors import Doors
from emperor.ending import Ending
from emperor.generation import Run, describe
from emperor.hearing import Hearing
from emperor.hooks import Hooks
from emperor.leftovers import Leftovers
from emperor.listeners import Store
from emperor.logroom import Seldom
from emperor.names import printable
from emperor.relog import Relog
from emperor.spared import Spared
from emperor.spawner import Spawner
from emperor.waiters import Waiters
from vassal import link

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from emperor.closer import Closer
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings
    from emperor.throttle import Pace


class Fleet:
    """All vassals. Everything here runs on the loop."""

    def __init__(  # noqa: PLR0913, PLR0917 (wiring: each is a piece made by the daemon)
        self,
        loop: asyncio.AbstractEventLoop,
        settings: EmperorSettings,
        closer: Closer,
        pace: Pace,
        say: Callable[[str], None],
        forgotten: Callable[[str], None],
        nofile: int,
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.vassals: dict[str, states.Vassal] = {}
        self.runs: dict[str, dict[int, Run]] = {}
        self.store = Store(closer.close)
        self._closer = closer
        self._pace = pace
        self._write_line = say
        self._forgotten = forgotten
        self._spawner = Spawner(loop, self, say, nofile)
        self._by_spawn: dict[int, Run] = {}
        self._next_spawn = 1
        self.ending = Ending(self, self._by_spawn)
        self._queue: deque[tuple[str, states.Event]] = deque()
        self._busy = False
        self._reborn: dict[str, Manifest] = {}
        """Vassals whose file has changed hands: it starts anew when the former owner's is forgotten."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pace_timer: asyncio.TimerHandle | None = None
        self.waiters = Waiters()
        self._doors = Doors(loop, self.store, settings, lambda name: self.feed(name, states.Called()), self.say)
        self._hearing = Hearing(self)
        self._clock = Clock(loop, self._hearing.clock_moved)
        self._leftovers = Leftovers(self._doors.ours)
        self._contracts = Contracts(settings)
        self.log_trouble = Seldom(self.say)
        self.hooks = Hooks(loop, settings, self._contracts, self._spawner, self._number, self.say, self.ending.look)
        self.relog = Relog(self.runs, self._contracts, self.log_trouble.complain, settings.logto)
        self.since: dict[str, float] = {}
        """Wall-clock second at which each vassal's state began."""
        self.failed_at: dict[str, float] = {}
        self.chronicle = Chronicle()
        self.beside = Beside()
        self.spared = Spared(self._spawner.spare, self._spawner.unspare, self.say)

    def say(self, text: str) -> None:
        """Log one line: what a vassal said must not forge another."""
        self._write_line(printable(text))

    def start(self) -> None:
        """Start the fork server.

        Raises:
            OSError: it cannot be started.
        """
        self._spawner.start()
        self._clock.watch()

    # --- events in -----------------------------------------------------------------------------------------------

    def seen(self, manifest: Manifest) -> None:
        """A vassal's file has appeared or has a new version; under tyrant a new owner is another vassal."""
        name = manifest.name
        old = self.vassals.get(name)
        if self.ending.begun:
            return  # no more starts: the emperor is stopping
        if name in self._reborn:
            self._reborn[name] = manifest
        elif old is not None and self.settings.tyrant and old.manifest.owner != manifest.owner:
            self.say(f"vassal {name}: its file has another owner: stopping the former one's app")
            self._reborn[name] = manifest
            self.feed(name, states.Vanished())
        else:
            self.feed(name, states.Touched(manifest))

    def vanished(self, name: str) -> None:
        """A vassal's file is gone."""
        self._reborn.pop(name, None)
        self.feed(name, states.Vanished())

    def feed(self, name: str, event: states.Event) -> None:
        """Let `event` happen to vassal `name`; ignored where there is none, and starts once the emperor is stopping."""
        if self.ending.begun and isinstance(event, states.Start | states.Reload | states.Touched):
            self.waiters.resolve(name, None, ok=False, text="the emperor is stopping")
            return
        self._queue.append((name, event))
        self._drain()

    def _drain(self) -> None:
        """Take what is queued, one event at a time, and let those start whose turn has come."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue or self._grant():
                while self._queue:
                    self._happen(*self._queue.popleft())
        finally:
            self._busy = False

    def _happen(self, name: str, event: states.Event) -> None:
        old = self.vassals.get(name)
        now = self.loop.time()
        if old is not None:
            self._settle(name, old, *lifecycle.step(old, event, now, random.random()))  # noqa: S311 (jitter)
        elif isinstance(event, states.Touched):
            self.say(f"vassal {name}: appeared ({event.manifest.path})")
            self._settle(name, None, *lifecycle.born(name, event.manifest, self._contracts.limits(), now))

    def _settle(
        self, name: str, old: states.Vassal | None, new: states.Vassal | None, actions: list[states.Action]
    ) -> None:
        if new is None:
            self.vassals.pop(name, None)
        else:
            self.vassals[name] = new
            if old is None or old.state is not new.state:
                self.since[name] = time.time()
            if old is None:
                self.chronicle.born(name, time.time())
            if new.failure is not None and (old is None or old.failure is not new.failure):
                self.failed_at[name] = time.time()
                self.chronicle.failed(name, time.time())
        self._arm(name, new)
        if new is None or not new.listens or any(isinstance(action, _MOVES_DOORS) for action in actions):
            self._doors.leave(name)
        for action in actions:
            self._execute(name, action)
        if new is None:
            self._forget(name)
        elif new.listens:
            self._doors.open(name, new.manifest)
            self._leftovers.remember(name, self.store.hush(name))
            self._doors.watch(name)
        elif new.state is states.State.STOPPED:
            self._doors.remove(name)
            self.spared.forget(name)
            self.beside.ended(name)

    def _arm(self, name: str, vassal: states.Vassal | None) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if vassal is not None and vassal.next_alarm is not None:
            self._timers[name] = self.loop.call_at(vassal.next_alarm, self._ring, name)

    def _ring(self, name: str) -> None:
        vassal = self.vassals.get(name)
        if vassal is None:
            return
        self._arm(name, vassal)
        for due in vassal.overdue(self.loop.time()):
            self.feed(name, due)

    def _forget(self, name: str) -> None:
        for run in list(self.runs.pop(name, {}).values()):
            self._by_spawn.pop(run.spawn, None)
            self.hooks.ended(run)
            run.dispose()
        self._doors.remove(name)
        self.store.shut(name)
        self._pace.forget(name)
        heard = (self._hearing.wished, self._hearing.dues, self._hearing.voices, self._hearing.blocked)
        for table in (self.since, self.failed_at, *heard):
            table.pop(name, None)
        self.spared.forget(name)
        self.beside.forget(name)
        self._leftovers.forget(name)
        self.chronicle.forget(name)
        self.waiters.resolve(name, None, ok=False, text="its file is gone")
        heir = self._reborn.pop(name, None)
        if heir is not None and not self.ending.begun:
            self._queue.append((name, states.Touched(heir)))
        else:
            self._forgotten(name)
        self.ending.look()

    # --- actions out ---------------------------------------------------------------------------------------------

    def _execute(self, name: str, action: states.Action) -> None:  # noqa: C901, PLR0912 (one line an action)
        match action:
            case states.Enqueue(last):
                self._pace.request(name, last=last)
            case states.Dequeue():
                self._pace.cancel(name, self.loop.time())
            case states.Spawn(number, manifest, purpose):
                self._spawn(name, number, manifest, purpose)
            case states.Send(number, record):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    if isinstance(record, link.Activate) and run.facts is not None:
                        record = dataclasses.replace(record, kept=self.spared.of(name, run.facts.uid))
                    run.send(record)
            case states.Kill(number):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    self.sweep(run)
            case states.Commit(number):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    self.store.commit(name, run.take_pending())
                    if len(self.runs[name]) == 1:
                        self.store.drop(name)
            case states.ShutListeners():
                self._leftovers.remember(name, self.store.of(name))
                self.store.shut(name)
            case states.Outcome(number, ok, text):
                self.waiters.resolve(name, number, ok=ok, text=text)
            case states.Say(text):
                self.say(f"vassal {name}: {text}")

    def _grant(self) -> bool:
        """Queue a slot for each vassal whose turn it is; True where there was one."""
        now = self.loop.time()
        granted = self._pace.due(now)
        for name in granted:
            self._pace.started(name, now)
            self._queue.append((name, states.Slot()))
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None
        upcoming = self._pace.next(now)
        if upcoming is not None:
            self._pace_timer = self.loop.call_at(upcoming, self._drain)
        return bool(granted)

    # --- processes -----------------------------------------------------------------------------------------------

    def _spawn(self, name: str, number: int, manifest: Manifest, purpose: states.Purpose) -> None:
        uid = -1
        if purpose is states.Purpose.UNLINK:
            spared = self.spared.of(name) if self.vassals[name].ending else ()
            uid = self.spared.uids.get(name, -1) if spared else -1
            kept = self._leftovers.take(name, uid)
            uid = kept[0].uid if kept else uid
            if not kept and not spared:
                self._queue.append((name, states.Exited(number, "had nothing to do")))
                return
        elif purpose is states.Purpose.JOBS:
            kept = []
        else:
            self._doors.open(name, manifest)
            kept = self.store.offers(name)
        try:
            ours, theirs, log, complaint = self._contracts.child(name, purpose)
        except OSError as error:
            self._cannot_spawn(name, number, error.strerror or str(error))
            return
        run = self._new_run(name, number, purpose, ours)
        if complaint is not None:
            self.log_trouble.complain(f"vassal {name}: {complaint}")
        contract = self._contracts.write(
            name,
            number,
            manifest,
            kept,
            purpose=purpose,
            on_demand=self._doors.address(name),
            own_log=complaint is None and self.log_path(name) is not None,
            hooking=self.hooks.at_start(name, number, manifest, purpose),
        )
        if purpose is states.Purpose.UNLINK:
            mercy = self.vassals[name].limits.mercy
            contract = dataclasses.replace(contract, kept=spared, offers_uid=uid, mercy=mercy)
        descriptors = [] if purpose is states.Purpose.UNLINK else [entry.sock.fileno() for entry in kept]
        run.send(contract, [*descriptors, log])  # a fresh link is empty: no waiting
        os.close(log)
        run.listen()
        self.hooks.when_free(name, functools.partial(self._spawner.spawn, run.spawn, theirs.detach()))

    def _number(self) -> int:
        self._next_spawn += 1
        return self._next_spawn - 1

    def _new_run(self, name: str, number: int, purpose: states.Purpose, ours: socket.socket) -> Run:
        close = functools.partial(self._closer.close, owner=name)
        spawn = self._number()
        end = link.End(ours, link.AT_EMPEROR, close_fd=close)
        run = Run(name, number, spawn, end, self.loop, self._hearing, close, purpose)
        self.runs.setdefault(name, {})[number] = run
        self._by_spawn[spawn] = run
        return run

    def _cannot_spawn(self, name: str, number: int, why: str) -> None:
        """Tell the lifecycle of a start that did not even begin."""
        self._queue.append((name, states.Failed(number, "spawn", why, "")))
        self._queue.append((name, states.Exited(number, "was never started")))

    def log_path(self, name: str) -> str | None:
        """Return the file for the output of vassal `name`, None where it is the emperor's own."""
        return self._contracts.log_path(name)

    def spawned(self, spawn: int, pid: int, pidfd: int) -> None:
        """Take note of the process (`emperor.spawner.Parent`)."""
        run = self._by_spawn.get(spawn)
        if run is None:
            if not self.hooks.born(spawn, pidfd):
                self._closer.close(pidfd)
            return
        run.born(pid, pidfd)
        if run.purpose is states.Purpose.SERVE:
            self.hooks.serves(run)
            self.chronicle.ran(run.name, time.time())

    def unspawned(self, spawn: int, reason: str) -> None:
        """There is no process (`emperor.spawner.Parent`)."""
        run = self._by_spawn.get(spawn)
        if run is not None:
            self.feed(run.name, states.Failed(run.number, "spawn", reason, ""))
            self._ended(run, "was never started")
        else:
            self.hooks.over(spawn, reason)

    def exited(self, spawn: int, status: int) -> None:
        """The process has ended (`emperor.spawner.Parent`)."""
        run = self._by_spawn.get(spawn)
        if run is not None:
            run.last_words()
            text = describe(status)
            self._ended(run, f"broke the contract of its link ({run.fault}) and {text}" if run.fault else text)
        else:
            self.hooks.over(spawn, describe(status) if status else "")

    def _ended(self, run: Run, text: str) -> None:
        self._by_spawn.pop(run.spawn, None)
        self.hooks.ended(run)  # before anything may start anew
        self.feed(run.name, states.Exited(run.number, text))
        mine = self.runs.get(run.name, {})
        if mine.get(run.number) is run:
            del mine[run.number]
        run.dispose()
        if len(mine) <= 1 and all(other.ready for other in mine.values()):
            self.store.drop(run.name)
        self.ending.look()

    def sweep(self, run: Run) -> None:
        """Kill a generation and all that belongs to it."""
        run.kill()
        self._spawner.sweep(run.spawn)

    def reap(self) -> None:
        """Let the kernel forget children that are nobody's."""
        self._spawner.reap()

    # --- the end -------------------------------------------------------------------------------------------------

    async def stop_all(self) -> None:
        """Stop every vassal gracefully; returns when no process is left."""
        await self.ending.stop_all()
        self._spawner.close()


_MOVES_DOORS = (states.Commit, states.ShutListeners)
