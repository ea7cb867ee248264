"""Daemons beside an app: when each is started, signalled, killed or given up.

Pure: `Daemon` is told what happened and at what time, and answers with what is to be done; `vassal.attach` does it.
The one danger is two at once: a daemon is started only when nothing of its last run is left, and a smart one only when
it is not there already.
"""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vassal.daemonlines import Spec

STEADY = 10.0
"""Seconds that a run must last: a shorter one is a failed attempt, and the next one waits."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt, doubled with each."""
NAMING = 10.0
"""Seconds in which a daemon that has gone into the background must be named by its pidfile (uWSGI's freq: 10)."""
STRANGER = 10.0
"""Seconds that a process of somebody else's in the pidfile is waited for: a predecessor that is about to end."""
LOOK = 0.1
"""Seconds between two looks at a pidfile that is waited for, at first."""
LOOK_LATER = 1.0
"""The same after `NAMING`."""
COMMAND = 200
"""Characters of a command that are shown."""


class State(enum.StrEnum):
    """What `status` shows."""

    WAITING = "waiting"
    """Not started yet: its generation does not serve alone, or something else has to end first."""
    STARTING = "starting"
    """It runs, and its pidfile does not name it yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It was told to end, or what it has left behind is."""
    BACKOFF = "backoff"
    GIVEN_UP = "given up"
    ENDED = "ended"


# --- actions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start it; `Daemon.started` or `not_started` is to follow."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look into its pidfile; `Daemon.named` is to follow."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Send `number` to all that belongs to it."""

    number: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """See whether anything of it is left; `Daemon.cleared` is to follow where nothing is."""


@dataclass(frozen=True, slots=True)
class EndVassal:
    """A control daemon has ended: so does the vassal."""


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the log, about this daemon."""

    text: str


Action = Start | Look | Signal | Sweep | EndVassal | Say


class After(enum.Enum):
    """What follows when nothing is left of a run."""

    END = enum.auto()
    AGAIN = enum.auto()
    RETRY = enum.auto()


@dataclass(slots=True)
class Daemon:
    """One daemon of one generation. All times are monotonic seconds; `mercy` are those between a signal and SIGKILL."""

    spec: Spec
    mercy: float
    state: State = State.WAITING
    restarts: int = 0
    failures: int = 0
    """Attempts in a row that ended too early."""
    deadline: float | None = None
    """When `due` is to be called next, None for never."""
    _began: float = 0.0
    _after: After = After.END
    _kill_at: float = 0.0
    _pause: float = LOOK
    _name_by: float | None = None
    """It went into the background: its pidfile must name it until then."""
    _stranger_until: float | None = None
    _ever: bool = field(default=False)

    @property
    def busy(self) -> bool:
        """Whether a process of it may be there."""
        return self.state in {State.STARTING, State.RUNNING, State.STOPPING}

    # --- what is wanted ------------------------------------------------------------------------------------------

    def begin(self, now: float, *, inherited: bool) -> list[Action]:
        """Its generation serves alone. `inherited`: an earlier one has left it running."""
        if self.state is State.STOPPING:
            self._after = After.AGAIN
            return []
        if not inherited:
            return self._want(now)
        self._ever = True
        self._run(now)
        number = self.spec.reload_signal or (signal.SIGHUP if self.spec.notify else 0)
        return [Signal(number)] if number else []

    def stop(self, now: float, mercy: float, *, reloading: bool = False) -> list[Action]:
        """End it, and start it no more."""
        if not self.busy:
            self.state, self.deadline = State.ENDED, None
            return []
        if self.state is State.STOPPING:
            self._after = After.END
            self._kill_at = min(self._kill_at, now + mercy)
            self.deadline = min(self.deadline or now, self._kill_at)
            return []
        number = (reloading and self.spec.reload_signal) or self.spec.stop_signal
        return self._clear(now, After.END, number, mercy)

    def let_go(self) -> None:
        """Leave it, running, to the next generation."""
        self.state, self.deadline = State.ENDED, None

    def take_back(self) -> None:
        """Undo `let_go`."""
        self.state = State.RUNNING

    def touched(self, now: float, path: str) -> list[Action]:
        """A file was touched that it is to be restarted for, or told of by its ``reloadsignal``."""
        if self.state in {State.GIVEN_UP, State.BACKOFF}:
            self.failures = 0
            return [Say(f"starting it anew: {path} was touched"), *self._want(now)]
        if self.state not in {State.STARTING, State.RUNNING}:
            return []
        if self.spec.reload_signal:
            name = signal.Signals(self.spec.reload_signal).name if self.spec.reload_signal < 32 else "its signal"
            return [Say(f"sending {name}: {path} was touched"), Signal(self.spec.reload_signal)]
        return [
            Say(f"restarting it: {path} was touched"),
            *self._clear(now, After.AGAIN, self.spec.stop_signal, self.mercy),
        ]

    # --- what happens --------------------------------------------------------------------------------------------

    def started(self, now: float) -> list[Action]:
        """`Start` was done."""
        self.restarts += self._ever
        self._ever = True
        self._run(now)
        if self.spec.smart and not self.spec.daemonize:
            self.state, self._pause = State.STARTING, LOOK
            self.deadline = now + self._pause
        return []

    def not_started(self, now: float, why: str) -> list[Action]:
        """`Start` could not be done: a failed attempt."""
        self._began = now
        return [Say(f"cannot be started: {why}"), *self._failed(now)]

    def exited(self, now: float, how: str, *, well: bool, named: bool) -> list[Action]:
        """The process that was started has ended (`how`, for people; `well`: with status 0).

        `named`: the pidfile names another process that lives and is the daemon's.
        """
        if self.state is State.STOPPING:
            return [Sweep()]
        if self.state not in {State.STARTING, State.RUNNING}:
            return []
        if self.spec.smart and named:
            if self.state is State.STARTING:
                self._run(self._began)
            return []
        if self.state is State.STARTING and well and not self.spec.daemonize:
            self._name_by = now + NAMING
            return []
        return self._lost(now, how)

    def lost(self, now: float) -> list[Action]:
        """The process that its pidfile named has ended."""
        if self.state is State.STOPPING:
            return [Sweep()]
        return self._lost(now, "ended") if self.state in {State.STARTING, State.RUNNING} else []

    def named(self, now: float, *, ours: bool, stranger: int = 0) -> list[Action]:
        """A look into its pidfile: it names a process of the daemon's (`ours`), a `stranger`, or nobody."""
        if self.state is State.STARTING:
            if ours:
                self._run(self._began)
            elif self._name_by is not None and now >= self._name_by:
                self._name_by = None
                return self._lost(now, f"went into the background and is not named by {self.spec.pidfile}")
            else:
                self._pause = LOOK if now - self._began < NAMING else LOOK_LATER
                self.deadline = now + self._pause
            return []
        if self.state is not State.WAITING:
            return []
        if ours:
            self._ever = True
            self._run(now)
            return [Say("runs already")]
        if stranger:
            return self._meet(now, stranger)
        self.deadline = None
        return [Start()]

    def _meet(self, now: float, pid: int) -> list[Action]:
        """Wait a moment for a process that is not this vassal's; never adopt it, never signal it."""
        if self._stranger_until is None:
            self._stranger_until = now + STRANGER
            self.deadline = now + LOOK
            return [Say(f"{self.spec.pidfile} names process {pid}, which is not this vassal's: waiting for its end")]
        if now < self._stranger_until:
            self.deadline = now + LOOK
            return []
        self._stranger_until = None
        self.deadline = None
        return [Say(f"process {pid} of {self.spec.pidfile} lives on and is left alone: starting the daemon"), Start()]

    def cleared(self, now: float) -> list[Action]:
        """Nothing is left of its last run."""
        if self.state is not State.STOPPING:
            return []
        self.deadline = None
        if self._after is After.END:
            self.state = State.ENDED
            return []
        if self._after is After.AGAIN:
            return self._want(now)
        return self._failed(now)

    def due(self, now: float) -> list[Action]:
        """`deadline` has come."""
        if self.deadline is None or now < self.deadline:
            return []
        self.deadline = None
        if self.state is State.BACKOFF:
            return self._want(now)
        if self.state in {State.STARTING, State.WAITING}:
            return [Look()]
        if self.state is not State.STOPPING:
            return []
        self._pause = min(self._pause * 1.5, 0.25)
        if now < self._kill_at:
            self.deadline = min(now + self._pause, self._kill_at)
            return [Sweep()]
        self.deadline = now + self._pause
        return [Signal(signal.SIGKILL), Sweep()]

    # --- steps ---------------------------------------------------------------------------------------------------

    def _want(self, now: float) -> list[Action]:
        """Start it; a smart one is looked for first."""
        self.state, self.deadline, self._name_by, self._stranger_until = State.WAITING, None, None, None
        self._began = now
        return [Look()] if self.spec.smart else [Start()]

    def _run(self, began: float) -> None:
        self.state, self.deadline, self._name_by = State.RUNNING, None, None
        self._began = began

    def _lost(self, now: float, how: str) -> list[Action]:
        """It is gone without having been asked; what it has left behind ends first."""
        if self.spec.control:
            self.failures = 0
            text = f"{how}: it is a control daemon, so the vassal ends"
            return [Say(text), *self._clear(now, After.END, self.spec.stop_signal, self.mercy), EndVassal()]
        self.failures = 0 if now - self._began >= STEADY else self.failures + 1
        return [Say(how), *self._clear(now, After.RETRY, self.spec.stop_signal, self.mercy)]

    def _failed(self, now: float) -> list[Action]:
        """The last run is over: again at once after a long one, later after a short one, or no more."""
        if self.state is not State.STOPPING:  # it never ran
            self.failures += 1
        if self.spec.freq and self.failures >= self.spec.freq:
            self.state, self.deadline = State.GIVEN_UP, None
            return [Say(f"given up after {self.failures} attempts (freq); a reload or a touch tries it again")]
        if not self.failures:
            return self._want(now)
        wait = min(FIRST_WAIT * 2 ** min(self.failures - 1, 20), max(self.spec.longest_wait, FIRST_WAIT))
        self.state, self.deadline = State.BACKOFF, now + wait
        return [Say(f"starting again in {wait:g} s")]

    def _clear(self, now: float, after: After, number: int, mercy: float) -> list[Action]:
        """End all that belongs to it, and then go on with `after`."""
        self.state, self._after, self._pause = State.STOPPING, after, 0.02
        self._kill_at = now + mercy
        self.deadline = min(now + self._pause, self._kill_at)
        return [Signal(number), Sweep()]
