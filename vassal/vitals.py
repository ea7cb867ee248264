"""What a master tells of its vassal on the address of ``stats``: gathered from the pool, the scoreboard and the kernel.

The newest generation answers: from when it is ready until its successor is. The one danger is costing something while
nobody asks; so there is one look a second at the counters, and nothing at all without ``stats``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vassal import __version__, gauges, net, pool, scoreboard, stats
from vassal.ledger import Ledger
from vassal.statsserver import StatsServer

if TYPE_CHECKING:
    import selectors
    from collections.abc import Mapping

    from vassal.children import Child
    from vassal.companions import Companions
    from vassal.generation import Generation
    from vassal.pool import Pool
    from vassal.scoreboard import Scoreboard, WorkerView

SAMPLE_EVERY = 1.0
"""Seconds between two looks at the counters: mean times are those of the requests in between."""
_RANK = (pool.Phase.SERVING, pool.Phase.STARTING, pool.Phase.LEAVING)


class Vitals:
    """The statistics of one generation; `children` are its worker processes by slot."""

    def __init__(  # noqa: PLR0913, PLR0917 (what the master is made of)
        self,
        generation: Generation,
        workers: Pool,
        board: Scoreboard,
        children: Mapping[int, Child],
        beside: Companions,
        selector: selectors.BaseSelector,
    ) -> None:
        self._it = generation
        self._pool = workers
        self._board = board
        self._children = children
        self._beside = beside
        self._selector = selector
        self._ledger = Ledger()
        self._server: StatsServer | None = None
        self._sample_at = 0.0

    # --- the master's calls --------------------------------------------------------------------------------------

    def open(self) -> None:
        """The generation is ready: it answers from now on."""
        settings, listener = self._it.settings, self._it.ports.stats
        if listener is not None:
            self._server = StatsServer(listener, self._selector, self.answer, http=settings.stats_http)
            self._server.open()

    def close(self) -> None:
        """A successor answers from now on, or nobody."""
        if self._server is not None:
            self._server.close()

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        if self._it.ports.stats is not None:
            self._it.ports.stats.close()
        if self._server is not None:
            self._server.leave()

    def look(self, now: float) -> None:
        """Meet the deadlines of readers; look at the counters once a second. `now`: monotonic seconds."""
        if self._server is not None:
            self._server.look(now)
            if now >= self._sample_at:
                self._sample_at = now + SAMPLE_EVERY
                for number in range(1, self._pool.size + 1):
                    self._ledger.total(number, [view for _, view in self._bearing(number)])

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event; for the counters alone the master is not woken."""
        return self._server.deadline() if self._server is not None else None

    def ended(self, slot: int) -> None:
        """The worker in `slot` has ended; its row on the scoreboard still says what it did."""
        self._ledger.ended(self._pool.workers[slot].number, self._board.worker(slot))

    def struck(self, slot: int) -> None:
        """The master has ended a request of the worker in `slot` by harakiri."""
        self._ledger.struck(self._pool.workers[slot].number)

    # --- what is told --------------------------------------------------------------------------------------------

    def answer(self) -> bytes:
        """Return what is told now."""
        settings = self._it.settings
        told = stats.layout(self._facts(), cores=not settings.stats_no_cores)
        return stats.render(told, minified=settings.stats_minified)

    def _facts(self) -> stats.Facts:
        settings = self._it.settings
        try:
            cwd = os.getcwd()
        except OSError:  # it was removed
            cwd = ""
        default = [""] if settings.module is not None or settings.wsgi_file is not None else []
        return stats.Facts(
            version=__version__,
            name=self._it.name,
            generation=self._it.number,
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            cwd=cwd,
            chdir=settings.chdir or "",
            mounts=(*default, *(path for path, _ in settings.mount)),
            queues=tuple(self._queues()),
            workers=tuple(self._worker(number) for number in range(1, self._pool.size + 1)),
            daemons=tuple(self._beside.daemons_told()),
            crons=tuple(self._beside.jobs.told()),
        )

    def _queues(self) -> list[stats.Queue]:
        return [
            stats.Queue(net.key_of(port.sock), port.protocol, *gauges.queue(port.sock))
            for port in self._it.ports.for_callers
            if port.sock is not None
        ]

    def _bearing(self, number: int) -> list[tuple[pool.Worker, WorkerView]]:
        """Return the living processes of a worker number, the one that counts first."""
        workers = [one for one in self._pool.workers.values() if one.number == number and one.slot in self._children]
        workers.sort(key=lambda one: (_RANK.index(one.phase), -one.since))
        return [(one, self._board.worker(one.slot)) for one in workers]

    def _worker(self, number: int) -> stats.Worker:
        bearing = self._bearing(number)
        sums = self._ledger.total(number, [view for _, view in bearing])
        offset = time.time() - time.monotonic()
        slot = bearing[0][0].slot if bearing else 0
        view = bearing[0][1] if bearing else None
        pid = self._children[slot].pid if bearing else 0
        rss, vsz = gauges.memory(pid) if pid else (0, 0)
        return stats.Worker(
            number=number,
            pid=pid,
            accepting=view is not None and view.accepting,
            busy=view is not None and bool(view.busy),
            requests=sums.requests,
            recent=view.requests if view is not None else 0,
            exceptions=sums.exceptions,
            harakiri=sums.harakiri,
            rss=rss,
            vsz=vsz,
            running_us=sums.running_us,
            average_us=round(sums.average_us),
            tx=sums.tx,
            spawned=int(sums.started + offset) if sums.started else 0,
            spawns=sums.spawns,
            startup=int(self._board.row(slot, None).times[scoreboard.LOADING]) if slot else 0,
            cores=self._cores(slot, offset),
        )

    def _cores(self, slot: int, offset: float) -> tuple[stats.Core, ...]:
        """Return the threads of the worker in `slot`; 0: there is none, and they have done nothing."""
        threads = self._it.settings.threads
        if not slot:
            return (stats.Core(),) * threads
        rows = [self._board.row(slot, thread) for thread in range(threads + 1)]
        cores = []
        for thread in range(threads):
            # The spare runs no app, but may have answered requests for files: they count with the first thread.
            counted = (rows[0], rows[threads]) if thread == 0 else (rows[thread],)
            since = rows[thread].times[scoreboard.SINCE]
            cores.append(
                stats.Core(
                    requests=sum(row.counts[scoreboard.REQUESTS] for row in counted),
                    files=sum(row.counts[scoreboard.FILES] for row in counted),
                    since=int(since + offset) if since else 0,
                )
            )
        return tuple(cores)
