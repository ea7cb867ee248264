"""The fleet: every vassal's state, the generations that run for it, and the carrying out of what `lifecycle` decides.

Effects only: events are fed to `lifecycle.step`, and its actions are executed in order. The one danger is an action
that feeds an event while another is being handled; so events queue up and are taken one at a time.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

from emperor import lifecycle, states
from emperor.contracts import Contracts
from emperor.generation import Run
from emperor.listeners import Store
from emperor.names import printable
from emperor.spawner import Spawner
from emperor.turn import KILL_PATIENCE
from emperor.waiters import Waiters
from vassal import link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from emperor.closer import Closer
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings
    from emperor.throttle import Pace

WISH_PACE = 2.0
"""Seconds between two reloads that a vassal asks for itself; one that comes earlier waits for its time."""
REASON_LIMIT = 2000
"""Characters of a vassal's own words that are kept and shown."""


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
        self._queue: deque[tuple[str, states.Event]] = deque()
        self._busy = False
        self._reborn: dict[str, Manifest] = {}
        """Vassals whose file has changed hands: it starts anew when the former owner's is forgotten."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pace_timer: asyncio.TimerHandle | None = None
        self.waiters = Waiters()
        self._contracts = Contracts(settings)
        self._gone: asyncio.Future[None] | None = None
        self._wished: dict[str, float] = {}
        """When the last reload that each vassal asked for itself was, or is to be (seconds of the loop's clock)."""
        self.since: dict[str, float] = {}
        """Wall-clock second at which each vassal's state began."""
        self.failed_at: dict[str, float] = {}

    def _say(self, text: str) -> None:
        """Log one line: what a vassal said must not forge another."""
        self._write_line(printable(text))

    def start(self) -> None:
        """Start the fork server.

        Raises:
            OSError: it cannot be started.
        """
        self._spawner.start()

    # --- events in -----------------------------------------------------------------------------------------------

    def seen(self, manifest: Manifest) -> None:
        """A vassal's file has appeared or has a new version; under tyrant a new owner is another vassal."""
        name = manifest.name
        old = self.vassals.get(name)
        if self._gone is not None:
            return  # no more starts: the emperor is stopping
        if name in self._reborn:
            self._reborn[name] = manifest
        elif old is not None and self.settings.tyrant and old.manifest.owner != manifest.owner:
            self._say(f"vassal {name}: its file has another owner: stopping the former one's app")
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
        if self._gone is not None and isinstance(event, states.Start | states.Reload | states.Touched):
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
            self._say(f"vassal {name}: appeared ({event.manifest.path})")
            self._settle(name, None, *lifecycle.born(name, event.manifest, self._limits(), now))

    def _settle(
        self, name: str, old: states.Vassal | None, new: states.Vassal | None, actions: list[states.Action]
    ) -> None:
        if new is None:
            self.vassals.pop(name, None)
        else:
            self.vassals[name] = new
            if old is None or old.state is not new.state:
                self.since[name] = time.time()
            if new.failure is not None and (old is None or old.failure is not new.failure):
                self.failed_at[name] = time.time()
        self._arm(name, new)
        for action in actions:
            self._execute(name, action)
        if new is None:
            self._forget(name)

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
            run.dispose()
        self.store.shut(name)
        self._pace.cancel(name)
        for table in (self.since, self.failed_at, self._wished):
            table.pop(name, None)
        self.waiters.resolve(name, None, ok=False, text="its file is gone")
        heir = self._reborn.pop(name, None)
        if heir is not None and self._gone is None:
            self._queue.append((name, states.Touched(heir)))
        else:
            self._forgotten(name)
        self._check_empty()

    # --- actions out ---------------------------------------------------------------------------------------------

    def _execute(self, name: str, action: states.Action) -> None:  # noqa: C901, PLR0912 (one line an action)
        match action:
            case states.Enqueue():
                self._pace.request(name)
            case states.Dequeue():
                self._pace.cancel(name)
            case states.Spawn(number, manifest):
                self._spawn(name, number, manifest)
            case states.Send(number, record):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    run.send(record)
            case states.Kill(number):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    run.kill()
                    self._spawner.sweep(run.spawn)
            case states.Commit(number):
                if (run := self.runs.get(name, {}).get(number)) is not None:
                    self.store.commit(name, run.take_pending())
                    if len(self.runs[name]) == 1:
                        self.store.drop(name)
            case states.ShutListeners():
                self.store.shut(name)
            case states.Outcome(number, ok, text):
                self.waiters.resolve(name, number, ok=ok, text=text)
            case states.Say(text):
                self._say(f"vassal {name}: {text}")

    def _limits(self) -> states.Limits:
        settings = self.settings
        return states.Limits(
            throttle_ms=settings.throttle_ms,
            max_throttle_ms=settings.max_throttle_ms,
            required_heartbeat=settings.required_heartbeat,
        )

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

    def _spawn(self, name: str, number: int, manifest: Manifest) -> None:
        close = functools.partial(self._closer.close, owner=name)
        try:
            ours, theirs = link.pair()
        except OSError as error:
            self._cannot_spawn(name, number, f"no link can be made: {error.strerror}")
            return
        end = link.End(ours, link.AT_EMPEROR, close_fd=close)
        spawn = self._next_spawn
        self._next_spawn += 1
        run = Run(name, number, spawn, end, self.loop, self, close)
        try:
            log, complaint = self._contracts.open_log(name)
        except OSError as error:
            run.dispose()
            theirs.close()
            self._cannot_spawn(name, number, f"no log can be opened: {error.strerror}")
            return
        self.runs.setdefault(name, {})[number] = run
        self._by_spawn[spawn] = run
        if complaint is not None:
            self._say(f"vassal {name}: {complaint}")
        own_log = complaint is None and self.log_path(name) is not None
        kept = self.store.offers(name)
        contract = self._contracts.write(name, number, manifest, kept, own_log=own_log)
        run.send(contract, [*(entry.sock.fileno() for entry in kept), log])  # a fresh link is empty: no waiting
        os.close(log)
        run.listen()
        self._spawner.spawn(spawn, theirs.detach())

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
            self._closer.close(pidfd)
            return
        run.born(pid, pidfd)

    def unspawned(self, spawn: int, reason: str) -> None:
        """There is no process (`emperor.spawner.Parent`)."""
        run = self._by_spawn.get(spawn)
        if run is not None:
            self.feed(run.name, states.Failed(run.number, "spawn", reason, ""))
            self._ended(run, "was never started")

    def exited(self, spawn: int, status: int) -> None:
        """The process has ended (`emperor.spawner.Parent`)."""
        run = self._by_spawn.get(spawn)
        if run is not None:
            run.last_words()
            text = _describe(status)
            self._ended(run, f"broke the contract of its link ({run.fault}) and {text}" if run.fault else text)

    def _ended(self, run: Run, text: str) -> None:
        self._by_spawn.pop(run.spawn, None)
        self.feed(run.name, states.Exited(run.number, text))
        mine = self.runs.get(run.name, {})
        if mine.get(run.number) is run:
            del mine[run.number]
        run.dispose()
        if len(mine) <= 1 and all(other.ready for other in mine.values()):
            self.store.drop(run.name)
        self._check_empty()

    # --- what generations say ------------------------------------------------------------------------------------

    def heard(self, run: Run, record: link.Record) -> None:  # noqa: C901 (one case a record)
        """Translate a record into an event (`emperor.generation.Owner`)."""
        name, number = run.name, run.number
        match record:
            case link.Facts():
                self.feed(name, states.Facts(number, record.start_timeout, record.strategy))
            case link.Listening():
                self._arbitrate(run)
            case link.Ready():
                if not run.doomed:
                    self.feed(name, states.Ready(number, record.mercy))
            case link.Failed():
                reason = printable(record.reason[:REASON_LIMIT])
                holder = self._named_holder(name, reason) if record.stage == "bind" else None
                if holder is not None:
                    reason += f": by vassal {holder}"
                self.feed(name, states.Failed(number, record.stage, reason, record.detail))
            case link.Loyal():
                self.feed(name, states.Loyal(number))
            case link.Released():
                self.feed(name, states.Released(number, record.minute, record.running))
            case link.Heartbeat():
                self.feed(name, states.Heartbeat(number))
            case link.ReloadWanted():
                self._wish(run, record.reason)
            case _:
                pass

    def _wish(self, run: Run, reason: str) -> None:
        """A generation wants to be succeeded: not more often than `WISH_PACE`, or its vassal would do nothing else."""
        vassal = self.vassals.get(run.name)
        if run.wishes or vassal is None or vassal.serving is None or vassal.serving.number != run.number:
            return
        run.wishes = True
        self._say(f"vassal {run.name}: reload wanted ({reason[:200]})")
        at = max(self.loop.time(), self._wished.get(run.name, 0.0) + WISH_PACE)
        self._wished[run.name] = at
        self.loop.call_at(at, self._grant_wish, run)

    def _grant_wish(self, run: Run) -> None:
        run.wishes = False
        vassal = self.vassals.get(run.name)
        if vassal is not None and vassal.serving is not None and vassal.serving.number == run.number:
            self.feed(run.name, states.Reload(None))

    def _arbitrate(self, run: Run) -> None:
        """Two vassals that name one address: the later is told which the other is."""
        for entry in run.pending or ():
            holder = self.store.holder(entry.key, run.name)
            if holder is not None and entry.key in {kept.key for kept in self.store.of(holder)}:
                reason = f"address {entry.key} is already in use: by vassal {holder}"
                self.feed(run.name, states.Failed(run.number, "bind", reason, ""))
                run.kill()
                return

    def _named_holder(self, name: str, reason: str) -> str | None:
        words = reason.split()
        if "in use" not in reason or "address" not in words:
            return None
        named = words[words.index("address") + 1 :][:1]
        return self.store.holder(named[0], name) if named else None

    def misbehaved(self, run: Run, reason: str) -> None:
        """Kill a generation that broke the contract (`emperor.generation.Owner`)."""
        if run.doomed:
            return
        run.fault = printable(reason[:REASON_LIMIT])
        self._say(f"vassal {run.name}: generation {run.number} broke the contract of its link: {run.fault}; killing it")
        run.drop_pending()
        run.kill()
        self._spawner.sweep(run.spawn)

    # --- the end -------------------------------------------------------------------------------------------------

    async def stop_all(self) -> None:
        """Stop every vassal gracefully; returns when no process is left."""
        self._gone = self.loop.create_future()
        for name in list(self.vassals):
            self.feed(name, states.Stop())
        self._check_empty()
        await self._gone
        self._spawner.close()

    def kill_all(self) -> None:
        """SIGKILL whatever runs, and wait `KILL_PATIENCE` more: a process in the kernel's hands may never end."""
        for run in list(self._by_spawn.values()):
            run.kill()
            self._spawner.sweep(run.spawn)
        self.loop.call_later(KILL_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._say(f"{len(self._by_spawn)} generations do not end even when killed; leaving them to the kernel")
            self._gone.set_result(None)

    def _check_empty(self) -> None:
        if self._gone is None or self._gone.done() or self._by_spawn:
            return
        if all(vassal.state is states.State.STOPPED for vassal in self.vassals.values()):
            self._gone.set_result(None)


def _describe(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
