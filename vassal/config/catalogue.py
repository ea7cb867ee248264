"""Verdicts on the options that are not offered, by families.

`accepted` has no effect here and is none the worse for it; `refused` would mislead if it were ignored. The one thing
that can go wrong here is a pattern that catches too much: only names that uWSGI knows are looked up, the first family
that matches decides, and a test resolves every name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vassal.config import families
from vassal.config.option import ACCEPTED, REFUSED, Option
from vassal.config.uwsgi_names import NAMES


class Family(NamedTuple):
    """Options with one verdict and one reason.

    `patterns` are names with blanks between them; ``*`` at the end of one means all that begin so.
    """

    verdict: str
    patterns: str
    reason: str
    instead: str = ""


class _Patterns(NamedTuple):
    exact: frozenset[str]
    beginnings: tuple[str, ...]


def _patterns(text: str) -> _Patterns:
    words = text.split()
    beginnings = tuple(word[:-1] for word in words if word.endswith("*"))
    return _Patterns(frozenset(word for word in words if not word.endswith("*")), beginnings)


def _families() -> tuple[tuple[_Patterns, Family], ...]:
    found = [Family(ACCEPTED, *row) for row in families.FIRST]
    found += [Family(REFUSED, *row) for row in families.REFUSED]
    found += [Family(ACCEPTED, *row) for row in families.ACCEPTED]
    return tuple((_patterns(family.patterns), family) for family in found)


_FAMILIES = _families()
_EMPEROR_NAMES = frozenset(families.EMPEROR_NAMES.split())
_EMPEROR_OWN = frozenset(families.EMPEROR_OWN.split())
_EMPERORS = Family(ACCEPTED, "", "an option of the emperor, in a vassal's file", "write it into the emperor's ini")
_VASSALS = Family(
    ACCEPTED,
    "",
    "an option of vassals, in the emperor's file",
    "write it into the vassals' files, or use vassal-set",
)
_BESIDE = Family(
    REFUSED, "", "the emperor runs nothing for itself", "write it into a vassal's file, or into the unit of the service"
)
_LOST_FOR_AN_EMPEROR = (
    "attach-",
    "smart-attach-",
    "cron",
    "unique-cron",
    "hook-",
    "exec-",
    "touch-exec",
    "static-",
    "check-static",
)


def find(name: str) -> Option | None:
    """Return the verdict on a `name` that is no row of the vassals' table, or None if it is no option at all."""
    if name.startswith(families.EMPEROR) or name in _EMPEROR_NAMES:
        return _row(name, _EMPERORS) if name in NAMES or name in _EMPEROR_OWN else None
    return in_families(name)


def find_for_emperor(name: str, row: Option | None) -> Option | None:
    """Return the verdict on a `name` in an emperor's file; `row` is the vassals' one, if they have it."""
    if row is None:
        return in_families(name)
    lost = row.name.startswith(_LOST_FOR_AN_EMPEROR)
    return _row(name, _BESIDE if lost else _VASSALS)


def in_families(name: str) -> Option | None:
    """Return the verdict of the family that `name` belongs to, or None if uWSGI does not know the name."""
    if name not in NAMES:
        return None
    for patterns, family in _FAMILIES:
        if name in patterns.exact or name.startswith(patterns.beginnings):
            return _row(name, family)
    return None


def _row(name: str, family: Family) -> Option:
    misplaced = family is _EMPERORS or family is _VASSALS
    return Option(name, None, "", family.verdict, reason=family.reason, instead=family.instead, misplaced=misplaced)


def plugin_verdict(names: str) -> tuple[str, str] | None:
    """Judge the value of ``plugin``: (verdict, reason) where it is refused, None where nothing is missed.

    Python, and what only writes logs or routes HTTP, is built in here; any other language or router is refused.
    """
    for written in names.replace(" ", ",").split(","):
        name = written.rpartition("/")[2].removeprefix("0:").removesuffix("_plugin.so").removesuffix(".so").strip()
        if name and not re.fullmatch(families.PLUGINS, name):
            return REFUSED, f"the plugin {name} is not offered: a vassal is a Python WSGI app"
    return None
