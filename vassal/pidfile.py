"""Pid files: the vassal's own, and those of its daemons.

The one danger is a path through somebody else's directory: never through a symbolic link, never a FIFO that somebody
would have to be waited for, and only a file that holds the pid in question is removed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
LONGEST = 64
"""Bytes of a pidfile that are read."""


class PidfileError(Exception):
    """It holds no pid. The text is for people."""


def write(path: str, pid: int = 0) -> None:
    """Write `pid` (this process's by default) to `path`; a failure is told, and costs nothing else."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o644)
        os.write(descriptor, f"{pid or os.getpid()}\n".encode())
        os.close(descriptor)
    except OSError as error:
        logs.say(f"cannot write the pidfile {path}: {error.strerror}")


def read(path: str) -> int:
    """Return the pid in `path`, 0 where there is no such file or it is empty (it is about to be written).

    Raises:
        PidfileError: it is no regular file, cannot be read, or holds something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return 0
    except OSError as error:
        why = "it is a symbolic link" if os.path.islink(path) else error.strerror
        raise PidfileError(f"cannot read the pidfile {path}: {why}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PidfileError(f"the pidfile {path} is no regular file")
        text = os.read(descriptor, LONGEST).split()
    except OSError as error:
        raise PidfileError(f"cannot read the pidfile {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if not text:
        return 0
    if not text[0].isdigit() or len(text[0]) > 9:
        raise PidfileError(f"the pidfile {path} holds no pid")
    return int(text[0])


def remove(path: str, pid: int = 0) -> None:
    """Remove `path` if it holds `pid` (this process's by default)."""
    with contextlib.suppress(OSError, PidfileError):
        if read(path) == (pid or os.getpid()):
            os.unlink(path)


class Pidfiles:
    """Those that a vassal's file names; relative ones are taken from `base`."""

    def __init__(self, names: Sequence[str | None], base: str) -> None:
        self._paths = [os.path.join(base, name) for name in dict.fromkeys(names) if name]

    def write(self) -> None:
        """Write all of them."""
        for path in self._paths:
            write(path)

    def remove(self) -> None:
        """Remove those that are this process's own."""
        for path in self._paths:
            remove(path)
