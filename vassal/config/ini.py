"""Text of an ini file to lines of keys and values, without any meaning yet.

The rules are uWSGI's ("Configuring uWSGI", INI files; core/ini.c behaves so): blanks around keys and values do not
count, ``;`` and ``#`` begin a comment only at the start of a line, the first ``=`` divides, sections may come twice, a
key may stand alone. The one danger is to be cleverer than that: continuation lines, quotes and comments after a value
do not exist in this format.
"""

from __future__ import annotations

from typing import NamedTuple

BLANKS = " \t\r"


class Line(NamedTuple):
    """One assignment: `section` without brackets, `value` is "" for a key that stands alone, `number` from 1."""

    section: str
    key: str
    value: str
    number: int


def parse_ini(text: str) -> tuple[list[Line], list[str]]:
    """Return the assignments of all sections in file order, and the names of the sections that occur."""
    lines: list[Line] = []
    sections: list[str] = []
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(BLANKS)
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            section = line[1:].split("]", 1)[0] if "]" in line else line[1:]
            sections.append(section)
            continue
        key, _, value = line.partition("=")
        lines.append(Line(section, key.rstrip(BLANKS), value.lstrip(BLANKS), number))
    return lines, sections
