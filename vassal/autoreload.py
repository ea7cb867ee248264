"""``py-auto-reload``: for development, a thread that asks for a reload when the file of a module has changed.

The one danger is a reload that is asked for again and again: each change counts once, whatever becomes of it, and a
file that is away for a moment, as editors have it, is waited for.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from vassal.config import Settings

OWN = ("vassal", "httptools", "setproctitle")
"""Packages of the emperor's installation: not the app's code."""

Version = tuple[int, int, int]


class Watch:
    """The files of all modules that are loaded, but for those that `ignore` names, and their last known versions."""

    def __init__(self, ignore: Iterable[str]) -> None:
        self._ignore = frozenset(ignore)
        self._known: dict[str, Version] = {}

    def look(self, modules: Mapping[str, ModuleType]) -> str | None:
        """Return what has changed since the last look, as words; a module that is seen first has not."""
        found = None
        for name, path in _files(modules, self._ignore):
            now = _version(path)
            if now is None:
                continue
            before = self._known.setdefault(path, now)
            if before != now:
                self._known[path] = now
                found = found or f"module {name} ({path}) has changed"
        return found


def _files(modules: Mapping[str, ModuleType], ignore: frozenset[str]) -> list[tuple[str, str]]:
    found = []
    for name, module in list(modules.items()):
        if name in ignore or name.partition(".")[0] in OWN:
            continue
        # Not by getattr: modules that load themselves when they are asked for anything are left asleep.
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str) and path:
            found.append((name, path[:-1] if path.endswith((".pyc", ".pyo")) else path))
    return found


def _version(path: str) -> Version | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


_watch: list[Watch] = []
"""Made by whoever loads the app: the master, whose workers then inherit what the files were like, or the worker."""


def loaded(settings: Settings) -> None:
    """The app is loaded in this process: take note of its files as they are."""
    if settings.py_auto_reload and not _watch:
        _watch.append(Watch(settings.py_auto_reload_ignore))
        _watch[0].look(sys.modules)


def begin(settings: Settings, tell: Callable[[str], object]) -> None:
    """Watch from now on, in a thread of this worker; `tell` is given each change."""
    if not settings.py_auto_reload:
        return
    loaded(settings)

    def watch() -> None:
        while True:
            time.sleep(settings.py_auto_reload)
            change = _watch[0].look(sys.modules)
            if change is not None:
                tell(f"py-auto-reload: {change}")

    threading.Thread(target=watch, name="py-auto-reload", daemon=True).start()
