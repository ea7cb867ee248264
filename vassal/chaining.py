"""New code in the same generation: whether that can be, and what is told of it (``chain``, ``touch-chain-reload``).

The one danger is new code under old options: so a chain that the emperor asks for is only made while the files that
were read are unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vassal import link, logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal import channel, pool


class Chaining:
    """`lazy`: the workers load the app themselves, so that a new one has new code.

    `unedited` looks at the files, and whether the sockets are still at their paths;
    `post` tells the emperor, `renew` asks for a new generation and says why.
    """

    def __init__(
        self,
        workers: pool.Pool,
        unedited: Callable[[], bool],
        post: Callable[[link.Record], None],
        renew: Callable[[str], None],
        *,
        lazy: bool,
    ) -> None:
        self._pool = workers
        self._unedited = unedited
        self._post = post
        self._renew = renew
        self._lazy = lazy
        self._asked = False
        self.why = ("", "")
        """Why the last worker that failed to start did so: one line, and a traceback."""

    def reload(self) -> None:
        """The emperor asks for it, and waits for the outcome."""
        if self._lazy and self._unedited():
            self._begin("reload")
            self._asked = True
        else:
            self._post(link.Chained(edited=True))

    def want(self, reason: str) -> None:
        """Somebody wants new code, or only new workers."""
        if self._lazy:
            self._begin(reason)
        else:
            self._renew(f"{reason}; the master has loaded the app, so it takes a new generation")

    def keep(self) -> None:
        """A newer generation has failed: a worker that loads the app itself would load what is broken."""
        self._pool.keep = self._lazy

    def ended(self, why: channel.Failed | None, how: str) -> None:
        """A worker has ended: `why` it failed, if it said, and `how` that looked."""
        self.why = (why.reason, why.detail) if why is not None else (f"a new worker {how} before it was ready", "")

    def _begin(self, reason: str) -> None:
        logs.say(f"{reason}: replacing the workers one by one")
        self._pool.chain()

    def look(self) -> None:
        """Tell of a chain that has ended."""
        end = self._pool.chain_ended
        if end is None:
            return
        self._pool.chain_ended = None
        reason, detail = self.why if end.broken else ("", "")
        logs.say(f"the workers stay as they are: {reason}" if end.broken else "all workers are new")
        if self._asked:
            self._asked = False
            self._post(link.Chained(reason, detail))
