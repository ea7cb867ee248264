"""``master-fifo``: named pipes in the file system on which a master takes commands, a letter each.

The one danger is the path: it may lie in a directory that others can write. So it is made and opened with the vassal's
own rights, never through a symbolic link; what is there already must be a pipe of the same user.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import stat
from typing import TYPE_CHECKING

from vassal import identity, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

READ = 64
"""Letters that are read in one turn; who writes more waits for the next."""
_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""A pipe that is open for both never waits for the other end, and never ends (fifo(7))."""


class Fifos:
    """Those of one generation. All of them are read, as long as no newer one does; `obey` is given each letter."""

    def __init__(
        self, names: Sequence[str], base: str, selector: selectors.BaseSelector, obey: Callable[[str], None]
    ) -> None:
        self._paths = [os.path.join(base, name) for name in dict.fromkeys(names)]
        self._selector = selector
        self._obey = obey
        self._open: dict[str, int] = {}
        self._reads = False

    def problem(self) -> str:
        """Return why one of them cannot be made or used, '' where all can. Changes nothing."""
        for path in self._paths:
            what = _problem(path)
            if what:
                return f"master-fifo = {path}: {what}"
        return ""

    def take(self) -> None:
        """Make or open them, and read what is written from now on: this generation serves alone."""
        if self._reads:
            return
        self._reads = True
        for path in self._paths:
            try:
                descriptor = _open(path)
            except OSError as error:
                logs.say(f"master-fifo = {path} takes no commands: {error.strerror}")
                continue
            self._open[path] = descriptor
            self._selector.register(descriptor, selectors.EVENT_READ, functools.partial(self._read, descriptor))

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, READ)
        except BlockingIOError:
            return
        for letter in data.decode("latin-1"):
            if not letter.isspace():
                self._obey(letter)

    def release(self) -> None:
        """Read no more: a newer generation does. They stay open, so that nothing that is written meanwhile is lost."""
        if self._reads:
            self._reads = False
            for descriptor in self._open.values():
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(descriptor)

    def remove(self) -> None:
        """The vassal ends, or sleeps: remove what is this generation's own."""
        self.release()
        for path, descriptor in self._open.items():
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                    os.unlink(path)
        self.leave()

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def _problem(path: str) -> str:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            return f"there is no directory {directory}"
        return "" if os.access(directory, os.W_OK | os.X_OK) else f"{directory} cannot be written"
    except OSError as error:
        return error.strerror or type(error).__name__
    return _strange(found)


def _strange(found: os.stat_result) -> str:
    if not stat.S_ISFIFO(found.st_mode):
        return "something else than a named pipe lies there; remove it, or use another path"
    if found.st_uid != os.geteuid():
        return f"the named pipe there belongs to {identity.user_name(found.st_uid)}; remove it, or use another path"
    return ""


def _open(path: str) -> int:
    """Make `path` where it is missing; return a descriptor.

    Raises:
        OSError: it cannot be made or opened, or is not this user's pipe.
    """
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    what = _strange(os.lstat(path))
    if not what:
        descriptor = os.open(path, _FLAGS)
        what = _strange(os.fstat(descriptor))  # it may have been exchanged in between
        if not what:
            return descriptor
        os.close(descriptor)
    raise FileExistsError(17, what)
