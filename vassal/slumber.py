"""A master without workers: when they go, who calls them back (``cheap``, ``idle``, ``die-on-idle``).

While nobody works the master waits at the listeners itself. The one danger is a caller between two guards: so the doors
are watched from the moment when the workers are told to go, and what they do not accept any more wakes new ones.
"""

from __future__ import annotations

import contextlib
import selectors
from typing import TYPE_CHECKING

from vassal import logs
from vassal.idle import NEVER, Idle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal import pool
    from vassal.config import Settings
    from vassal.ports import Ports


class Slumber:
    """Puts the workers of one generation to bed and wakes them. `act` carries out what the pool decides."""

    def __init__(
        self,
        settings: Settings,
        workers: pool.Pool,
        ports: Ports,
        selector: selectors.BaseSelector,
        act: Callable[[Sequence[pool.Action]], None],
    ) -> None:
        self._settings = settings
        self._pool = workers
        self._ports = ports
        self._selector = selector
        self._act = act
        self._idle = Idle(settings.idle)
        self._doors: list[int] = []
        self._paused = False
        self.ending = False
        """The whole generation is to end as soon as its workers have gone (``die-on-idle``)."""
        self._kept = False

    @property
    def asleep(self) -> bool:
        """Whether the workers are gone, or going, until somebody calls."""
        return self._pool.asleep

    def begin(self, now: float) -> None:
        """The generation is ready: a cheap one has shown that it can serve, and sleeps."""
        self._idle.begin(now)
        if self._settings.cheap:
            self.sleep(now)

    def look(self, counters: tuple[int, ...], now: float, *, busy: bool) -> None:
        """Judge, about once a second, whether there is still anything to do; see `vassal.idle.Idle.look`."""
        if self._pool.keep:
            self._idle.begin(now)  # who wakes from this sleep would have the code that failed
        elif not (self.asleep and not self._may_end) and self._idle.look(counters, now, busy=busy):
            self.ending = self._may_end
            if not self.asleep:
                logs.say(f"idle for {self._settings.idle} s: the workers go, the next connection starts them again")
                self.sleep(now)

    @property
    def _may_end(self) -> bool:
        """Whether a generation that is idle ends (and has not begun to)."""
        return self._settings.die_on_idle and not (self._kept or self._paused or self.ending)

    def left(self, now: float) -> float:
        """Seconds until the generation may end although nobody has woken a worker since it sleeps; inf for never."""
        return self._idle.left(now) if self.asleep and self._may_end else NEVER

    def keep(self) -> None:
        """A newer generation is on its way or has failed: do not end before it has taken over.

        The workers of a master that holds the app may go: those that come after them have the same code.
        """
        self._kept = True
        self.ending = False

    def sleep(self, now: float) -> None:
        """Retire the workers and wait for callers."""
        self._act(self._pool.sleep(now))
        for port in self._ports.for_callers:
            if port.sock is not None:
                self._selector.register(port.sock.fileno(), selectors.EVENT_READ, self._called)
                self._doors.append(port.sock.fileno())

    def go_cheap(self, now: float) -> None:
        """Retire the workers by command, until somebody calls."""
        if not self.asleep:
            logs.say("told to be cheap: the workers go, the next connection starts them again")
            self.sleep(now)

    def pause(self, now: float) -> None:
        """Retire the workers and let callers wait; the second time, start workers again."""
        if self._paused:
            logs.say("going on after a pause")
            self.wake()
            return
        logs.say("pausing: the workers go, and callers wait until it goes on")
        self._paused = True
        self.ending = False
        self.leave_doors()
        self._act(self._pool.sleep(now))

    def _called(self) -> None:
        self.wake()

    def wake(self) -> None:
        """Somebody calls: start workers, if there are none."""
        self.leave_doors()
        self.ending = self._paused = False
        self._pool.wake()

    def awake(self, now: float) -> None:
        """Workers serve (again): idleness counts from here."""
        self._idle.begin(now)

    def leave_doors(self) -> None:
        """Wait for callers no more: before the listeners are closed, or when workers do."""
        for fd in self._doors:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
        self._doors.clear()
