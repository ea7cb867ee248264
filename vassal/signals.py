"""Signals as events of a selector: noted when they come, handled when the loop looks.

`handle` and `mask` are the functions of `signal` without what that module puts around them: it turns numbers and
handlers into enumerations and back, for which each process of a fleet writes to pages that all could share.

The one danger is a signal between the look and the wait: the wake-up descriptor (`signal.set_wakeup_fd`) makes the wait
end at once then.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of, since Python 3.5
import contextlib
import os
import selectors
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT, IGNORE = int(signal.SIG_DFL), int(signal.SIG_IGN)
SETMASK, BLOCK, UNBLOCK = int(signal.SIG_SETMASK), int(signal.SIG_BLOCK), int(signal.SIG_UNBLOCK)


handle: Callable[..., Any] = _signal.signal
"""`signal.signal` that takes `DEFAULT`, `IGNORE` or a function, and returns what was there."""
mask: Callable[..., set[int]] = _signal.pthread_sigmask
"""`signal.pthread_sigmask` that takes `SETMASK`, `BLOCK` or `UNBLOCK` and returns numbers."""


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
            handle(number, lambda caught, _frame: self.note(caught))
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        mask(UNBLOCK, numbers)

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
