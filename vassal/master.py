"""The master of a generation: parent of its workers, its end of the link, its signals and deadlines.

Wiring only: who is started, retired or killed says `vassal.pool`. One thread, one selector. The one danger is
blocking: the master runs no app code after its workers are forked and waits for nothing but its selector.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from vassal import channel, failing, link, loading, logs, net, pool, sessions, signals, titles, unit, worker
from vassal.chaining import Chaining
from vassal.children import SIGNALS, Children, describe
from vassal.companions import Companions
from vassal.gate import Gate
from vassal.line import Line
from vassal.loader import LoadError
from vassal.logbook.keeper import Keeper
from vassal.marks import Marks
from vassal.masterhooks import MasterHooks
from vassal.remote import Remote
from vassal.rounds import Parts, Rounds
from vassal.scoreboard import Scoreboard
from vassal.signals import Signals
from vassal.slumber import Slumber
from vassal.tally import Tally
from vassal.vitals import Vitals

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from vassal.channel import Lost
    from vassal.children import Child
    from vassal.generation import Generation
    from vassal.loader import Apps

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Master:
    """Runs one generation; `run` returns its exit status."""

    def __init__(self, generation: Generation) -> None:
        self._it = generation
        settings = generation.settings
        self._lazy = settings.lazy_apps or settings.cheap or settings.reload_strategy == "chain"
        self._pool = pool.of(settings)
        self._board = Scoreboard(self._pool.slots, settings.threads)
        self._apps: Apps | None = None
        self._selector = selectors.DefaultSelector()
        self._line = Line(generation.link, self._selector, self._obey, self._lost_emperor)
        self._children = Children(self, self._pool, self._board, self._selector, self._introduce)
        self._slumber = Slumber(settings, self._pool, generation.ports, self._selector, self._children.act)
        self._beside = Companions(settings, self._selector, self._line.post, self._end)
        by_slot = self._children.by_slot
        self._vitals = Vitals(generation, self._pool, self._board, by_slot, self._beside, self._selector)
        self._hooks = MasterHooks(settings, self._selector, generation.directory, lazy=self._lazy)
        self._gate = Gate(settings, self._selector, self._passed)
        self._log = Keeper(settings, generation.outlet, self._line.post)
        self._tally = Tally(generation.loyalty, own=1 if settings.ready_check else 0)
        self._loaded: list[int] = []
        """Slots whose workers wait for the generation to be ready."""
        self._chaining = Chaining(self._pool, generation.unedited, self._line.post, self.want_reload, lazy=self._lazy)
        self._signals = Signals()
        watched = (self._pool, self._children, self._board, self._slumber, self._chaining)
        remote = Remote(*watched, renew=self.want_reload, signalled=self._signals.note, rotate=self._log.rotate)
        self._marks = Marks(settings, generation.directory, self._selector, remote.obey)
        parts = Parts(
            self._pool,
            self._board,
            self._children,
            self._slumber,
            self._chaining,
            self._tally,
            self._vitals,
            self._hooks,
            self._log,
        )
        self._rounds = Rounds(generation, parts, self._report, self._line.post, self.want_reload)
        self._ready_at: float | None = None
        self._finished: int | None = None
        self._restarting = False

    # --- life ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Load, fork, serve, retire; return the exit status: 0 retired, 22 failed to start."""
        for number in _ENDING:
            signals.handle(number, signals.DEFAULT)  # an app that hangs while it is imported can be ended all the same
        signals.handle(signal.SIGUSR1, lambda _caught, _frame: None)
        # What the app double-forked comes back here: the parent of all vassals could not tell whose it is.
        sessions.become_subreaper()
        self._line.open()
        self._signals.watch(self._selector)
        self._log.begin(self._selector, self._children)
        titles.master(self._it.name, self._it.number, self._it.settings)
        if problem := self._marks.problem():
            self._fail(link.failure("config", problem))
            return 22
        with self._log.loading():
            loaded = self._load()
        if not loaded:
            self._log.end()
            return 22
        self._signals.catch(SIGNALS)  # whatever the app did to them while it was imported: the master serves
        while self._finished is None:
            self._children.act(self._gate.before(self._pool.decide(time.monotonic()), self._pool))
            self._look()
            self._chaining.look()
            if self._finished is None:
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
            self._line.flush()
        self._log.end()
        if self._restarting and self._it.restart is not None:
            self._it.restart()
        return self._finished

    def _load(self) -> bool:
        try:
            self._apps = loading.load(self._it.settings, self._hooks, lazy=self._lazy)
        except LoadError as error:
            self._fail(link.failure(error.stage, error.reason, error.detail))
            return False
        return True

    def _fail(self, failure: link.Failed) -> None:
        self._it.ports.abandon()
        self._line.post(failure)
        failing.tell(failure.stage, failure.reason, failure.detail)
        self._children.kill_all()
        self._hooks.terminate()
        self._finished = 22

    # --- events --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Handle what signals brought, and deadlines."""
        now = time.monotonic()
        while self._signals.pending:
            self._signalled(self._signals.pending.pop(0), now)
        self._children.reap()
        self._beside.look(now)
        self._vitals.look(now)
        self._hooks.look(now)
        if (self._pool.closing or self._slumber.ending) and self._emptied(now):
            if not self._pool.closing:
                self._park()
            self._finished = 0 if self._finished is None else self._finished
            return
        self._gate.look(now)
        if self._ready_at is not None and self._finished is None:
            self._rounds.look(now)

    def _emptied(self, now: float) -> bool:
        """Whether nothing runs any more, the last hooks included."""
        if self._children.by_slot:
            return False
        rests = not self._pool.closing
        if (rests and not self._beside.rested(now, self._it.settings.reload_mercy)) or self._beside.busy:
            return False
        return self._finished is not None or (self._hooks.at_exit() and not self._hooks.busy)

    def _park(self) -> None:
        """Nobody calls: leave the listeners to the emperor, and end."""
        logs.say("idle: ending; the emperor waits for the next connection" if self._line else "idle: ending")
        self._marks.remove()
        self._line.post(link.Parking(self._beside.jobs.wake(), self._beside.jobs.minute))
        self._slumber.leave_doors()
        self._vitals.close()
        self._it.ports.close()

    def want_reload(self, reason: str) -> None:
        """Ask for a new generation; by hand, begin anew."""
        if self._line:
            self._line.post(link.ReloadWanted(reason))
        else:
            logs.say(f"{reason}: finishing what runs, then starting anew")
            self._restarting = True
            self._retire(self._it.settings.reload_mercy, time.monotonic())

    def _signalled(self, number: int, now: float) -> None:
        if number == signal.SIGHUP:
            self.want_reload("SIGHUP")
        elif number in (signal.SIGTERM, signal.SIGINT):
            logs.say(f"{signal.Signals(number).name}: stopping")
            self._retire(self._it.settings.reload_mercy, now, final=not self._line)
        elif number == signal.SIGUSR1:
            self._log.reopen()
        elif number == signal.SIGQUIT:
            self._children.kill_all()
            self._retire(0, now, final=not self._line)

    def _lost_emperor(self) -> None:
        """The emperor is gone: refuse at once, answer what was accepted, go. A new emperor may be about to start."""
        self._beside.finish(time.monotonic(), self._it.settings.reload_mercy)
        logs.say("the emperor is gone: finishing what runs")
        self._retire(self._it.settings.reload_mercy, time.monotonic())
        self._hooks.emperor("lost")

    def _obey(self, record: link.Record, fds: Sequence[int]) -> None:
        now = time.monotonic()
        if isinstance(record, link.Activate):
            self._serve_alone(record)
        elif isinstance(record, link.Release):
            self._vitals.close()
            self._hooks.release()
            self._marks.release()
            if self._beside.release(now, self._it.settings.reload_mercy):
                self._retire(self._it.settings.reload_mercy, now)  # the successor serves: old code must not go on
        elif isinstance(record, link.Retire):
            self._retire(record.mercy, now, final=record.final)
            self._hooks.emperor("stop" if record.final else "reload")
        elif isinstance(record, link.ReloadWorkers):
            self._chaining.reload()
        elif isinstance(record, link.KeepWorkers):
            self._chaining.keep()
            self._slumber.keep()
        elif isinstance(record, link.ReopenLogs):
            self._log.reopen(fds)
        elif isinstance(record, link.Report):
            self._report(now, always=True)

    def _retire(self, mercy: float, now: float, *, final: bool = False) -> None:
        if final:
            # Before the workers finish: a successor under the same name may bind the same path at once.
            self._it.ports.unlink()
            self._marks.remove()
            self._hooks.terminate()
            self._beside.finish(now, mercy)
        self._beside.retire(now, mercy)
        self._vitals.close()
        self._hooks.release()
        self._marks.release()
        self._slumber.leave_doors()
        if not self._restarting:
            self._it.ports.close()
        self._children.act(self._pool.close(mercy, now))

    # --- workers (vassal.children.Owner) -------------------------------------------------------------------------

    def plan(self, slot: int, sock: socket.socket) -> worker.WorkerPlan:
        """Return what the worker in `slot` needs."""
        return worker.WorkerPlan(
            number=slot,
            name=self._it.name,
            generation=self._it.number,
            settings=self._it.settings,
            listeners=self._it.ports.listeners,
            channel=sock,
            scoreboard=self._board,
            apps=self._apps,
            probe=self._gate.end_for(slot),
            outlet=self._log.outlet,
        )

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        self._selector.close()
        self._beside.leave()
        self._vitals.leave()
        self._hooks.leave()
        self._marks.leave()
        self._log.outlet.leave()
        self._signals.leave()
        self._line.leave()
        self._gate.leave()

    def _introduce(self, number: int) -> None:
        logs.introduce(f"{self._it.name}/{self._it.number} worker {number}")
        titles.worker(self._it.name, self._it.number, number, self._it.settings)

    def loaded(self, slot: int) -> None:
        """Admit the worker in `slot`; with the first one the generation is ready."""
        if self._finished is not None:
            return
        if self._ready_at is None:
            self._loaded.append(slot)
        if not self._gate.ask(slot, time.monotonic()) and (self._ready_at is not None or self._gate.open):
            self._passed(slot, "")

    def _passed(self, slot: int, problem: str) -> None:
        """Nothing is to be asked of the worker in `slot`, or its ready-check is over: '' is good."""
        if self._ready_at is not None:
            if problem:
                self._children.refuse(slot, "ready", f"ready-check: {problem}")
            else:
                self._admit(slot, time.monotonic())
        elif problem:
            self._fail(link.failure("ready", f"ready-check: {problem}"))
        else:
            self._hooks.open(self._may_open)

    def _admit(self, slot: int, now: float) -> None:
        """One more worker serves."""
        self._children.act(self._pool.loaded(slot, now))
        self._slumber.awake(now)
        self._hooks.stay()
        self._beside.wake(now)
        self._rounds.due = now

    def _may_open(self, problem: str, detail: str) -> None:
        """The hooks before the first request have run: '' is good."""
        if problem:
            self._fail(link.failure("hook", problem, detail))
        elif not self._pool.closing:
            self._be_ready(time.monotonic())

    def _be_ready(self, now: float) -> None:
        """The workers that have loaded the app accept: the generation is ready."""
        ports = self._it.ports
        try:
            ports.listen(self._it.settings.listen)
        except net.AddressError as error:
            self._fail(link.failure("bind", str(error)))
            return
        for slot in self._loaded:
            self._children.act(self._pool.loaded(slot, now))
        self._ready_at = now
        self._rounds.due = now
        self._vitals.open()
        self._line.post(link.Listening(ports.keys(), ports.inodes(), ports.quiet), ports.descriptors())
        cheap = self._it.settings.cheap
        self._line.post(link.Ready(len(self._pool.serving), os.getpid(), self._it.settings.reload_mercy, cheap))
        if not self._line:
            self._serve_alone(link.Activate())
            logs.say("ready: " + ports.told)
            unit.ready("serving at " + ports.told)
        self._slumber.begin(now)

    def reaped(self, pid: int, status: int) -> None:
        """Note the end of a job or a daemon; other children are what the app has left."""
        if not self._beside.reaped(pid, status):
            self._hooks.reaped(pid, status)

    def _end(self) -> None:
        """A control daemon has ended, and so does the generation; the emperor then starts the vassal anew."""
        self._retire(self._it.settings.reload_mercy, time.monotonic(), final=not self._line)

    def lost(self, message: Lost) -> None:
        """Sum up what workers could not log."""
        self._log.lost(message.label, message.lines, message.reason)

    def gone(self, slot: int, child: Child, status: int) -> None:
        """Count what the worker in `slot` did; before the generation is ready its death is the generation's."""
        if self._finished is not None:
            return
        self._tally.ended(self._board.worker(slot))
        self._vitals.ended(slot)
        self._board.reset(slot)  # or it would look like one that has time
        self._gate.forget(slot)
        self._chaining.ended(child.why, describe(status))
        what = self._pool.gone(slot, time.monotonic())
        if self._ready_at is None and not self._pool.closing:
            why = child.why or channel.Failed("load", f"worker {what.number} {describe(status)} before it was ready")
            self._fail(link.failure(why.stage, why.reason, why.detail))
        elif what.phase is not pool.Phase.LEAVING:
            self._tally.respawns += 1
            reason = f": {child.why.reason}" if child.why is not None else ""
            logs.say(f"worker {what.number} (pid {child.pid}) {describe(status)}{reason}")

    # --- telling -------------------------------------------------------------------------------------------------

    def _report(self, now: float, *, always: bool = False) -> None:
        views = [self._board.worker(slot) for slot in self._children.by_slot]
        if self._ready_at is not None and self._tally.proves_loyal(views, now - self._ready_at):
            self._line.post(link.Loyal())
        pids = self._children.serving_pids()
        news = self._tally.news(views, pids, asleep=self._slumber.asleep, always=always)
        if news is not None:
            self._line.post(news)

    def _timeout(self) -> float | None:
        if self._signals.pending:
            return 0.0
        deadlines = (
            self._pool.deadline(),
            self._gate.until,
            self._beside.deadline(),
            self._hooks.deadline(),
            self._vitals.deadline(),
        )
        moments = [moment for moment in deadlines if moment is not None]
        if self._ready_at is not None and not self._pool.closing:
            moments.append(self._rounds.due)
        first = min(moments, default=float("inf"))
        return max(0.0, first - time.monotonic()) if first < float("inf") else None

    def _serve_alone(self, record: link.Activate) -> None:
        """No predecessor serves any more: its sockets' settings, pidfiles, jobs, daemons are this generation's now."""
        self._beside.activate(record)
        self._hooks.activate()
        self._it.ports.apply(self._it.settings)
        self._marks.take()
