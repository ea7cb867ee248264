"""Commands beside a master's loop: started, listened to, killed at their deadlines, never waited for.

The one danger is a place where the loop would stand still: so whoever starts something is called back when it ends.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import hooks, logs, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True)
class _Running:
    command: shell.Command
    kill_at: float | None
    done: Callable[[shell.Command, int | None], None]
    overdue: bool = False


class Beside:
    """Commands beside a master's loop. Nothing here waits."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._running: dict[int, _Running] = {}

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self._running)

    def start(
        self,
        arguments: Sequence[str],
        label: str,
        limit: float | None,
        done: Callable[[shell.Command, int | None], None],
    ) -> None:
        """Start a command; `done` is told how it ended, None where it had to be killed after `limit` seconds.

        Raises:
            OSError: it cannot be started.
        """
        command = shell.Command(arguments, label)
        kill_at = None if limit is None else time.monotonic() + limit
        self._running[command.pid] = _Running(command, kill_at, done)
        self._selector.register(command.pipe, selectors.EVENT_READ, lambda: self._read(command))

    def _read(self, command: shell.Command) -> None:
        pipe = command.pipe
        command.read()
        if not command.open:
            self._deafen(pipe)

    def _deafen(self, pipe: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pipe)

    def reaped(self, pid: int, status: int) -> bool:
        """Take note of the end of `pid`; False: it is none of these."""
        running = self._running.pop(pid, None)
        if running is None:
            return False
        if running.command.open:
            self._deafen(running.command.pipe)
        running.command.finish()
        running.done(running.command, None if running.overdue else status)
        return True

    def look(self, now: float) -> None:
        """Kill what runs too long (`now`: monotonic seconds)."""
        for running in self._running.values():
            if running.kill_at is not None and now >= running.kill_at:
                running.kill_at, running.overdue = None, True
                running.command.signal(signal.SIGKILL)

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        return min((r.kill_at for r in self._running.values() if r.kill_at is not None), default=None)

    def terminate(self) -> None:
        """Ask what runs to end."""
        for running in self._running.values():
            running.command.signal(signal.SIGTERM)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        for running in self._running.values():
            running.command.close()


class Chain:
    """Hooks that are run one after the other beside a master's loop; `over` is told '' and '', or why it broke.

    `fatal`: the first that fails is the last.
    """

    def __init__(
        self,
        beside: Beside,
        hooks: Sequence[hooks.Hook],
        limit: float,
        over: Callable[[str, str], None],
        *,
        fatal: bool,
    ) -> None:
        self._beside = beside
        self._left = list(hooks)
        self._limit = limit
        self._until = time.monotonic() + limit
        self._over = over
        self._fatal = fatal

    def go_on(self) -> None:
        """Start the next one, or tell that all have run."""
        while self._left:
            one = self._left.pop(0)
            hooks.announce(one)
            if not one.arguments:
                continue
            left = max(self._until - time.monotonic(), 0.0)
            try:
                self._beside.start(one.arguments, one.option, left, functools.partial(self._ended, one))
            except OSError as error:
                if not self._failed(hooks.HookError(f"{one.shown}: {error.strerror}")):
                    return
                continue
            return
        self._over("", "")

    def _ended(self, one: hooks.Hook, command: shell.Command, status: int | None) -> None:
        try:
            hooks.judge(one, command, status, self._limit)
        except hooks.HookError as error:
            if not self._failed(error):
                return
        self.go_on()

    def _failed(self, error: hooks.HookError) -> bool:
        """Tell of it; False: that was the last one."""
        if self._fatal:
            self._left.clear()
            self._over(str(error), error.detail)
            return False
        logs.say(str(error))
        return True
