"""Text of any format to lines: which key, which value, where, magic variables filled in.

The one thing that can go wrong here is whose line it was: text that ``inject-before`` puts in front of a file keeps its
own name and number, but its magic variables are those of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vassal.config.errors import ConfigError, Note
from vassal.config.ini import parse_ini

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    Fill = Callable[[str, str, int], str]
    """Fills in magic variables: (text, file, line) to text."""


class Line(NamedTuple):
    """One assignment; `value` is empty for a key without value."""

    key: str
    value: str
    file: str
    line: int


class Lines(NamedTuple):
    """What a text holds in the sections that were asked for."""

    lines: list[Line]
    notes: list[Note]
    sections: frozenset[str]
    """Every section of the text, asked for or not."""


def from_ini(texts: Sequence[tuple[str, str]], wanted: Collection[str], fill: Fill) -> Lines:
    """Read (file, text) pairs as if they were one file, so that a section may go on in the next text."""
    lines: list[Line] = []
    notes: list[Note] = []
    joined = texts[0][1] if len(texts) == 1 else "\n".join(text for _, text in texts)
    assigned, sections = parse_ini(joined)
    place = _places(texts)
    lost = False
    for section, key, value, number in assigned:
        if section in wanted:
            file, line = place(number)
            if "%" in key or "%" in value:
                lines.append(Line(fill(key, file, line), fill(value, file, line), file, line))
            else:
                lines.append(Line(key, value, file, line))
        elif not section and not lost:
            lost = True
            file, line = place(number)
            message = f"this line stands before any [section] and is not read: begin with [{next(iter(wanted))}]"
            notes.append(Note(file, line, "warning", key, message))
    return Lines(lines, notes, frozenset(sections))


def _places(texts: Sequence[tuple[str, str]]) -> Callable[[int], tuple[str, int]]:
    if len(texts) == 1:
        only = texts[0][0]
        return lambda number: (only, number)
    starts = []
    total = 0
    for file, text in texts:
        starts.append((total, file))
        total += text.count("\n") + 1

    def place(number: int) -> tuple[str, int]:
        start, file = next(pair for pair in reversed(starts) if pair[0] < number)
        return file, number - start

    return place


def checked(rows: Sequence[tuple[str, str, int]], file: str, fill: Fill) -> list[Line]:
    """Return rows of (option, value, line) from a format that can spell any character.

    Raises:
        ConfigError: an empty option, or a character that no path, name or environment can hold.
    """
    lines = []
    for option, value, line in rows:
        if not option:
            raise ConfigError(file=file, line=line, option=None, message="an option without a name")
        for text in (option, value):
            if "\0" in text or not _storable(text):
                message = "a character that no path, name or environment can hold"
                raise ConfigError(file=file, line=line, option=None, message=message)
        if "%" in option or "%" in value:
            lines.append(Line(fill(option, file, line), fill(value, file, line), file, line))
        else:
            lines.append(Line(option, value, file, line))
    return lines


def _storable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which json can spell
        return False
    return True
