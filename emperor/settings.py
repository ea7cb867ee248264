"""The emperor's settings: from its ini file and the command line to typed values.

The one thing that can go wrong here is whose identity is meant: ``uid`` and ``gid`` in an emperor's file are those of
its vassals, since the emperor keeps its rights so that nobody else can signal or command it.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emperor.options import EMPEROR
from vassal.config import ConfigError, Inject, Note
from vassal.config.build import Build, likely
from vassal.config.language import Entry, Reading, read_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EMPEROR", "EmperorSettings", "load_emperor", "read_emperor"]

SECTIONS = ("uwsgi", "emperor")
DEFAULTS = ("reload-strategy", "loyalty", "start-timeout")
"""Options of vassals that the emperor may set for those that name none: they travel as its vassal-set lines do."""
COMMAND_LINE = "--set"
"""Entry.file of what the command line set."""
_TEMPLATES = ("inherit", "include")
_NOTHING = Inject()


@dataclass(frozen=True, slots=True)
class EmperorSettings:
    """What an emperor runs by; ``None`` leaves the word to each vassal.

    Attributes:
        places: as written on the command line, or in the file (relative ones made absolute from the file's directory).
        freq: seconds between scans.
        throttle_ms: milliseconds of the first wait after a failed start; `max_throttle_ms` of the longest.
        required_heartbeat: seconds of silence after which a vassal that has sent heartbeats is replaced; 0: never.
        curse_tolerance: seconds that a vassal may take to end; 0: its own reload-mercy.
        inject: what every vassal gets, `DEFAULTS` among it; paths are absolute.
        loyalty: seconds; `start_timeout` likewise.
        notes: what there is to say about the file.
    """

    places: tuple[str, ...] = ()
    freq: float = 3.0
    vassals_uid: str | None = None
    vassals_gid: str | None = None
    tyrant: bool = False
    nofollow: bool = False
    extra_extensions: tuple[str, ...] = ()
    log_dir: str | None = None
    control: str | None = None
    throttle_ms: int = 1000
    max_throttle_ms: int = 180_000
    required_heartbeat: int = 30
    curse_tolerance: int = 0
    inject: Inject = _NOTHING
    fork_server: bool = True
    reload_strategy: str | None = None
    loyalty: int | None = None
    start_timeout: int | None = None
    on_demand_extension: str | None = None
    on_demand_directory: str | None = None
    on_demand_exec: str | None = None
    stats: str | None = None
    stats_http: bool = False
    stats_minified: bool = False
    chmod_socket: int | None = None
    logto: str | None = None
    pidfile: str | None = None
    procname: str | None = None
    vassals_start_hook: str | None = None
    vassals_stop_hook: str | None = None
    hook_as_emperor: tuple[str, ...] = ()
    exec_as_emperor: tuple[str, ...] = ()
    hook_as_emperor_before_vassal: tuple[str, ...] = ()
    hook_as_vassal_before_drop: tuple[str, ...] = ()
    hook_as_vassal: tuple[str, ...] = ()
    exec_as_vassal: tuple[str, ...] = ()
    strict: bool = False
    ignore_refused: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


_PROGRAMS = ("vassals_start_hook", "vassals_stop_hook")
_PATHS = ("log_dir", "control", "on_demand_directory", "logto", "pidfile")


def read_emperor(
    ini: str | None,
    *,
    sets: Sequence[tuple[str, str]],
    environ: Mapping[str, str],
    allow_exec: bool = True,
    tolerant: bool = False,
) -> tuple[Reading, Build]:
    """Read and type an emperor's file; mistakes in values are notes of the build.

    Args:
        ini: the file, or None for none.
        sets: ``--set KEY=VALUE`` of the command line: placeholders before the file, options after it.
        environ: for ``$(NAME)`` and ``if-env``.
        allow_exec: whether ``@(exec://…)`` may run.
        tolerant: an included file that cannot be read becomes a note.

    Raises:
        ConfigError: the file cannot be read.
    """
    options = [(key, value) for key, value in sets if EMPEROR.find(key) is not None]
    placeholders = tuple(pair for pair in sets if EMPEROR.find(pair[0]) is None)
    reading = Reading((), (), (), (), frozenset())
    if ini is not None:
        reading = read_configuration(
            ini,
            environ=environ,
            inject=Inject(sets=placeholders),
            allow_exec=allow_exec,
            sections=SECTIONS,
            tolerant=tolerant,
        )
    given = tuple(Entry(key, value, COMMAND_LINE, 0) for key, value in options)
    unused = tuple(_unused(key) for key, _ in placeholders if key not in reading.referenced)
    reading = replace(reading, entries=(*reading.entries, *given), notes=(*reading.notes, *unused))
    build = Build(reading, EMPEROR)
    build.run()
    return reading, build


def _unused(key: str) -> Note:
    """Return what there is to say of a ``--set`` that sets nothing."""
    guess = likely(key, EMPEROR)
    hint = f"did you mean '{guess}'?" if guess else "no option has this name, and no %(…) refers to it"
    return Note(COMMAND_LINE, None, "warning", key, f"unknown option '{key}': {hint}")


def load_emperor(
    ini: str | None, *, sets: Sequence[tuple[str, str]], places: Sequence[str], environ: Mapping[str, str]
) -> EmperorSettings:
    """Return the settings of an emperor.

    Args:
        ini: its file, or None for none; sections ``[uwsgi]`` and ``[emperor]`` count.
        sets: ``--set KEY=VALUE`` of the command line: they win over the file.
        places: those of the command line; with any, the file's ``emperor`` lines do not count.
        environ: for ``$(NAME)`` and ``if-env``.

    Raises:
        ConfigError: the first mistake.
    """
    reading, build = read_emperor(ini, sets=sets, environ=environ)
    for note in (*reading.notes, *build.notes):
        if note.level == "error":
            raise ConfigError(note.file, note.line, note.option, note.message)
    base = os.path.dirname(os.path.abspath(ini)) if ini is not None else os.getcwd()
    values = dict(build.values)
    notes = [*reading.notes, *build.notes, *_identity(values, build)]
    values["inject"] = _inject(values, base)
    for name in _PATHS:
        if values.get(name):
            values[name] = os.path.join(base, values[name])
    for name in _PROGRAMS:
        if values.get(name):
            values[name] = _from(base, values[name])
    if values.get("stats"):
        values["stats"] = _absolute_address(values["stats"], base)
    values["places"] = tuple(places) or tuple(_absolute(place, base) for place in values.get("places", ()))
    return EmperorSettings(**values, notes=tuple(notes))


def _identity(values: dict[str, Any], build: Build) -> list[Note]:
    """Turn uid and gid into what they mean here, and say so."""
    notes = []
    for name in ("uid", "gid"):
        value = values.pop(name, None)
        if value is None:
            continue
        entry = next(entry for row, entry, _ in reversed(build.taken) if row.name == name)
        message = f"{name} means vassals-{name} here: the emperor keeps its own identity"
        notes.append(Note(entry.file, entry.line or None, "warning", name, message))
        values.setdefault(f"vassals_{name}", value)
    return notes


def _inject(values: dict[str, Any], base: str) -> Inject:
    def files(suffix: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (kind, os.path.join(base, path))
            for kind in _TEMPLATES
            for path in values.pop(f"vassals_{kind}{suffix}", ())
        )

    defaults = [(name, values.get(name.replace("-", "_"))) for name in DEFAULTS]
    sets = [(name, str(value)) for name, value in defaults if value is not None]
    return Inject(before=files("_before"), after=files(""), sets=(*sets, *values.pop("vassal_set", ())))


def _from(base: str, command: str) -> str:
    """Return `command` with its program's path made absolute from `base`; a bare name is looked for in PATH."""
    program, *arguments = shlex.split(command)
    return shlex.join([os.path.join(base, program) if "/" in program else program, *arguments])


def _absolute_address(text: str, base: str) -> str:
    """Return an address whose path, if it is one, is absolute; see `vassal.net.parse` for what is a path."""
    return text if text.startswith("@") or (":" in text and "/" not in text) else os.path.join(base, text)


def _absolute(place: str, base: str) -> str:
    scheme, divided, path = place.rpartition("://")
    if divided and scheme not in ("dir", "glob"):
        return place
    return f"{scheme}{divided}{os.path.normpath(os.path.join(base, path))}"
