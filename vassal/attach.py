"""The daemons of one generation, as processes: started, named, signalled, swept, handed on, reported.

What is done when says `vassal.daemons`. A plain daemon leads a process group in its master's session and ends with it.
A smart one leads a session of its own; its pid, with the time at which it started, is told to the emperor, which looks
whether it is the vassal's, keeps it from being swept with what a dead master has left, and hands it on.

The one danger is a pid that is somebody else's: a process counts as a daemon's only where its start time is the one
that was noted, or where this master is above it; a pidfile only says where to look.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections import deque
from typing import TYPE_CHECKING

from vassal import daemons, link, logs, pidfile, sessions, shell, touch
from vassal.children import describe
from vassal.daemonlines import Spec, parsed
from vassal.daemons import Daemon, State
from vassal.launch import MARK, Attached, Kept, LaunchError, Traces, launch, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.config import Settings

TELL_EVERY = 2.0
"""Seconds between two reports of what only people look at."""
TELL_SOON = 0.2
"""Seconds between two reports of what the emperor must know: which processes outlive this master."""
SHOWN = 100
"""Daemons that `status` shows, at most."""


class Daemons:
    """`tell` is called when the emperor has to know something new, `end_vassal` when a control daemon has ended."""

    def __init__(
        self,
        settings: Settings,
        selector: selectors.BaseSelector,
        tell: Callable[[], None],
        end_vassal: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._tell = tell
        self._end_vassal = end_vassal
        self._mercy = float(settings.reload_mercy)
        specs = parsed(settings)
        here = os.getcwd() if specs else ""
        self._all = [Attached(Daemon(spec, self._mercy), os.path.join(here, spec.pidfile)) for spec in specs]
        if specs:
            prepare()
        for one in self._all:
            one.traces.apart = one.spec.smart
            self._warn(one.spec)
            if one.spec.touch:
                one.touches = touch.Touches(one.spec.touch, here, "")
        self._touch_at = 0.0
        self._active = False
        self._kept: tuple[str, ...] = ()
        self._told: link.DaemonReport | None = None
        self._told_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._all)

    # --- the master's calls --------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a process is there that this master has to see out."""
        return any(one.daemon.busy for one in self._all)

    def activate(self, now: float, kept: Sequence[str]) -> None:
        """No other generation runs any: take over those that an earlier one has left (`kept`), and start the rest."""
        self._active = True
        found = [note for text in kept if (note := Kept.parse(text)) is not None and note.lives()]
        for one in self._all:
            one.going = False
            if one.touches is not None:
                one.touches.changed()  # before it starts: not its business
            note = next((note for note in found if note.key == one.spec.key), None) if one.spec.smart else None
            if note is not None:
                found.remove(note)
                self._inherit(one, note, now)
        for note in found:
            self._send_off(note, now)
        self._begin(now)

    def release(self, now: float, mercy: float, *, reloading: bool = True) -> None:
        """End the plain ones; leave the smart ones that can be found again. `busy` says when it is done."""
        self._kept = self.kept()
        self._active = False
        for one in self._all:
            if one.spec.smart and one.daemon.state is State.RUNNING and one.main is not None:
                one.going = True
                one.daemon.let_go()
                self._unwatch(one)
            else:
                self._do(one, one.daemon.stop(now, mercy, reloading=reloading), now)

    def resume(self, now: float) -> None:
        """A `release` is taken back: somebody called before the vassal slept."""
        if not self._active and self._all:
            self.activate(now, self._kept)

    def finish(self, now: float, mercy: float) -> None:
        """The vassal ends for good: end all of them."""
        self._active = False
        for one in self._all:
            if one.going and one.main is not None and self._watch(one, one.main):
                one.daemon.take_back()  # nobody came to whom it was left
            one.going = False
            self._do(one, one.daemon.stop(now, mercy), now)

    def reaped(self, pid: int, status: int, now: float) -> bool:
        """Take note of the end of child `pid` (`status` as of `subprocess`); False: it is no daemon."""
        one = next((one for one in self._all if one.launcher == pid), None)
        if one is None:
            return False
        one.launcher = 0
        if one.main is not None and one.main.pid == pid:
            one.main = None
        named = one.main is not None or (one.spec.smart and one.daemon.busy and self._find(one)[0])
        self._do(one, one.daemon.exited(now, describe(status), well=status == 0, named=named), now)
        return True

    def look(self, now: float) -> None:
        """Do what is due at `now` (monotonic seconds)."""
        for one in list(self._all):
            if one.daemon.deadline is not None and now >= one.daemon.deadline:
                self._do(one, one.daemon.due(now), now)
        if self._active and now >= self._touch_at:
            self._touch_at = now + touch.EVERY
            for one in self._all:
                if one.touches is not None and (path := one.touches.changed()) is not None:
                    self._do(one, one.daemon.touched(now, path), now)
        if any(one.former and one.daemon.state is State.ENDED for one in self._all):
            self._all = [one for one in self._all if not (one.former and one.daemon.state is State.ENDED)]
            self._begin(now)
        if (due := self._tell_due()) is not None and now >= due:
            self.tell_all(now)

    def tell_all(self, now: float) -> None:
        """Tell what has changed, if anything has."""
        if self._tell_due() is not None:
            self._told, self._told_at = self.report(), now
            self._tell()

    def _tell_due(self) -> float | None:
        """When something is to be told (monotonic seconds), None where nothing has changed."""
        if self._told is None and not (self._active and self._all):
            return None  # while another generation serves, its daemons are what people want to see
        report = self.report()
        if report == self._told:
            return None
        return self._told_at + (TELL_EVERY if self._told is not None and report.kept == self._told.kept else TELL_SOON)

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        moments = [one.daemon.deadline for one in self._all if one.daemon.deadline is not None]
        if self._active and any(one.touches is not None for one in self._all):
            moments.append(self._touch_at)
        if (due := self._tell_due()) is not None:
            moments.append(due)
        return min(moments, default=None)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        for one in self._all:
            if one.output is not None:
                one.output.close()
            if one.pidfd >= 0:
                os.close(one.pidfd)

    def kept(self) -> tuple[str, ...]:
        """Return the smart daemons that are to outlive this process, one text each: `vassal.launch.Kept`."""
        return tuple(
            Kept(
                one.main.pid, one.main.start, one.spec.stop_signal, one.spec.key, one.traces.mark, self._own_file(one)
            ).text
            for one in self._all
            if one.spec.smart and one.main is not None and (one.daemon.busy or one.going)
        )

    def report(self) -> link.DaemonReport:
        """Return what `status` shows of the first `SHOWN` daemons, and what outlives this process."""
        shown = [one for one in self._all if not one.former][:SHOWN]
        return link.DaemonReport(
            commands=tuple(one.spec.command[: daemons.COMMAND] for one in shown),
            pids=tuple((one.main.pid if one.main is not None else one.launcher) for one in shown),
            states=tuple(str(State.RUNNING if one.going else one.daemon.state) for one in shown),
            restarts=tuple(one.daemon.restarts for one in shown),
            kept=self.kept(),
        )

    @staticmethod
    def _warn(spec: Spec) -> None:
        """Tell of a user or group that the daemon will not have: only root could take it."""
        for name, value, mine in (("uid", spec.uid, os.geteuid()), ("gid", spec.gid, os.getegid())):
            if value and os.geteuid() != 0 and value != str(mine):
                logs.say(f"daemon {spec.label}: {name}={value} has no effect: the vassal runs as user {os.geteuid()}")

    # --- one daemon ----------------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Start what does not run. A smart one waits for the end of those whose lines have left the file."""
        if not self._active:
            return
        leaving = any(one.former for one in self._all)
        for one in self._all:
            if one.former or one.daemon.state not in {State.WAITING, State.ENDED, State.STOPPING}:
                continue
            if not (one.spec.smart and leaving):
                self._do(one, one.daemon.begin(now, inherited=False), now)

    def _inherit(self, one: Attached, note: Kept, now: float) -> None:
        one.traces = Traces(note.mark, note.start, apart=True)
        one.launcher, one.first = 0, note.pid
        process = sessions.look(note.pid)
        if process is None or not self._watch(one, process):
            return
        logs.say(f"daemon {one.spec.label}: runs on, pid {note.pid}")
        self._do(one, one.daemon.begin(now, inherited=True), now)

    def _send_off(self, note: Kept, now: float) -> None:
        """End a daemon that no line asks for any more."""
        spec = Spec(f"process-{note.pid}", note.pidfile or "-", stop_signal=note.signal)
        one = Attached(Daemon(spec, self._mercy), note.pidfile, former=True)
        self._all.append(one)
        self._inherit(one, note, now)
        logs.say(f"daemon {spec.label}: its line has left the file, or has changed: stopping it")
        self._do(one, one.daemon.stop(now, self._mercy), now)

    def _do(self, one: Attached, actions: Sequence[daemons.Action], now: float) -> None:
        """Carry out `actions`, and those that follow from them."""
        queue = deque(actions)
        while queue:
            match queue.popleft():
                case daemons.Start():
                    queue.extend(self._start(one, now))
                case daemons.Look():
                    ours, stranger = self._find(one)
                    queue.extend(one.daemon.named(now, ours=ours, stranger=stranger))
                case daemons.Signal(number):
                    self._signal(one, number)
                case daemons.Sweep():
                    if not one.launcher and not one.traces.members():
                        self._close(one)
                        queue.extend(one.daemon.cleared(now))
                case daemons.Say(text):
                    logs.say(f"daemon {one.spec.label}: {text}")
                case daemons.EndVassal():
                    self._end_vassal()

    def _start(self, one: Attached, now: float) -> list[daemons.Action]:
        self._close(one)
        one.traces = Traces(os.urandom(8).hex(), apart=one.spec.smart)
        try:
            one.launcher, one.output = launch(one.spec, one.traces.mark)
        except LaunchError as error:
            return one.daemon.not_started(now, str(error))
        if (output := one.output) is not None:
            self._selector.register(output.pipe, selectors.EVENT_READ, lambda: self._read(output))
        one.first = one.launcher
        one.traces.add(one.launcher)
        one.traces.since = one.traces.leaders[one.launcher]
        process = sessions.look(one.launcher)
        if one.spec.daemonize:
            one.main = process
            pidfile.write(one.path, one.launcher)
        logs.say(f"daemon {one.spec.label}: started, pid {one.launcher}")
        return one.daemon.started(now)

    def _read(self, output: shell.Output) -> None:
        pipe = output.pipe
        output.read()
        if not output.open:  # closed by the daemon, which may run on
            self._deafen(pipe)

    def _deafen(self, pipe: int) -> None:
        if pipe >= 0:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(pipe)

    def _find(self, one: Attached) -> tuple[bool, int]:
        """Look into its pidfile; return whether it names a process of the daemon, and the pid of one that is not."""
        try:
            pid, problem = pidfile.read(one.path), ""
        except pidfile.PidfileError as error:
            pid, problem = 0, str(error)
        if problem and problem != one.said:
            logs.say(f"daemon {one.spec.label}: {problem}")
        one.said = problem
        process = sessions.look(pid) if pid > 1 else None
        if process is None or process.state in "ZX":
            return False, 0
        if not self._is_ours(one, process):
            return False, pid
        return self._watch(one, process), 0

    def _is_ours(self, one: Attached, process: sessions.Process) -> bool:
        if one.main is not None and (process.pid, process.start) == (one.main.pid, one.main.start):
            return True
        if one.traces.mark and sessions.variable(process.pid, MARK) == one.traces.mark:
            return True
        # A program may write over its environment (Redis does). All that is ours is below us, and all that is neither
        # a worker, a job nor a plain daemon has left our session.
        taken = {number for other in self._all if other is not one for number in other.traces.leaders}
        apart = process.session != os.getsid(0) and process.session not in taken
        return apart and sessions.descends(process.pid, {os.getpid()})

    def _watch(self, one: Attached, process: sessions.Process) -> bool:
        """Take `process` for the daemon; False: it has ended."""
        self._unwatch(one)
        if process.pid != one.launcher:
            try:
                one.pidfd = os.pidfd_open(process.pid)
            except OSError:
                return False
            now = sessions.look(process.pid)
            if now is None or now.start != process.start:
                self._unwatch(one)
                return False
            self._selector.register(one.pidfd, selectors.EVENT_READ, lambda: self._main_ended(one))
        one.main = process
        if not one.traces.mark:  # found by its pidfile alone
            one.traces.mark, one.first = sessions.variable(process.pid, MARK), process.pid
        if one.spec.smart and process.session != os.getsid(0):
            one.traces.add(process.session)
        return True

    def _unwatch(self, one: Attached) -> None:
        if one.pidfd >= 0:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one.pidfd)
            os.close(one.pidfd)
            one.pidfd = -1

    def _main_ended(self, one: Attached) -> None:
        now = time.monotonic()
        self._unwatch(one)
        one.main = None
        if one.daemon.busy and one.daemon.state is not State.STOPPING and self._find(one)[0]:
            return  # it has put another process in its place
        self._do(one, one.daemon.lost(now), now)

    def _signal(self, one: Attached, number: int) -> None:
        if one.launcher:  # ours until it is reaped, and so is the number of its group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(one.launcher, number)
        found = one.traces.members()
        sessions.kill([process for process in found if not one.launcher or process.group != one.launcher], number)

    def _close(self, one: Attached) -> None:
        """Forget the last run."""
        self._unwatch(one)
        if one.output is not None:
            self._deafen(one.output.pipe)
            one.output.finish()
            one.output = None
        path = self._own_file(one)
        if path and one.first:
            pidfile.remove(path, one.first)
        one.main, one.first, one.traces = None, 0, Traces(apart=one.spec.smart)

    @staticmethod
    def _own_file(one: Attached) -> str:
        """The pidfile that this vassal has written itself, '' where the daemon does."""
        return one.path if one.spec.daemonize or one.former else ""
