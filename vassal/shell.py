"""One command beside the vassal: started without a shell of ours in between, its output as lines in the log.

Who runs it decides what and when; this module starts, listens and kills. The one danger is waiting for it: nothing here
blocks, and what the command leaves in the background may hold its output open for ever, so its end is the process's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from typing import TYPE_CHECKING

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHELL = "/bin/sh"
READ = 16384
"""Bytes of output that are read in one turn."""
LAST_READS = 16
"""Reads after the end: what the command left running may write for ever."""
LINE = 4096
"""Bytes of a line of output after which it is cut into several."""
KEPT = 50
"""Last lines that are kept, to tell why it failed."""


def output_pipe() -> tuple[int, int]:
    """Return the two ends of a pipe, to read without blocking and to write; both close-on-exec.

    Raises:
        OSError: no descriptors are left.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writing, True)
    return reading, writing


class Output:
    """What a process writes to `pipe`, into the log, `label` in front of each line."""

    def __init__(self, pipe: int, label: str) -> None:
        self.pipe = pipe
        self.label = label
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._text = bytearray()

    def read(self) -> bool:
        """Log what has come; False: nothing is there, or (`open` tells) its output is closed."""
        if self.pipe < 0:
            return False
        try:
            data = os.read(self.pipe, READ)
        except BlockingIOError:
            return False
        if not data:
            self.hang_up()
            return False
        self._text += data
        *lines, rest = bytes(self._text).split(b"\n")
        while len(rest) >= LINE:
            lines.append(rest[:LINE])
            rest = rest[LINE:]
        self._text[:] = rest
        for line in lines:
            self._log(line)
        return True

    @property
    def open(self) -> bool:
        """Whether its output may still bring something."""
        return self.pipe >= 0

    def finish(self) -> None:
        """It has ended: log its last words."""
        for _ in range(LAST_READS):
            if not self.read():
                break
        self.hang_up()

    def hang_up(self) -> None:
        """Listen no more."""
        self.close()
        if self._text:
            self._log(bytes(self._text))
            self._text.clear()

    def close(self) -> None:
        """Give up its output, in a process that has no business with it."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def _log(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace")
        self.lines.append(text)
        logs.say(f"{self.label}: {text}")


class Command(Output):
    """A running process in a group of its own. `label` stands in front of each line of its output in the log.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], label: str, environ: Mapping[str, str] | None = None) -> None:
        reading, writing = output_pipe()
        try:
            self.pid = os.posix_spawn(
                arguments[0],
                list(arguments),
                os.environ if environ is None else environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, writing, 1),
                    (os.POSIX_SPAWN_DUP2, writing, 2),
                ],
                setpgroup=0,
                setsigmask=(),
                setsigdef=set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP},
            )
        except (OSError, ValueError) as error:
            os.close(reading)
            raise OSError(getattr(error, "errno", 0) or 22, getattr(error, "strerror", "") or str(error)) from None
        finally:
            os.close(writing)
        super().__init__(reading, label)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it has started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def line(text: str) -> tuple[str, ...]:
    """Return the arguments that run `text` as a line of shell."""
    return (SHELL, "-c", text)


def describe(status: int) -> str:
    """Return how a command ended (`status` as of `subprocess`), for people."""
    return f"status {status}" if status >= 0 else f"signal {-status}"
