"""What an app forks in a request comes back into the server's code, unless it ends by itself: there it is ended.

A copy of a worker has its sockets, its epoll and its channel: it would answer the same client once more, hear what the
master says to the other, and serve on after a reload. The one danger is costing each request something to find that
out; so nothing is asked, and what a copy must touch first, its thread's cells on the scoreboard, is a trap in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vassal.loader import end_copy

if TYPE_CHECKING:
    from vassal.wsgi import Gateway


class _Trap:
    """Stands in a copy where the cells were: whoever writes there has come back from the app."""

    def __setitem__(self, cell: int, value: float) -> None:
        end_copy()


def end_those_of(gateway: Gateway) -> None:
    """From now on, end what is forked from this process as soon as it comes back to `gateway` from the app."""

    def become_copy() -> None:
        gateway.copied = True
        trap: Any = _Trap()
        for member in gateway.crew.members:
            member.times = trap

    os.register_at_fork(after_in_child=become_copy)
