"""Process titles, so that a person who reads ``ps`` sees who is who.

The one danger is none: a title is cosmetic, and where setproctitle is not there (another interpreter) nothing happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from setproctitle import setproctitle
except ImportError:  # an app's own interpreter need not hold it

    def setproctitle(title: str) -> None:
        """Do nothing."""


if TYPE_CHECKING:
    from vassal.config import Settings


def _dress(title: str, settings: Settings) -> str:
    """Apply ``procname-prefix``, ``-prefix-spaced`` and ``-append``."""
    prefix = settings.procname_prefix or ""
    if settings.procname_prefix_spaced:
        prefix = settings.procname_prefix_spaced + " "
    return prefix + title + (settings.procname_append or "")


def master(name: str, generation: int, settings: Settings) -> None:
    """Set the title of a master."""
    title = settings.procname_master or settings.procname or f"vassal {name} gen {generation} master"
    setproctitle(_dress(title, settings))


def worker(name: str, generation: int, number: int, settings: Settings) -> None:
    """Set the title of worker `number` (from 1)."""
    setproctitle(_dress(settings.procname or f"vassal {name} gen {generation} worker {number}", settings))
