"""Whether workers that have loaded the app may serve: at once, or when they have passed the ready-check.

A generation is asked by its first worker. One that serves asks those that bring new code while older workers go on: the
links of a chain, and whoever starts after a newer generation has failed. The one danger is waiting for ever: from the
question on there is a deadline, and its passing is an answer.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

from vassal import pool
from vassal.readycheck import ReadyCheck

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from vassal.config import Settings

FIRST = 1
"""Slot of the worker that answers for its generation."""


class Gate:
    """`over` is called once for each worker that was asked, with its slot and '' or why it may not serve.

    Without a ready-check: never.
    """

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, over: Callable[[int, str], None]) -> None:
        self._settings = settings
        self._selector = selector
        self._over = over
        self._checks: dict[int, ReadyCheck] = {}
        """By slot, from before the worker is forked until its answer is there."""
        self._until: dict[int, float] = {}
        self._expect(FIRST)

    def _expect(self, slot: int) -> None:
        self.forget(slot)  # it could not be forked
        if self._settings.ready_check:
            self._checks[slot] = ReadyCheck(self._settings.ready_check, self._settings.ready_check_timeout)

    def before(self, actions: Sequence[pool.Action], workers: pool.Pool) -> Sequence[pool.Action]:
        """Be ready to ask those of `actions` that may bring bad code while `workers` with good code serve."""
        if (workers.chaining or workers.keep) and workers.serving:
            for action in actions:
                if isinstance(action, pool.Start):
                    self._expect(action.slot)
        return actions

    @property
    def open(self) -> bool:
        """Whether nothing is, or is still, to be asked."""
        return not self._checks

    @property
    def until(self) -> float | None:
        """When the next answer has to be there (monotonic seconds), once it was asked for."""
        return min(self._until.values(), default=None)

    def ask(self, slot: int, now: float) -> bool:
        """The worker in `slot` has loaded the app: ask it, if it is to be asked; False: it is not."""
        check = self._checks.get(slot)
        if check is None:
            return False
        check.worker.close()
        check.ask()
        self._until[slot] = now + check.timeout
        self._selector.register(check.sock, selectors.EVENT_READ, lambda: self._hear(slot, check))
        return True

    def look(self, now: float) -> None:
        """Judge the deadlines."""
        for slot, until in tuple(self._until.items()):
            if now >= until:
                check = self._checks[slot]
                self._close(slot, f"{check.what} was not answered within {check.timeout:g} s")

    def _hear(self, slot: int, check: ReadyCheck) -> None:
        verdict = check.hear() if self._checks.get(slot) is check else None
        if verdict is not None:
            self._close(slot, verdict)

    def _close(self, slot: int, verdict: str) -> None:
        self.forget(slot)
        self._over(slot, verdict)

    def forget(self, slot: int) -> None:
        """The worker in `slot` has ended: ask it nothing."""
        check = self._checks.pop(slot, None)
        if check is not None:
            if self._until.pop(slot, None) is not None:
                self._selector.unregister(check.sock)
            check.close()

    def end_for(self, slot: int) -> socket.socket | None:
        """Return, in the worker in `slot`, its end of the connection, if it is to be asked."""
        for other, check in self._checks.items():
            if other != slot:
                check.worker.close()
        own = self._checks.get(slot)
        return own.worker if own is not None else None

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        for check in self._checks.values():
            check.sock.close()
