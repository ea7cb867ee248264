"""`emperor check` and `emperor explain`: configuration files looked at without running them.

Run by root, each file is read by a child that has dropped to its owner first: see `emperor.onbehalf`. The one danger
that is left is a file of root's own that includes somebody else's: root reads only what root alone can write.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any

from emperor import onbehalf
from emperor.disk import collisions
from emperor.examine import Examination, ExplainRow, examine
from emperor.names import printable
from emperor.places import PlaceOptions, parse_place, scan
from vassal import identity
from vassal.config import ConfigError, Note, default_reader
from vassal.config.settings import NO_SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emperor.disk import Claim
    from emperor.settings import EmperorSettings

__all__ = ["ExplainRow", "check_paths", "explain"]

SIBLINGS = 200
"""Files beside a checked one that are asked for their sockets, at most."""
NOBODY = 65534
"""Who reads a file that everybody can write (Debian's ``nobody``), unless ``vassals-uid`` says somebody else."""


def check_paths(
    paths: Sequence[str],
    *,
    strict: bool = False,
    emperor: EmperorSettings | None = None,
    allow_exec: bool = False,
) -> list[Note]:
    """Check vassal files, and all vassal files in directories.

    Args:
        paths: files and directories; what does not exist is an error note.
        strict: unknown options are errors.
        emperor: whose includes, sets, extensions and tyranny apply; None: nobody's.
        allow_exec: whether ``@(exec://…)`` may run, with the rights of the file's owner.

    Returns:
        What there is to say, by file and line.
    """
    notes: list[Note] = []
    files = _files(paths, emperor, notes)
    claims: list[tuple[str, Claim]] = []
    for path in files:
        if emperor is not None and emperor.tyrant:
            notes += _tyranny(path)
        found = _examined(path, emperor, strict=strict, allow_exec=allow_exec)
        notes += _by_line(note for note in found.notes if note.message != NO_SOCKET or not _on_demand(emperor))
        claims += [(path, claim) for claim in found.claims]
    if claims:
        for path in _siblings(paths, files, emperor):
            found = _examined(path, emperor, strict=False, allow_exec=False)
            claims += [(path, claim) for claim in found.claims]
    notes += _collided(claims, frozenset(files))
    return list(dict.fromkeys(notes))


def explain(path: str, *, emperor: EmperorSettings | None = None, allow_exec: bool = False) -> list[ExplainRow]:
    """Return the options of a vassal's file as they apply, with where each comes from.

    Args:
        path: the file.
        emperor: whose includes and sets apply; None: nobody's.
        allow_exec: whether ``@(exec://…)`` may run, with the rights of the file's owner.

    Raises:
        ConfigError: the file cannot be read.
    """
    return list(_read(os.path.abspath(path), emperor, strict=False, allow_exec=allow_exec).rows)


# --- which files ----------------------------------------------------------------------------------------------------


def _on_demand(emperor: EmperorSettings | None) -> bool:
    """Whether the emperor may name sockets that a vassal's file does not."""
    if emperor is None:
        return False
    return bool(emperor.on_demand_directory or emperor.on_demand_extension or emperor.on_demand_exec)


def _files(paths: Iterable[str], emperor: EmperorSettings | None, notes: list[Note]) -> list[str]:
    """Return absolute paths of all files that are meant, each once; what is none is noted."""
    files: list[str] = []
    for path in paths:
        full = os.path.abspath(path)
        if os.path.isdir(full):
            inside = _inside(full, emperor, notes)
            if not inside:
                notes.append(Note(full, None, "warning", None, "no vassal file lies in this directory"))
            files += inside
        else:
            files.append(full)
    return list(dict.fromkeys(files))


def _inside(directory: str, emperor: EmperorSettings | None, notes: list[Note]) -> list[str]:
    extra = emperor.extra_extensions if emperor is not None else ()
    result = scan(parse_place(f"dir://{directory}"), PlaceOptions(extra_extensions=tuple(extra)), {})
    notes += [Note(directory, None, "error", None, warning) for warning in result.warnings]
    for found in result.files.values():
        if found.problem is not None:
            notes.append(Note(found.path, None, "error", None, f"cannot be served: {found.problem}"))
    return sorted(found.path for found in result.files.values() if found.problem is None)


def _siblings(paths: Iterable[str], files: list[str], emperor: EmperorSettings | None) -> list[str]:
    """Return the files beside those that were named one by one."""
    directories = {os.path.dirname(full) for full in map(os.path.abspath, paths) if full in files}
    known = frozenset(files)
    beside = [path for directory in sorted(directories) for path in _inside(directory, emperor, [])]
    return [path for path in beside if path not in known][:SIBLINGS]


# --- one file ------------------------------------------------------------------------------------------------------


def _examined(path: str, emperor: EmperorSettings | None, *, strict: bool, allow_exec: bool) -> Examination:
    try:
        return _read(path, emperor, strict=strict, allow_exec=allow_exec)
    except ConfigError as error:
        return Examination((error.note(),))


def _read(path: str, emperor: EmperorSettings | None, *, strict: bool, allow_exec: bool) -> Examination:
    inject = emperor.inject if emperor is not None else None

    def look(**more: Any) -> Examination:
        return examine(path, environ=os.environ, inject=inject, strict=strict, allow_exec=allow_exec, **more)

    if os.geteuid() != 0:
        return look()
    try:
        facts = os.stat(path)
    except OSError as error:
        raise ConfigError(path, None, None, f"cannot be read: {error.strerror}") from None
    try:
        who = reader_of(facts, emperor)
    except onbehalf.OnBehalfError as error:
        raise ConfigError(path, None, "vassals-uid", str(error)) from None

    def work() -> dict[str, Any]:
        try:
            return {"found": (_as_root(path, look) if who.uid == 0 else look()).to_json()}
        except ConfigError as error:
            return {"error": [error.file, error.line, error.option, error.message]}

    try:
        answer = onbehalf.call(work, who)
    except onbehalf.OnBehalfError as error:
        raise ConfigError(path, None, None, f"cannot be checked: {error}") from None
    if "error" in answer:
        file, line, option, message = answer["error"]
        raise ConfigError(file, line, option, message if who.uid == 0 else f"{message} (read as {who.name or who.uid})")
    return Examination.from_json(answer["found"])


def reader_of(facts: os.stat_result, emperor: EmperorSettings | None) -> onbehalf.User:
    """Return as whom root reads a file: its owner, unless it is root's and others can write it.

    Args:
        facts: of the file.
        emperor: whose ``vassals-uid`` reads what everybody can write.
    """
    if facts.st_uid != 0 or _rooted(facts):
        return onbehalf.user(facts.st_uid)
    named = emperor.vassals_uid if emperor is not None else None
    return onbehalf.named(named) if named else onbehalf.user(NOBODY)


def _rooted(facts: os.stat_result) -> bool:
    """Whether root alone can write it."""
    group = facts.st_mode & stat.S_IWGRP and facts.st_gid != 0
    return facts.st_uid == 0 and not group and not facts.st_mode & stat.S_IWOTH


def _as_root(path: str, look: Any) -> Examination:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ConfigError(path, None, None, "cannot be read: not a regular file")
    # O_NONBLOCK: it may have become a FIFO meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not _rooted(os.fstat(descriptor)):
            raise ConfigError(path, None, None, "was replaced while it was looked at; check it again")
        found: Examination = look(fd=descriptor, read=read_rooted)
        return found
    finally:
        os.close(descriptor)


def read_rooted(path: str) -> bytes:
    """Return the content of an included file, if root alone can write it: its text may name commands.

    Raises:
        OSError: others can write it, or it cannot be read.
    """
    facts = os.stat(path)
    if not _rooted(facts):
        owner = onbehalf.user(facts.st_uid)
        whose = f"it belongs to {owner.name or owner.uid}" if facts.st_uid else "others than root can write it"
        raise OSError(f"{whose}, and root reads only what is root's alone")
    return default_reader(path)


# --- remarks ------------------------------------------------------------------------------------------------------


def _by_line(notes: Iterable[Note]) -> list[Note]:
    """Sort by line within each file; files keep the order in which they came up."""
    ordered = list(notes)
    order = {file: number for number, file in enumerate(dict.fromkeys(note.file for note in ordered))}
    return sorted(ordered, key=lambda note: (order[note.file], note.line or 0))


def _tyranny(path: str) -> list[Note]:
    """Return what a tyrant emperor refuses in the owner and the mode of the file and its directory."""
    messages = []
    names = [*dict.fromkeys((path, os.path.realpath(path)))]
    for what, kind in [*((n, "file") for n in names), *((os.path.dirname(n), "directory") for n in names)]:
        try:
            facts = os.stat(what)
        except OSError:
            continue  # reading it says why
        if kind == "file" and 0 in (facts.st_uid, facts.st_gid):
            whose = "user root" if facts.st_uid == 0 else "group root"
            messages.append(
                f"under emperor-tyrant a vassal runs as its file's owner, and this file belongs to {whose}: "
                "chown it to the app's user and group"
            )
        for bit, letter, whom in ((stat.S_IWGRP, "g", "its group"), (stat.S_IWOTH, "o", "everybody")):
            if facts.st_mode & bit:
                messages.append(
                    f"under emperor-tyrant the {kind} {what} must not be writable by {whom}: chmod {letter}-w {what}"
                )
    with contextlib.suppress(OSError):
        facts = os.stat(path)
        stranger = identity.estrangement(path, (facts.st_uid, facts.st_gid))
        if stranger is not None and not messages:
            messages.append(f"under emperor-tyrant {stranger}")
    return [Note(path, None, "error", None, message) for message in dict.fromkeys(messages)]


def _collided(claims: list[tuple[str, Claim]], checked: frozenset[str]) -> list[Note]:
    """Return a note for each address that two vassals name; the one that comes later will not start."""
    notes = []
    for path, claim, earlier, first in collisions(sorted(claims, key=lambda pair: pair[0])):
        later, other, beside, level = claim, first, earlier, "error"
        if path not in checked:
            later, other, beside, level = first, claim, path, "warning"
        elif earlier not in checked:
            level = "warning"
        if level == "warning" and path not in checked and earlier not in checked:
            continue
        place = f"{other.file}:{other.line}" if other.line else other.file
        through = "" if other.file == beside else f" (through {printable(beside)})"
        what = f"{later.option}: {printable(later.place)} is also named by {printable(place)}{through}"
        message = f"{what}: only one of the two can have it"
        notes.append(Note(later.file, later.line or None, level, later.option, message))
    return notes
