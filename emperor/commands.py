"""What the control socket can do with the fleet.

The one danger is waiting: a command waits for an outcome that may never come, so a client that leaves is simply
forgotten, and the fleet never waits for a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from emperor import states
from emperor.control import ANYBODY, Outcome, UnknownVassal
from emperor.listeners import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emperor.fleet import Fleet
    from vassal import link


PATIENCE = 0.3
"""Seconds that `status` waits for fresh counters."""


class Commands:
    """`emperor.control.Handler` for a `Fleet`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._weighing: tuple[set[int], asyncio.Task[dict[int, int]]] | None = None
        """The pids whose memory is being looked up, and the look."""

    def _named(self, names: Sequence[str] | None) -> list[str]:
        if names is None:
            return sorted(self._fleet.vassals)
        for name in names:
            if name not in self._fleet.vassals:
                raise UnknownVassal(name)
        return list(dict.fromkeys(names))  # a name that is given twice is meant once

    async def status(self, names: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return the facts of these vassals (of all for None), with counters as of now.

        A generation that does not answer within `PATIENCE` is shown with what it said last.
        """
        waiting = [
            asyncio.ensure_future(run.ask().wait())
            for name in self._named(names)
            for run in self._fleet.runs.get(name, {}).values()
            if run.ready
        ]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=PATIENCE)
            for task in late:
                task.cancel()
        return await self.facts(names)

    async def facts(self, names: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return what is known of these vassals (of all for None), one object each."""
        memory = await self.memory(names)
        return [self.row(name, rss) for name, rss in memory.items() if name in self._fleet.vassals]

    async def memory(self, names: Sequence[str] | None) -> dict[str, int]:
        """Return the resident bytes of these vassals (of all for None): masters, and all that is below them."""
        runs = self._fleet.runs
        pids = {name: [run.pid for run in runs.get(name, {}).values() if run.pid] for name in self._named(names)}
        sizes: dict[int, int] = {}
        with contextlib.suppress(RuntimeError):  # no thread to be had: the rest can be told all the same
            sizes = await self._weighed({pid for several in pids.values() for pid in several})
        return {name: sum(sizes.get(pid, 0) for pid in several) for name, several in pids.items()}

    async def _weighed(self, wanted: set[int]) -> dict[int, int]:
        """Return the bytes by master. One look, at every process of the machine, is for all who ask meanwhile."""
        from emperor.report import rss_of  # noqa: PLC0415 (psutil is loaded only when somebody asks)

        while self._weighing is not None and not self._weighing[1].done():
            known, look = self._weighing
            if wanted <= known:
                return await asyncio.shield(look)
            await asyncio.wait((look,))
        known = wanted | {run.pid for runs in self._fleet.runs.values() for run in runs.values() if run.pid}
        look = asyncio.ensure_future(asyncio.to_thread(rss_of, known))  # not on the loop: it takes its time
        self._weighing = known, look
        return await asyncio.shield(look)

    def row(self, name: str, rss: int) -> dict[str, Any]:
        """Return what is known of vassal `name`, which has `rss` bytes of memory."""
        fleet = self._fleet
        vassal = fleet.vassals[name]
        current = vassal.serving or vassal.coming
        run = fleet.runs.get(name, {}).get(current.number) if current is not None else None
        stats = run.stats if run is not None else None
        failure = vassal.failure
        now, wall = fleet.loop.time(), time.time()
        masters = any(one.ready for one in fleet.runs.get(name, {}).values())
        return {
            "name": name,
            "path": vassal.manifest.path,
            "state": _shown(vassal, stats),
            "since": fleet.since.get(name, wall),
            "generation": current.number if current is not None else None,
            "pid": run.pid if run is not None and run.pid else None,
            "workers": stats.workers if stats is not None else 0,
            "worker_pids": list(stats.pids) if stats is not None else [],
            "requests": stats.requests if stats is not None else 0,
            "exceptions": stats.exceptions if stats is not None else 0,
            "respawns": stats.respawns if stats is not None else 0,
            "addresses": [shown(entry) for entry in fleet.store.of(name) if not entry.quiet],
            "stats": next((shown(entry) for entry in fleet.store.of(name) if entry.quiet), None),
            "loyal": bool(vassal.serving is not None and vassal.serving.loyal),
            "last_failure": None
            if failure is None
            else {
                "stage": failure.stage,
                "reason": failure.reason,
                "detail": failure.detail,
                "at": fleet.failed_at.get(name, wall),
            },
            "next_retry": None if vassal.next_retry is None else wall + vassal.next_retry - now,
            "next_wake": None if vassal.wake_at is None else wall + vassal.wake_at - now,
            "rss": rss,
            "uid": run.facts.uid if run is not None and run.facts is not None else None,
            "cron": fleet.beside.jobs(name),
            "daemons": fleet.beside.daemons(name, None if masters else fleet.spared.pids(name)),
        }

    async def reload(self, names: Sequence[str] | None, *, wait: bool, strategy: str | None) -> list[Outcome]:
        """Reload these vassals (all but the stopped ones for None), and wait for what becomes of it if asked."""
        fleet = self._fleet
        chosen = self._named(names)
        if names is None:
            chosen = [name for name in chosen if fleet.vassals[name].state is not states.State.STOPPED]
        futures = {name: fleet.waiters.outcome(name, fleet.vassals[name].next_number) for name in chosen}
        for name in chosen:
            fleet.feed(name, states.Reload(strategy))
        if wait:
            return [await self._outcome(name, futures[name]) for name in chosen]
        return [
            await self._outcome(name, future)
            if future.done()
            else Outcome(name, ok=True, generation=None, text="reload asked for")
            for name, future in futures.items()
        ]

    async def stop(self, names: Sequence[str]) -> list[Outcome]:
        """Stop these vassals and hold them until `start`."""
        return await self._change(names, states.Stop(), states.State.STOPPED, "stopped")

    async def start(self, names: Sequence[str]) -> list[Outcome]:
        """Let these vassals run (again), and wait until they do."""
        fleet = self._fleet
        outcomes = []
        waiting = {}
        for name in self._named(names):
            vassal = fleet.vassals[name]
            if vassal.serving is not None and not vassal.held:
                outcomes.append(Outcome(name, ok=True, generation=vassal.serving.number, text="runs already"))
                continue
            parked = vassal.state is states.State.PARKED  # what comes there only looks at the file
            wanted = vassal.next_number if vassal.coming is None or parked else vassal.coming.number
            waiting[name] = fleet.waiters.outcome(name, wanted)
            fleet.feed(name, states.Start())
        for name, future in waiting.items():
            outcomes.append(await self._outcome(name, future))
        return outcomes

    async def _change(self, names: Sequence[str], event: states.Event, goal: states.State, text: str) -> list[Outcome]:
        fleet = self._fleet
        chosen = self._named(names)
        for name in chosen:
            fleet.feed(name, event)
        outcomes = []
        for name in chosen:
            while (vassal := fleet.vassals.get(name)) is not None and vassal.state is not goal:
                if not vassal.held:
                    break
                await asyncio.sleep(0.01)
            reached = vassal is not None and vassal.state is goal
            outcomes.append(Outcome(name, reached, None, text if reached else "started again, or gone, meanwhile"))
        return outcomes

    @staticmethod
    async def _outcome(name: str, future: asyncio.Future[tuple[bool, int | None, str]]) -> Outcome:
        ok, generation, text = await future
        return Outcome(name, ok, generation, text)

    async def reopen_logs(self, names: Sequence[str] | None) -> list[Outcome]:
        """Let these vassals (all for None) open their log files again; for all, the emperor does so, too."""
        if names is None:
            await self._fleet.relog.reopen_own()
        return await self._fleet.relog.reopen(self._named(names))

    def log_place(self, name: str) -> tuple[str, int] | None:
        """Return the file that holds the log of vassal `name`, None where that is the emperor's own output."""
        self._named([name])
        given = self._fleet.log_path(name)
        return self._fleet.beside.log(name) or (None if given is None else (given, ANYBODY))


def _shown(vassal: states.Vassal, stats: link.Stats | None) -> str:
    """Return the state for people: cheap where a master runs alone."""
    if vassal.state is states.State.RUNNING and stats is not None and stats.cheap:
        return "cheap"
    return vassal.state.value
