"""Whether a generation may call itself ready: at once, or when its first worker has passed the ready-check.

The one danger is waiting for ever: from the question on there is a deadline, and its passing is an answer.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

from vassal.readycheck import ReadyCheck

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from vassal.config import Settings

FIRST = 1
"""Slot of the worker that answers."""


class Gate:
    """`over` is called once, with '' if the generation may be ready, or with why not. Without a check: never."""

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, over: Callable[[str], None]) -> None:
        self._selector = selector
        self._over = over
        self._check: ReadyCheck | None = None
        if settings.ready_check:
            self._check = ReadyCheck(settings.ready_check, settings.ready_check_timeout)
        self.until: float | None = None
        """When the answer has to be there (monotonic seconds), once it was asked for."""

    @property
    def open(self) -> bool:
        """Whether nothing is, or is still, to be asked."""
        return self._check is None

    def loaded(self, slot: int, now: float) -> None:
        """The worker in `slot` has loaded the app: ask it, if it is the first."""
        if self._check is not None and slot == FIRST:
            self._check.worker.close()
            self._check.ask()
            self.until = now + self._check.timeout
            self._selector.register(self._check.sock, selectors.EVENT_READ, self._hear)

    def look(self, now: float) -> None:
        """Judge the deadline."""
        if self._check is not None and self.until is not None and now >= self.until:
            self._close(f"{self._check.what} was not answered within {self._check.timeout:g} s")

    def _hear(self) -> None:
        verdict = self._check.hear() if self._check is not None else None
        if verdict is not None:
            self._close(verdict)

    def _close(self, verdict: str) -> None:
        if self._check is not None:
            self._selector.unregister(self._check.sock)
            self._check.close()
        self._check, self.until = None, None
        self._over(verdict)

    def end_for(self, slot: int) -> socket.socket | None:
        """Return, in the worker in `slot`, its end of the connection; the first one's business."""
        if self._check is None:
            return None
        if slot == FIRST:
            return self._check.worker
        self._check.worker.close()
        return None

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        if self._check is not None:
            self._check.sock.close()
