"""One configuration file, looked at without running it: what there is to say, and where each option comes from.

A vassal's file, or the emperor's own. The one danger is to take the one for the other: a file is the emperor's if it
has an ``[emperor]`` section and nothing for a vassal, or names places and nothing to serve.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emperor.disk import Claim, judge
from emperor.settings import EMPEROR
from vassal.config import Entry, Inject, Note, default_reader
from vassal.config.build import Build
from vassal.config.language import Reading, read_configuration
from vassal.config.load import typed
from vassal.config.settings import APPS
from vassal.config.table import VASSAL, Table
from vassal.config.types import FLAG, uncommented

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vassal.config.option import Option

UNKNOWN = "unknown option "
"""How the message about an unknown option begins."""
UNREAD = "cannot read "
"""How the message about an include begins that could not be read."""
_EMPERORS = frozenset(("emperor", "early-emperor"))
_VASSALS = frozenset((*APPS, "attach_daemon", "cron", "static_map", "check_static"))


@dataclass(frozen=True, slots=True)
class ExplainRow:
    """One option that applies, with where it comes from."""

    option: str
    value: str
    file: str
    line: int | None
    """Counted from 1; None where there are no lines: variables, ``--set``."""
    via: tuple[str, ...] = ()
    """Through which includes and loops, the outermost first."""


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found out about one file."""

    notes: tuple[Note, ...] = ()
    claims: tuple[Claim, ...] = ()
    rows: tuple[ExplainRow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "notes": [[n.file, n.line, n.level, n.option, n.message] for n in self.notes],
            "claims": [[c.place, c.host, c.port, c.option, c.file, c.line, c.shared] for c in self.claims],
            "rows": [[r.option, r.value, r.file, r.line, list(r.via)] for r in self.rows],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Examination:
        """Build one from what `to_json` gave."""
        return cls(
            tuple(Note(*fields) for fields in data["notes"]),
            tuple(Claim(*fields) for fields in data["claims"]),
            tuple(ExplainRow(option, value, file, line, tuple(via)) for option, value, file, line, via in data["rows"]),
        )


def examine(  # noqa: PLR0913 - what a reading needs, by name
    path: str,
    *,
    environ: Mapping[str, str],
    fd: int | None = None,
    inject: Inject | None = None,
    strict: bool = False,
    allow_exec: bool = False,
    read: Callable[[str], bytes] = default_reader,
) -> Examination:
    """Read the file at `path`, type its options and look at what they lead to.

    Args:
        path: absolute.
        environ: for ``$(NAME)`` and ``UWSGI_VASSAL_*``.
        fd: an open descriptor of the file, read instead of the path.
        inject: what an emperor adds to its vassals.
        strict: an unknown option is an error, whatever the file says.
        allow_exec: whether ``@(exec://…)`` may run.
        read: gives the bytes of every other file.

    Raises:
        ConfigError: the file cannot be read at all.
    """

    def reading(*sections: str, given: Inject) -> Reading:
        return read_configuration(
            path,
            fd=fd,
            environ=environ,
            inject=given,
            read=read,
            allow_exec=allow_exec,
            sections=sections,
            tolerant=True,
        )

    as_vassal = reading("uwsgi", "vassal", given=inject or Inject())
    build = typed(as_vassal)
    if _may_be_emperors(path, as_vassal.entries, build):
        as_emperor = reading("uwsgi", "emperor", given=Inject())
        if any(entry.option in _EMPERORS or not build.taken for entry in as_emperor.entries):
            own = Build(as_emperor, EMPEROR)
            own.run()
            said = Note(path, None, "info", None, "checked as an emperor's own file: it serves nothing itself")
            return Examination(
                (said, *_graded((*as_emperor.notes, *own.notes), strict=strict)), (), _rows(own, as_emperor, EMPEROR)
            )
    notes, claims = judge(path, build)
    every = _graded((*as_vassal.notes, *build.notes, *notes), strict=strict)
    return Examination(every, tuple(claims), _rows(build, as_vassal, VASSAL))


def _may_be_emperors(path: str, entries: tuple[Entry, ...], build: Build) -> bool:
    here = [entry for entry in entries if entry.file == path or os.path.realpath(entry.file) == os.path.realpath(path)]
    if not here:
        return True
    return any(entry.option in _EMPERORS for entry in here) and _VASSALS.isdisjoint(build.values)


def _graded(notes: tuple[Note, ...], *, strict: bool) -> tuple[Note, ...]:
    """Make errors of unknown options under `strict`, and mere remarks where a file that may use them was not read."""
    blind = any(note.level == "error" and note.message.startswith(UNREAD) for note in notes)

    def grade(note: Note) -> Note:
        if not note.message.startswith(UNKNOWN):
            return note
        if blind:
            more = "; or a placeholder: a file that may refer to it could not be read"
            return replace(note, level="info", message=note.message + more)
        return replace(note, level="error") if strict else note

    return tuple(map(grade, notes))


def _rows(build: Build, reading: Reading, table: Table) -> tuple[ExplainRow, ...]:
    """Return what applies, in its order, without what a later line overrides; of a variable the first line counts."""
    single = [(row, entry) for row, entry, _ in build.taken if row.type is not None and not row.type.many]
    last = {row.field or row.name: entry for row, entry in single}
    lost = {id(entry) for row, entry in single if last[row.field or row.name] is not entry}
    rows = []
    variables: set[str] = set()
    for entry in reading.entries:
        row = table.find(entry.option)
        if id(entry) in lost or entry.option in variables:
            continue
        if row is None:
            variables.add(entry.option)
        rows.append(ExplainRow(entry.option, _shown(entry, row), entry.file, entry.line or None, entry.via))
    return tuple(rows)


def _shown(entry: Entry, row: Option | None) -> str:
    """Return the value as it counts: without a comment that is cut off, and true for the name of a flag alone."""
    if row is None or row.type is None:
        return entry.value
    if row.type is FLAG and not entry.value:
        return "true"
    return uncommented(entry.value) if row.type.clean else entry.value
