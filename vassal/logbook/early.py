"""Log files before the identity is taken: where they lie, and that the vassal's user can write them.

The one danger is root's rights in somebody else's directory. So only where root alone can write is a file made or given
away, and only a regular file of root's that has no other name, and is not the emperor's own log.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from vassal import identity
from vassal.logbook import outlet, specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vassal.config import Settings

MODE = 0o640
"""Of a log file that is made, as in uWSGI: request lines are nobody else's business."""


def rooted(settings: Settings, directory: str) -> Settings:
    """Return `settings` with the files of ``logger`` and ``req-logger`` taken from the working directory.

    uWSGI opens these after ``chdir``, and ``logto`` before.
    """
    return replace(
        settings,
        logger=tuple(specs.rooted(text, directory) for text in settings.logger),
        req_logger=tuple(specs.rooted(text, directory) for text in settings.req_logger),
    )


def paths(settings: Settings, base: str) -> Iterator[str]:
    """Yield the path of each log file; relative ones are taken from `base`."""
    found = [*outlet.loggers(settings), *(specs.parse(text) for text in settings.req_logger)]
    plain = outlet.direct(settings)
    for spec in dict.fromkeys([plain, *found] if plain is not None else found):
        if spec.kind == "file":
            yield os.path.join(base, spec.target)


def provide(settings: Settings, base: str, owner: identity.Account) -> None:
    """As root: make the log files that lie in directories of root's alone, and give them to `owner`.

    What cannot be done is told by whoever opens the log afterwards.
    """
    for path in paths(settings, base):
        if identity.roots_alone(os.path.dirname(path)):
            with contextlib.suppress(OSError):
                _give(path, owner)


def _give(path: str, owner: identity.Account) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, MODE)
    try:
        found = os.fstat(descriptor)
        given = os.path.samestat(found, os.fstat(2))  # what the emperor gave, which may be its own output
        if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_nlink == 1 and not given:
            os.fchown(descriptor, owner.uid, owner.gid)
    finally:
        os.close(descriptor)
