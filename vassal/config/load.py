"""Load a vassal's file: the one way from a path to settings.

The one thing that can go wrong here is a mistake that is only remarked: the first note of level ``error`` that typing
made is raised.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal.config.build import Build
from vassal.config.errors import ConfigError, Note
from vassal.config.inject import Inject
from vassal.config.language import Entry, Reading, read_configuration
from vassal.config.reader import default_reader
from vassal.config.settings import Settings
from vassal.config.table import VASSAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOTHING = Inject()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read.

    Attributes:
        name: the name that was passed, or the file's stem.
        settings: the typed values.
        notes: what there is to say; ``error`` only for lines that were left out, or where a fallback-config was taken.
        files: every file that was read, the main one first: touching one of them is a reason to reload.
        entries: all options and placeholders with their origin, in the order in which they apply.
    """

    name: str
    settings: Settings
    notes: tuple[Note, ...]
    files: tuple[str, ...]
    entries: tuple[Entry, ...]


def load_vassal(  # noqa: PLR0913 - one place, named arguments: what a spawn contract holds
    path: str,
    *,
    fd: int | None = None,
    name: str | None = None,
    environ: Mapping[str, str] = os.environ,
    inject: Inject = _NOTHING,
    read: Callable[[str], bytes] = default_reader,
    allow_exec: bool = True,
) -> Loaded:
    """Read and type a vassal's file.

    Args:
        path: the file; ``file.ini:section`` names a section.
        fd: an open descriptor of the file: it is read from there, and `path` is not opened.
        name: the vassal's name; default the file's stem.
        environ: for ``$(NAME)``, ``if-env``, commands and ``UWSGI_VASSAL_*``.
        inject: what the emperor adds.
        read: returns the bytes of an included file or ``@(file)``, by absolute path, or raises OSError.
        allow_exec: whether ``@(exec://…)`` may run.

    Raises:
        ConfigError: the first mistake, unless a fallback-config could be read in the file's place.
    """
    stem = name or os.path.splitext(os.path.basename(path))[0]
    reading = read_configuration(path, fd=fd, environ=environ, inject=inject, read=read, allow_exec=allow_exec)
    build = typed(reading)
    error = _mistake(build)
    if error is None:
        return Loaded(stem, Settings(**build.values), (*reading.notes, *build.notes), reading.files, reading.entries)
    fallback = build.values.get("fallback_config")
    if not fallback:
        raise error
    try:
        other = os.path.join(os.path.dirname(path), fallback)
        second = read_configuration(other, environ=environ, inject=inject, read=read, allow_exec=allow_exec)
    except ConfigError:
        raise error from None
    build = typed(second)
    if _mistake(build) is not None:
        raise error
    said = Note(error.file, error.line, "error", error.option, f"{error.message}; fallback-config {fallback} is used")
    files = tuple(dict.fromkeys((*reading.files, *second.files)))
    return Loaded(stem, Settings(**build.values), (said, *second.notes, *build.notes), files, second.entries)


def typed(reading: Reading) -> Build:
    """Return the finished build of a vassal's reading; its notes may hold errors."""
    build = Build(reading, VASSAL)
    build.run()
    return build


def _mistake(build: Build) -> ConfigError | None:
    for note in build.notes:
        if note.level == "error":
            return ConfigError(note.file, note.line, note.option, note.message)
    return None
