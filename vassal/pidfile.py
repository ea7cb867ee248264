"""Pid files: written when the vassal is ready, removed when it ends for good.

The one danger is a path through somebody else's directory: never through a symbolic link, and only this process's own
file is removed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(path: str) -> None:
    """Write this process's pid to `path`; a failure is told, and costs nothing else."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o644)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.close(descriptor)
    except OSError as error:
        logs.say(f"cannot write the pidfile {path}: {error.strerror}")


def remove(path: str) -> None:
    """Remove `path` if it holds this process's pid."""
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="ascii") as file:
            mine = int(file.read(32)) == os.getpid()
        if mine:
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
