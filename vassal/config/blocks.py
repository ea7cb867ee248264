"""The blocks of the language: loops and conditions (ConfigLogic page).

The one thing that can go wrong here is size: every loop ends at a bound, and ``for-glob`` looks at so many names and no
more. As in uWSGI a loop repeats each of its lines by itself, not the block as a whole, and blocks do not nest. Unlike
there, a condition is asked once, at its own line: a block that sets what it asks for runs to its end.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal.config.errors import ConfigError
from vassal.config.limits import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vassal.config.expand import Item

LOOPS = frozenset(("for", "for-glob", "for-times", "for-readline"))
ALIASES = {"ifenv": "env", "ifexists": "exists", "ifdir": "dir", "if-directory": "dir", "ifplugin": "plugin"}
CONDITIONS = frozenset(("env", "exists", "file", "dir", "opt", "hostname", "reload", "plugin"))
ENDS = frozenset(("end", "endif", "end-if", "endfor", "end-for"))
IFS: dict[str, tuple[str, bool]] = {
    **{f"if-{name}": (name, True) for name in CONDITIONS},
    **{f"if-not-{name}": (name, False) for name in CONDITIONS},
    **{alias: (name, True) for alias, name in ALIASES.items()},
}
"""Each spelling of a condition: what it asks, and which answer it wants."""
REFUSED = frozenset(("if-hostname-match", "if-not-hostname-match"))
WORDS = LOOPS | IFS.keys() | ENDS | REFUSED | {"else"}
"""Every option that this module knows."""
CONTEXT = "%(_)"
"""Stands for the current value of the block."""
GLOB_LOOKS = 100_000
"""Names that all ``for-glob`` of one configuration may look at."""
LOOP_TURNS = 200_000
"""Turns that all loops of one configuration may have, those without lines included."""
PATTERN_LENGTH = 4096
"""Characters of a ``for-glob`` pattern: no path is longer."""
LINE_LENGTH = 1023
"""Characters of a line of ``for-readline``; longer ones come in pieces, as in uWSGI."""
WILD = re.compile(r"[*?[]")


@dataclass(slots=True)
class Facts:
    """What conditions may ask about."""

    environ: Mapping[str, str]
    directory: str
    """Relative paths are taken from here."""
    option: Callable[[str], str | None]
    """The first value of an option so far, as written."""
    text: Callable[[str, Item], str]
    """The text of a small file, for ``for-readline``."""
    looks: int = GLOB_LOOKS
    """Names that all ``for-glob`` may still look at."""
    turns: int = LOOP_TURNS
    """Turns that all loops may still have."""


@dataclass(slots=True)
class Block:
    """One open block: its lines are taken once for each of `values`; None leaves ``%(_)`` alone."""

    opened: Item
    values: tuple[str | None, ...]
    otherwise: bool | None
    """Whether an ``else`` would run; None: it cannot have one."""


def open_block(item: Item, facts: Facts) -> Block:
    """Return the block that `item` opens; its value has its variables filled in, except for ``if-opt``.

    Raises:
        ConfigError: a loop that is too long, or a file that cannot be read.
    """
    if item.option in LOOPS:
        values = tuple(_loop(item, facts))
        facts.turns -= len(values)
        if facts.turns < 0:
            raise _error(item, f"all loops together have more than {LOOP_TURNS} turns")
        if len(values) > ENTRIES:
            raise _error(item, f"{item.option} has more than {ENTRIES} turns")
        return Block(item, values, None)
    if item.option in REFUSED:
        raise _error(item, f"{item.option} is not supported: use if-hostname or if-env")
    name, wanted = IFS[item.option]
    holds, context = _ask(name, item.value, facts)
    runs = holds is wanted
    return Block(item, (context,) if runs else (), not runs)


def turn(block: Block, item: Item) -> Block:
    """Return the block after ``else``.

    Raises:
        ConfigError: a loop, or a second ``else``.
    """
    if block.otherwise is None:
        raise _error(item, f"else without if: the open block is {block.opened.option} of line {block.opened.line}")
    return Block(block.opened, (None,) if block.otherwise else (), None)


def fill(block: Block, item: Item, context: str | None, room: int) -> str:
    """Return the value of `item` in the turn of `context`.

    Raises:
        ConfigError: it would have more than `room` characters.
    """
    if context is None or CONTEXT not in item.value:
        return item.value
    if len(item.value) + item.value.count(CONTEXT) * len(context) > room:
        raise _error(item, f"{CONTEXT} of {block.opened.option} makes the value too long")
    return item.value.replace(CONTEXT, context)


def nested(block: Block, item: Item) -> ConfigError:
    """Return the error for a block within a block."""
    message = (
        f"{item.option} within {block.opened.option} (line {block.opened.line}): blocks cannot nest. "
        "Close the outer one first, or put the inner one into a file of its own and include that"
    )
    return _error(item, message)


def _error(item: Item, message: str) -> ConfigError:
    return ConfigError(file=item.file, line=item.line, option=item.option, message=message)


def _loop(item: Item, facts: Facts) -> Iterable[str]:
    value = item.value
    if item.option == "for":
        return value.split()
    if item.option == "for-glob":
        return _glob(item, facts)
    if item.option == "for-readline":
        rows = facts.text(value, item).split("\n")
        rows = rows[:-1] if rows[-1] == "" else rows
        return [row[at : at + LINE_LENGTH] for row in rows for at in range(0, max(1, len(row)), LINE_LENGTH)]
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise _error(item, f"for-times = {value[:50]}: expected a number of turns, up to {ENTRIES}")
    if int(value) > ENTRIES:
        raise _error(item, f"for-times = {value}: more than {ENTRIES} turns")
    return [str(number) for number in range(1, int(value) + 1)]


def _ask(name: str, value: str, facts: Facts) -> tuple[bool, str | None]:
    """Return whether the condition holds, and what ``%(_)`` is in the block."""
    if name in ("env", "opt"):
        key, divided, expected = value.partition("=")
        found = facts.environ.get(key) if name == "env" else facts.option(key)
        return found is not None and (not divided or found == expected), found
    if name == "hostname":
        return os.uname().nodename == value, value
    if name == "reload":
        # uWSGI counts its reloads in this variable; a first start has none.
        return "UWSGI_RELOADS" in facts.environ, None
    if name == "plugin":
        return value.startswith("python") or value == "http", value
    path = os.path.join(facts.directory, value)
    test = {"exists": os.path.exists, "file": os.path.isfile, "dir": os.path.isdir}[name]
    return test(path), value


def _glob(item: Item, facts: Facts) -> list[str]:
    """Match like glob(3) with GLOB_MARK and GLOB_NOCHECK: sorted, directories end in a slash, no match: the pattern."""
    directory = facts.directory
    if len(item.value) > PATTERN_LENGTH:
        raise _error(item, f"a pattern of more than {PATTERN_LENGTH} characters")
    root, *parts = item.value.split("/")
    paths = ["/"] if not root and parts else [""]
    parts = parts if not root and parts else [root, *parts]
    for part in parts:
        heads = [path if path.endswith("/") or not path else path + "/" for path in paths]
        if not part:
            paths = [head for head in heads if os.path.isdir(os.path.join(directory, head))]
            continue
        paths = []
        for head in heads:
            full = os.path.join(directory, head)
            names = _names(full, part)
            facts.looks -= len(names) + 1
            if facts.looks < 0:
                raise _error(item, f"for-glob = {item.value[:200]}: more than {GLOB_LOOKS} files to look at")
            paths += [head + name for name in _matching(names, part) if os.path.lexists(os.path.join(full, name))]
    marked = [
        path + "/" if not path.endswith("/") and os.path.isdir(os.path.join(directory, path)) else path
        for path in paths
    ]
    return sorted(path for path in marked if path) or [item.value]


def _names(directory: str, part: str) -> list[str]:
    if not WILD.search(part):
        return [part]
    try:
        return os.listdir(directory or ".")
    except (OSError, ValueError):
        return []


def _matching(names: list[str], part: str) -> list[str]:
    if not WILD.search(part):
        return names
    import fnmatch  # noqa: PLC0415 - few files loop over a pattern, every start would pay

    shown = [name for name in names if part.startswith(".") or not name.startswith(".")]
    return fnmatch.filter(shown, part)
