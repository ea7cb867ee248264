"""From a vassal's file to the options that apply: templates, includes, blocks and variables in their order.

The one thing that can go wrong here is that order, since the last definition wins for options and the first one for
placeholders: ``UWSGI_VASSAL_*``, inherit-before, include-before, ``vassal-set``, the file, inherit, include. An
``inherit`` line in a file waits until that file has ended; every other include is read where it stands (ParsingOrder
page).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal.config.assembly import Assembly
from vassal.config.errors import ConfigError, Note
from vassal.config.expand import Expander, Item, Sources
from vassal.config.inject import Inject
from vassal.config.reader import default_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENVIRONMENT = "environment"
"""`Entry.file` of options that came from variables."""
SETS = "vassal-set"
"""`Entry.file` of options that the emperor, or ``--set``, gave."""
VARIABLE = "UWSGI_VASSAL_"
NOTES = 500
"""Notes that are kept of one configuration."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One option as it applies: variables filled in, blocks unrolled, not yet typed."""

    option: str
    value: str
    """Empty for a key without value."""
    file: str
    """The path as it was named, or `ENVIRONMENT` or `SETS`."""
    line: int
    """Counted from 1; 0 where there are no lines."""
    via: tuple[str, ...] = ()
    """Through which includes and loops it came, the outermost first."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that reading a configuration found out."""

    entries: tuple[Entry, ...]
    """All options in the order that they apply, placeholders written as options among them."""
    placeholders: tuple[Entry, ...]
    """What ``set-placeholder`` (``set-ph``) defined: never options."""
    notes: tuple[Note, ...]
    files: tuple[str, ...]
    """Every file that was read, the main one first, as `Entry.file` names it."""
    referenced: frozenset[str]
    """Names that some value used as ``%(name)`` or some block asked for by ``if-opt``."""


def read_entries(  # noqa: PLR0913 - the contract with whoever types the entries
    path: str,
    *,
    fd: int | None = None,
    name: str | None = None,  # noqa: ARG001 - `load_vassal` passes all that it has; %n is the file's stem, as in uWSGI
    environ: Mapping[str, str],
    inject: Inject = Inject(),  # noqa: B008 - frozen
    read: Callable[[str], bytes] = default_reader,
    allow_exec: bool = True,
    sections: Sequence[str] = ("uwsgi", "vassal"),
) -> tuple[list[Entry], list[Note], list[str]]:
    """Return the entries, notes and files of `read_configuration`, which see."""
    reading = read_configuration(
        path,
        fd=fd,
        environ=environ,
        inject=inject,
        read=read,
        allow_exec=allow_exec,
        sections=sections,
    )
    return list(reading.entries), list(reading.notes), list(reading.files)


def read_configuration(  # noqa: PLR0913 - the same arguments, named
    path: str,
    *,
    fd: int | None = None,
    environ: Mapping[str, str],
    inject: Inject = Inject(),  # noqa: B008 - frozen
    read: Callable[[str], bytes] = default_reader,
    allow_exec: bool = True,
    sections: Sequence[str] = ("uwsgi", "vassal"),
    tolerant: bool = False,
) -> Reading:
    """Read the file at `path` and all that it includes.

    If the file cannot be used and had named a ``fallback-config`` before the mistake, that file is read in its place
    and the mistake becomes a note.

    Args:
        path: the file; its extension says the format (``.json`` and ``.js``, ``.yaml`` and ``.yml``, all others are
            ini), and ``:section`` may follow. Relative paths in it are taken from its directory.
        fd: an open descriptor of the file, which is then read instead of the path.
        environ: for ``$()``, ``if-env``, ``UWSGI_RELOADS`` (``if-reload``) and the options ``UWSGI_VASSAL_*``.
        inject: what the emperor adds.
        read: gives the bytes of every other file, or raises OSError or an error of its own kind, which passes through.
        allow_exec: whether ``@(exec://…)`` may run; if not, it stays as written, with a note.
        tolerant: turn an included file that cannot be read into a note of level ``error`` and go on (for ``check``).
        sections: the sections that count; variables ``UWSGI_VASSAL_*`` apply only where ``vassal`` is among them.

    Raises:
        ConfigError: a mistake, a bound that is exceeded, or a file that cannot be read.
    """
    sources = Sources(environ=environ, read=read, directory=os.path.dirname(path), allow_exec=allow_exec, files=[])
    notes: list[Note] = []
    assembly = Assembly(path, sources, tuple(sections), notes, tolerant=tolerant)
    sources.files.append(assembly.path)
    try:
        return _read(assembly, fd, environ, inject, notes)
    except ConfigError as error:
        fallback = assembly.fallback
        if fallback is None:
            raise
        message = f"{error.message}; fallback-config {fallback} is used instead"
        notes.append(Note(error.file, error.line or None, "error", error.option, message))
        full = assembly.path + fallback if fallback.startswith(":") else sources.full(fallback)
        second = Assembly(full, sources, tuple(sections), notes, tolerant=tolerant)
        return _read(second, None, environ, inject, notes)


def _read(assembly: Assembly, fd: int | None, environ: Mapping[str, str], inject: Inject, notes: list[Note]) -> Reading:
    if fd is not None:
        assembly.take_descriptor(fd)
    if "vassal" in assembly.sections:
        for variable in sorted(environ):
            if variable.startswith(VARIABLE) and len(variable) > len(VARIABLE):
                option = variable[len(VARIABLE) :].lower().replace("_", "-")
                assembly.give(option, environ[variable], ENVIRONMENT, (variable,))
    for family in ("inherit", "include"):
        assembly.templates([path for kind, path in inject.before if kind == family], f"vassals-{family}-before")
    for option, value in inject.sets:
        assembly.give(option, value, SETS, ())
    assembly.main()
    for family in ("inherit", "include"):
        assembly.templates([path for kind, path in inject.after if kind == family], f"vassals-{family}")
    expander = Expander(assembly.definitions, assembly.sources, notes)
    entries = tuple(_entry(item, expander) for item in assembly.items)
    placeholders = tuple(_entry(item, expander) for item in assembly.placeholders)
    referenced = frozenset(expander.referenced | assembly.asked)
    for one in placeholders:
        if one.option not in referenced:
            message = f"the placeholder {one.option} is never used"
            notes.append(Note(one.file, one.line or None, "info", one.option, message))
    return Reading(entries, placeholders, _distinct(notes), tuple(assembly.sources.files), referenced)


def _entry(item: Item, expander: Expander) -> Entry:
    value = item.value
    return Entry(item.option, expander.expand(value, item) if "(" in value else value, item.file, item.line, item.via)


def _distinct(notes: list[Note]) -> tuple[Note, ...]:
    """Drop repeated notes (each turn of a loop says the same), and those beyond `NOTES`."""
    return tuple(dict.fromkeys(notes))[:NOTES]
