"""Smart daemons that no sweep may take for what a dead master has left, as the fork server keeps them.

It was told their pids and start times by the emperor, which has looked whose they are. The one danger is a pid that
the kernel has given to somebody else since: each use looks at the start time again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from vassal import sessions

if TYPE_CHECKING:
    from collections.abc import Collection

Pair = tuple[int, int]
"""(pid, start time in clock ticks after boot)."""
PATIENCE = 5.0
"""Seconds that daemons without emperor and master have between SIGTERM and SIGKILL."""


def living(pairs: Collection[Pair]) -> set[Pair]:
    """Return those that are still there."""
    return {pair for pair in pairs if (found := sessions.look(pair[0])) is not None and found.start == pair[1]}


def kill(pairs: Collection[Pair], number: int = signal.SIGKILL) -> list[sessions.Process]:
    """Send `number` to what is left of them and of their sessions, and return that."""
    sessions_of = sessions.apart(pairs, ())
    if not sessions_of:
        return []
    left = [process for process in sessions.everyone() if process.session in sessions_of and process.state not in "ZX"]
    sessions.kill(left, number)
    return left


def end(pairs: Collection[Pair]) -> None:
    """End them, with some patience: emperor and masters are gone, so nobody else will."""
    until = time.monotonic() + PATIENCE
    left = kill(pairs, signal.SIGTERM)
    while left:
        time.sleep(0.02)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        alive = living({(process.pid, process.start) for process in left})
        left = [process for process in left if (process.pid, process.start) in alive]
        if time.monotonic() >= until:
            sessions.kill(left)
            until += PATIENCE
