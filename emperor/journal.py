"""What the emperor itself says, on its standard error, and the line by which it says that it is ready.

The one danger is that somebody does not read: a full pipe, a terminal stopped by Ctrl-S. So a thread writes, and when
too much waits for it, lines are dropped and counted. The emperor's loop never waits.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time

LINES = 10_000
"""Lines that wait for a slow reader, at most."""
PATIENCE = 1.0
"""Seconds to wait for the last lines to be written at the emperor's end."""


class Journal:
    """Writes lines to the descriptor `descriptor` from a thread of its own."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(LINES)
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Write one line: local time, ``[emperor]``, `text`. Never blocks."""
        self.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} [emperor] {text}")

    def write(self, text: str) -> None:
        """Write `text` as a line. Never blocks."""
        line = f"{text}\n".encode(errors="backslashreplace")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line = b"(%d lines were lost: nobody read them)\n" % dropped + line
            try:
                self._put(line)
            except OSError:
                self._dropped += 1  # a full disk: the next line that fits says how many are missing
            self._lines.task_done()

    def _put(self, line: bytes) -> None:
        """Write all of `line`. An app that has the same terminal or pipe may have made it non-blocking for everybody.

        Raises:
            OSError: it cannot be written.
        """
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._descriptor, select.POLLOUT)
                room.poll()

    def flush(self) -> None:
        """Wait until everything is written, or `PATIENCE` is over."""
        end = time.monotonic() + PATIENCE
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)


_journal = Journal()
_output = Journal(1)
say = _journal.say
announce = _output.write
"""Write a line to standard output: whoever has closed it, or does not read it, costs that line and nothing else."""


def flush() -> None:
    """Wait until everything is written, or `PATIENCE` is over, for each of both."""
    _output.flush()
    _journal.flush()
