"""Process titles, so that a person who reads ``ps`` sees who is who.

Of the package setproctitle the compiled part alone is loaded: the rest brings `logging`, whose locks are made anew
after each fork, and an app that uses setproctitle finds its own. The one danger is none: a title is cosmetic, and where
there is no setproctitle (another interpreter) nothing happens.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

MODULE = "vassal._setproctitle"
"""Under which name `vassal.boot` loads the compiled part."""


if TYPE_CHECKING:
    from vassal.config import Settings


def show(title: str) -> None:
    """Let ``ps`` show `title` for this process."""
    setter = sys.modules.get(MODULE)
    if setter is None:  # an interpreter of the app's own, which need not hold it
        try:
            setter = importlib.import_module("setproctitle")
        except ImportError:
            return
    setter.setproctitle(title)


def _dress(title: str, settings: Settings) -> str:
    """Apply ``procname-prefix``, ``-prefix-spaced`` and ``-append``."""
    prefix = settings.procname_prefix or ""
    if settings.procname_prefix_spaced:
        prefix = settings.procname_prefix_spaced + " "
    return prefix + title + (settings.procname_append or "")


def master(name: str, generation: int, settings: Settings) -> None:
    """Set the title of a master."""
    title = settings.procname_master or settings.procname or f"vassal {name} gen {generation} master"
    show(_dress(title, settings))


def worker(name: str, generation: int, number: int, settings: Settings) -> None:
    """Set the title of worker `number` (from 1)."""
    show(_dress(settings.procname or f"vassal {name} gen {generation} worker {number}", settings))
