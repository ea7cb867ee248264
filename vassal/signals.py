"""Signals as events of a selector: noted when they come, handled when the loop looks.

The one danger is a signal between the look and the wait: the wake-up descriptor (`signal.set_wakeup_fd`) makes the wait
end at once then.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Signals:
    """Those that came and are not handled yet are in `pending`, the oldest first."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Let `selector` wake for them, as soon as they are caught."""
        selector.register(self._reading, selectors.EVENT_READ, self._drain)

    def catch(self, numbers: Iterable[int]) -> None:
        """Take these signals from now on, whatever was done with them before. Only in the main thread."""
        numbers = tuple(numbers)
        for number in numbers:
            signal.signal(number, lambda caught, _frame: self.note(caught))
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def note(self, number: int) -> None:
        """It has come, or somebody wants what happens then."""
        self.pending.append(number)

    def leave(self) -> None:
        """Give up, in a child, what belongs to its parent."""
        os.close(self._reading)
        os.close(self._writing)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 4096)
