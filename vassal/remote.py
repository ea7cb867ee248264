"""What each letter on a ``master-fifo`` does (uWSGI's Master FIFO page), as far as it has a meaning here.

The one danger is a letter that is taken for another: what is not known is told, and does nothing.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.chaining import Chaining
    from vassal.children import Children
    from vassal.pool import Pool
    from vassal.scoreboard import Scoreboard
    from vassal.slumber import Slumber


class Remote:
    """Obeys.

    `renew` asks for a new generation and says why, `signalled` does what a signal to the master does, `rotate` begins
    new log files.
    """

    def __init__(  # noqa: PLR0913 (wiring: the parts of a master that have commands)
        self,
        workers: Pool,
        children: Children,
        board: Scoreboard,
        slumber: Slumber,
        chaining: Chaining,
        *,
        renew: Callable[[str], None],
        signalled: Callable[[int], None],
        rotate: Callable[[], None],
    ) -> None:
        self._pool = workers
        self._children = children
        self._board = board
        self._slumber = slumber
        self._commands: dict[str, Callable[[str], None]] = {
            **dict.fromkeys("rR", renew),
            **dict.fromkeys("wWc", chaining.want),
            **dict.fromkeys("0123456789", _choose),
            "q": lambda _: signalled(signal.SIGTERM),
            "Q": lambda _: signalled(signal.SIGQUIT),
            "s": lambda _: self._tell(),
            "l": lambda _: signalled(signal.SIGUSR1),
            "L": lambda _: rotate(),
            "p": lambda _: slumber.pause(time.monotonic()),
            "C": lambda _: slumber.go_cheap(time.monotonic()),
            "+": lambda why: self._resize(why, 1),
            "-": lambda why: self._resize(why, -1),
        }

    def obey(self, letter: str) -> None:
        """Do what `letter` stands for."""
        command = self._commands.get(letter)
        if command is None:
            logs.say(f"master-fifo: {letter!a} is no command here (see docs/signals.md)")
        else:
            command(f"master-fifo: {letter}")

    def _resize(self, why: str, more: int) -> None:
        if self._slumber.asleep:
            logs.say(f"{why}: there are no workers now")
            return
        least = self._pool.cheaper.least if self._pool.cheaper is not None else 1
        self._children.act(self._pool.resize(max(self._pool.wanted + more, least, 1), time.monotonic()))
        logs.say(f"{why}: {self._pool.wanted} workers of at most {self._pool.size}")

    def _tell(self) -> None:
        """Log what the workers have done."""
        for one in sorted(self._pool.workers.values(), key=lambda one: one.slot):
            child = self._children.by_slot.get(one.slot)
            view = self._board.worker(one.slot)
            logs.say(
                f"worker {one.number}: pid {child.pid if child is not None else 0}, {one.phase.value}, "
                f"{view.requests} requests, {view.exceptions} exceptions, {len(view.busy)} threads busy"
            )
        if not self._pool.workers:
            logs.say("no workers")


def _choose(why: str) -> None:
    logs.say(f"{why}: all pipes are read, there is none to be chosen")
