"""The end of an emperor: every vassal is stopped, or killed, and no process is left.

The one danger is never to come to it: a process that the kernel holds does not end even when it is killed, so that is
waited for a while only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emperor import states
from emperor.turn import KILL_PATIENCE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from emperor.fleet import Fleet
    from emperor.generation import Run


class Ending:
    """Ends `fleet`, whose processes are `running`. Everything here runs on the loop."""

    def __init__(self, fleet: Fleet, running: Mapping[int, Run]) -> None:
        self._fleet = fleet
        self._running = running
        self._gone: asyncio.Future[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether the emperor is stopping: nothing starts any more."""
        return self._gone is not None

    async def stop_all(self) -> None:
        """Stop every vassal gracefully; returns when no process is left."""
        self._gone = self._fleet.loop.create_future()
        for name in list(self._fleet.vassals):
            self._fleet.feed(name, states.Stop(ending=True))
        self.look()
        await self._gone

    def kill_all(self) -> None:
        """SIGKILL whatever runs, and wait `KILL_PATIENCE` more: a process in the kernel's hands may never end."""
        for run in list(self._running.values()):
            self._fleet.sweep(run)
        self._fleet.hooks.kill_all()
        self._fleet.loop.call_later(KILL_PATIENCE, self._give_up)

    def look(self) -> None:
        """Something has ended: perhaps it was the last."""
        if self._gone is None or self._gone.done() or self._running or self._fleet.hooks.busy:
            return
        if all(vassal.state is states.State.STOPPED for vassal in self._fleet.vassals.values()):
            self._gone.set_result(None)

    def _give_up(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._fleet.say(f"{len(self._running)} generations do not end even when killed; leaving them to the kernel")
            self._gone.set_result(None)
