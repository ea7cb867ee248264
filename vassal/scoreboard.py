"""The scoreboard: counters and "busy since" of every worker thread, in memory that the master shares with its workers.

A block for each worker, in it a row of eight-byte cells for the worker and one for each thread. Every cell has one
writer and is stored whole, so no lock is needed and no system call is made. The one danger: a reader sees the cells of
a row at slightly different moments; decisions (harakiri above all) must stop the worker before they trust two of them.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

CELLS = 16
"""Cells in a row: 128 bytes, so that two threads never share a cache line."""

# Cells of a thread's row. Times are seconds of CLOCK_MONOTONIC as floats; all others are unsigned integers.
SINCE = 0
"""When the running app call began; 0.0 between calls."""
STATE = 1
"""`NOTHING_SENT` or `SENT`: what the client of the running call has got so far."""
SOCKET = 2
"""File descriptor of the running call's connection, plus one; 0: none."""
REQUESTS = 3
EXCEPTIONS = 4
TX = 5
"""Bytes sent to clients."""
RUNNING = 6
"""Microseconds spent in the app."""
LAST = 7
"""When the last call ended."""
HARAKIRI = 8
"""Calls that ran into harakiri."""
THREAD = 9
"""Kernel's thread id."""
FILES = 10
"""Requests, among `REQUESTS`, that were answered with a file by the vassal itself."""

# Cells of the worker's own row.
STARTED = 0
PID = 1
ACCEPTING = 2
CONNECTIONS = 3
RECEIVED = 4
"""Connections accepted since the worker started."""
LOADING = 5
"""Seconds that its app took to load, here or in the master."""
UNDER_WAY = 6
"""Requests that arrive, wait or are answered, whether or not a thread is in the app; counted once a second."""

NOTHING_SENT = 0
SENT = 1


class Row:
    """One row, writable: `times` are its cells as floats, `counts` the same cells as integers."""

    __slots__ = ("counts", "times")

    def __init__(self, memory: memoryview) -> None:
        self.times: memoryview[float] = memory.cast("d")
        self.counts: memoryview[int] = memory.cast("Q")


@dataclass(frozen=True, slots=True)
class Busy:
    """A thread that is in an app call: its number (0 is the main thread) and since when (CLOCK_MONOTONIC, seconds)."""

    thread: int
    since: float


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What the master reads of one worker, summed over its threads."""

    pid: int
    started: float
    accepting: bool
    connections: int
    accepted: int
    requests: int
    exceptions: int
    tx: int
    running_time_us: int
    harakiri_count: int
    last_request: float
    busy: tuple[Busy, ...]
    under_way: int = 0

    @property
    def works(self) -> bool:
        """Whether anybody waits for it: a slow upload or download, too, for which no thread is in the app."""
        return bool(self.busy or self.under_way)


class Scoreboard:
    """Shared memory for `workers` workers with `threads` app threads each; made by the master before it forks.

    `fileno`: the file whose memory it is, large enough; -1: new memory, which only children share.
    """

    def __init__(self, workers: int, threads: int, fileno: int = -1) -> None:
        if workers < 1 or threads < 1:
            raise ValueError(f"a scoreboard needs workers and threads, not {workers} and {threads}")
        self.workers = workers
        self.threads = threads
        self._rows = threads + 2  # the worker's own, then its threads, then the spare
        self._memory = memoryview(mmap.mmap(fileno, workers * self._rows * CELLS * 8))

    def _block(self, number: int) -> memoryview:
        if not 1 <= number <= self.workers:
            raise IndexError(f"no worker {number} on a scoreboard for {self.workers}")
        size = self._rows * CELLS * 8
        return self._memory[(number - 1) * size : number * size]

    def row(self, number: int, thread: int | None) -> Row:
        """Return the row of a thread of worker `number` (from 1); `None`: the worker's own, `threads`: the spare's."""
        index = 0 if thread is None else thread + 1
        if not 0 <= index < self._rows:
            raise IndexError(f"no thread {thread} on a scoreboard for {self.threads}")
        return Row(self._block(number)[index * CELLS * 8 : (index + 1) * CELLS * 8])

    def reset(self, number: int) -> None:
        """Forget everything about worker `number`: a new one takes its place."""
        block = self._block(number)
        block[:] = bytes(len(block))

    def others(self, number: int) -> list[tuple[Row, list[Row]]]:
        """Return the own row and the thread rows of every worker but `number`."""
        return [
            (self.row(other, None), [self.row(other, thread) for thread in range(self.threads)])
            for other in range(1, self.workers + 1)
            if other != number
        ]

    def worker(self, number: int) -> WorkerView:
        """Return what worker `number` (from 1) is doing and has done."""
        own = self.row(number, None)
        rows = [self.row(number, thread) for thread in range(self.threads + 1)]
        counts = [row.counts for row in rows]
        since = [row.times[SINCE] for row in rows]
        return WorkerView(
            pid=own.counts[PID],
            started=own.times[STARTED],
            accepting=bool(own.counts[ACCEPTING]),
            connections=own.counts[CONNECTIONS],
            accepted=own.counts[RECEIVED],
            requests=sum(cells[REQUESTS] for cells in counts),
            exceptions=sum(cells[EXCEPTIONS] for cells in counts),
            tx=sum(cells[TX] for cells in counts),
            running_time_us=sum(cells[RUNNING] for cells in counts),
            harakiri_count=sum(cells[HARAKIRI] for cells in counts),
            last_request=max(row.times[LAST] for row in rows),
            busy=tuple(Busy(thread, began) for thread, began in enumerate(since) if began),
            under_way=own.counts[UNDER_WAY],
        )


def any_free(others: list[tuple[Row, list[Row]]]) -> bool:
    """Whether one of the workers with these rows accepts and has a thread that is not in an app call."""
    return any(own.counts[ACCEPTING] and any(not thread.times[SINCE] for thread in threads) for own, threads in others)
