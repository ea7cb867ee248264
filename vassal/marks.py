"""The files by which people and programs find a master: its pidfiles, and the pipes on which it takes commands.

The one danger is a file of a generation that serves no more: they are this generation's from `take` to `release` or
`remove`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vassal.fifo import Fifos
from vassal.pidfile import Pidfiles

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from vassal.config import Settings


class Marks:
    """Of one generation; `obey` is given each letter of a ``master-fifo``. Relative paths are taken from `base`."""

    def __init__(
        self, settings: Settings, base: str, selector: selectors.BaseSelector, obey: Callable[[str], None]
    ) -> None:
        self._pidfiles = Pidfiles((settings.pidfile, settings.safe_pidfile), base)
        self._obey = obey
        self._fifos = Fifos(settings.master_fifo, base, selector, self._hear)

    def _hear(self, letter: str) -> None:
        if letter == "P":
            self._pidfiles.write()
        else:
            self._obey(letter)

    def problem(self) -> str:
        """Return why one of them cannot be, '' where all can. Changes nothing."""
        return self._fifos.problem()

    def take(self) -> None:
        """This generation serves alone: they are its own from now on."""
        self._fifos.take()
        self._pidfiles.write()

    def release(self) -> None:
        """Leave them to a newer generation."""
        self._fifos.release()

    def remove(self) -> None:
        """There is no newer generation: remove them."""
        self._pidfiles.remove()
        self._fifos.remove()

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        self._fifos.leave()
