"""Files whose touch means something to a vassal (``touch-reload``).

The one danger is a touch that counts twice: the vassal's own file is the emperor's business, and is left out here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY = 1.0
"""Seconds between two looks."""

_Version = tuple[int, int, int] | None


class Touches:
    """The last known versions of `paths` (relative ones are taken from `base`), without the file `own`."""

    def __init__(self, paths: Sequence[str], base: str, own: str) -> None:
        full = dict.fromkeys(os.path.join(base, path) for path in paths)
        self._versions = {path: _version(path) for path in full if os.path.realpath(path) != os.path.realpath(own)}

    def __bool__(self) -> bool:
        return bool(self._versions)

    def changed(self) -> str | None:
        """Return a path that was touched, made or replaced since the last look; None for none. A vanished one waits."""
        found = None
        for path, before in self._versions.items():
            now = _version(path)
            if now is not None and now != before:
                self._versions[path] = now
                found = path
        return found


def _version(path: str) -> _Version:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size
