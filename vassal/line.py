"""The master's end of the link, in its selector: reads what the emperor says, and tells it what it must know.

The one danger is an emperor that does not read or is gone: what is told is queued by `vassal.link`, never waited for.
"""

from __future__ import annotations

import contextlib
import selectors
from typing import TYPE_CHECKING

from vassal import link, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Line:
    """`end`: None for a vassal by hand. `obey` takes a record with its descriptors; `lost`: nobody is there now."""

    def __init__(
        self,
        end: link.End | None,
        selector: selectors.BaseSelector,
        obey: Callable[[link.Record, Sequence[int]], None],
        lost: Callable[[], None],
    ) -> None:
        self._end = end
        self._selector = selector
        self._obey = obey
        self._lost = lost

    def __bool__(self) -> bool:
        """Whether there is an emperor."""
        return self._end is not None

    def open(self) -> None:
        """Listen to the emperor."""
        if self._end is not None:
            self._selector.register(self._end.fileno(), selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        try:
            while self._end is not None and (message := self._end.read()) is not None:
                self._obey(*message)
        except (link.LinkClosed, link.LinkError):
            if self._end is not None:
                self._selector.unregister(self._end.fileno())
                self.leave()
                self._end = None
                self._lost()

    def leave(self) -> None:
        """Close this end; in a worker, too."""
        if self._end is not None:
            self._end.close()

    def post(self, record: link.Record, fds: Sequence[int] = ()) -> None:
        """Tell the emperor, if there is one."""
        if self._end is None:
            return
        try:
            self._end.post(record, fds)
        except link.LinkClosed:
            pass  # reading the link will say so too
        except link.LinkError as error:
            logs.say(f"the emperor cannot be told of {record.NAME}: {error}")

    def flush(self) -> None:
        """Send what is queued; wait for room where there is none."""
        end = self._end
        if end is None:
            return
        with contextlib.suppress(link.LinkClosed):
            end.flush()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if end.pending else 0)
        if self._selector.get_key(end.fileno()).events != events:
            self._selector.modify(end.fileno(), events, self._read)
