"""Gathers what `emperor-stats` tells, from the fleet and the kernel.

The one danger is work on the loop that grows with the fleet: it is done in pieces, and memory is looked up by a thread.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from emperor import states, stats
from vassal import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emperor.commands import Commands
    from emperor.fleet import Fleet
    from emperor.places import Place


class Survey:
    """Surveys `fleet`; `places` are the emperor's."""

    def __init__(self, fleet: Fleet, commands: Commands, places: Sequence[Place]) -> None:
        self._fleet = fleet
        self._commands = commands
        self._places = places

    async def answer(self) -> bytes:
        """Return the text, with what each vassal said last and its memory as of now."""
        memory = await self._commands.memory(None)
        facts: list[stats.Facts] = []
        for name in sorted(self._fleet.vassals):
            if name in self._fleet.vassals:  # still: the loop has turned
                facts.append(self._facts(name, memory.get(name, 0)))
            if len(facts) % stats.PIECE == 0:
                await asyncio.sleep(0)
        parts = []
        for piece in stats.pieces(self._head(), facts, minified=self._fleet.settings.stats_minified):
            parts.append(piece)
            await asyncio.sleep(0)
        return "".join(parts).encode()

    def _head(self) -> stats.Head:
        try:
            cwd = os.getcwd()
        except OSError:  # it was removed
            cwd = ""
        return stats.Head(
            version=__version__,
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            cwd=cwd,
            places=tuple(place.text for place in self._places),
            tyrant=self._fleet.settings.tyrant,
        )

    def _facts(self, name: str, rss: int) -> stats.Facts:
        fleet = self._fleet
        vassal = fleet.vassals[name]
        row = self._commands.row(name, rss)
        current = vassal.serving or vassal.coming
        run = fleet.runs.get(name, {}).get(current.number) if current is not None else None
        if row["uid"] is None and fleet.settings.tyrant:
            row["uid"] = vassal.manifest.owner[0]
        sleeps = vassal.state is states.State.PARKED or vassal.sleepy
        wait = 0
        if vassal.next_retry is not None and vassal.failure is not None:
            wait = max(round((vassal.next_retry - vassal.failure.at) * 1000), 1)
        return stats.Facts(
            row=row,
            record=fleet.chronicle.of(name),
            monitor=stats.monitor_of(vassal.manifest.path, self._places),
            touched=vassal.manifest.version[0] // 10**9,
            cursed=int(fleet.since.get(name, time.time())) if vassal.state is states.State.STOPPING else 0,
            address=next(iter(row["addresses"]), "") if sleeps else "",
            gid=run.facts.gid if run is not None and run.facts is not None else -1,
            ready=vassal.serving is not None,
            wait_ms=wait,
        )
