"""Fill in ``%(placeholder)``, ``$(ENVIRONMENT)``, ``@(file)`` and ``@(exec://command)``.

The one thing that can go wrong here is growth: placeholders that name each other, double each other or nest. Every
character that an expansion makes is counted, and so is its depth. What came from the environment, a file or a command
is never looked through again: data stays data.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from vassal.config import bounded
from vassal.config.arithmetic import pipeline
from vassal.config.errors import ConfigError, Note
from vassal.config.limits import AT_BYTES, AT_SECONDS, COMMANDS, TOTAL_CHARS
from vassal.config.reader import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TOTAL = 1 << 20
"""Characters that all expansions of one configuration may make."""
MAX_DEPTH = 48
"""Placeholders within placeholders, parentheses within parentheses."""

MARK = re.compile(r"[$@%]\(")
PAREN = re.compile(r"[()]")
ENV = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)(.*))?", re.DOTALL)
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
LITERAL = ("log", "req-log", "worker-log", "route", "error-route", "response-route", "final-route", "rack-log")
"""Beginnings of options whose values have ``%(…)`` of their own, filled in for each request."""


class Item(NamedTuple):
    """One option with its place, before expansion."""

    option: str
    value: str
    file: str
    line: int
    via: tuple[str, ...] = ()


class Sources:
    """Where ``$()`` and ``@()`` get their values from; each file and command is read once."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        read: Callable[[str], bytes],
        directory: str,
        allow_exec: bool,
        files: list[str],
    ) -> None:
        """Args as in `vassal.config.language.read_entries`; `files` grows by the files that are read."""
        self.environ = environ
        self.directory = directory
        self._read = read
        self._allow_exec = allow_exec
        self.files = files
        self._known: dict[str, str | None] = {}
        self._commands = 0
        self._pieces = 0

    def full(self, path: str) -> str:
        """Return `path` as seen from the configuration's directory."""
        return os.path.join(self.directory, path)

    def bytes_of(self, full: str, at: Item) -> bytes:
        """Return a file's content; it counts as read from now on.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            content = self._read(full)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise _error(at, f"cannot read {full}: {why}") from None
        if full not in self.files:
            self.files.append(full)
        return content

    def piece(self, path: str, at: Item) -> str:
        """Return the text of a small file.

        Raises:
            ConfigError: it cannot be read, or has more than `AT_BYTES` bytes.
        """
        content = self.bytes_of(self.full(path), at)
        if len(content) > AT_BYTES:
            message = f"{path} has {len(content)} bytes, more than the {AT_BYTES} that may be read into a value"
            raise _error(at, message)
        self._pieces += len(content)
        if self._pieces > TOTAL_CHARS:
            raise _error(at, f"all small files together have more than {TOTAL_CHARS} bytes")
        return self._decode(content, path, at)

    def at(self, inner: str, at: Item, notes: list[Note]) -> str | None:
        """Return what ``@(inner)`` stands for, without its last line end; None: it may not be run."""
        if inner not in self._known:
            scheme = SCHEME.match(inner)
            if scheme is None:
                self._known[inner] = _chomp(self.piece(inner, at))
            elif scheme[0] == "exec://":
                self._known[inner] = self._run(inner[len("exec://") :], at, notes)
            else:
                message = f"@({inner}) is not supported: only @(file) and @(exec://command) are read"
                raise _error(at, message)
        return self._known[inner]

    def _run(self, command: str, at: Item, notes: list[Note]) -> str | None:
        if not self._allow_exec:
            message = f"@(exec://{command}) was not run here: its value is not known"
            notes.append(Note(at.file, at.line, "info", at.option, message))
            return None
        self._commands += 1
        if self._commands > COMMANDS:
            message = f"more than {COMMANDS} commands in one configuration"
            raise _error(at, message)
        try:
            status, output = bounded.run(
                ("/bin/sh", "-c", command),
                seconds=AT_SECONDS,
                size=AT_BYTES,
                environ=self.environ,
                directory=self.directory,
            )
        except bounded.BoundsError as error:
            raise _error(at, f"@(exec://{command}) {error}") from None
        if status:
            message = f"@(exec://{command}) ended with status {status}; what it printed is used"
            notes.append(Note(at.file, at.line, "warning", at.option, message))
        return _chomp(self._decode(output, command, at))

    @staticmethod
    def _decode(content: bytes, what: str, at: Item) -> str:
        if b"\0" in content:
            raise _error(at, f"{what} holds a NUL character: it is no text")
        return content.decode("utf-8", "surrogateescape")


class Expander:
    """Expands values by one set of definitions, the first of each name (ParsingOrder page)."""

    def __init__(self, definitions: Mapping[str, Item], sources: Sources, notes: list[Note], made: int = 0) -> None:
        """Start with `made` characters made already; `definitions` must not change while this one is in use."""
        self.referenced: set[str] = set()
        self._definitions = definitions
        self._sources = sources
        self._notes = notes
        self._known: dict[str, str] = {}
        self._chain: list[str] = []
        self.made = made

    def expand(self, text: str, at: Item, depth: int = 0) -> str:
        """Return `text` with everything filled in that is defined; the rest stays as written, with a note.

        Raises:
            ConfigError: a loop, too deep, too large, or something that cannot be read.
        """
        match = MARK.search(text)
        if match is None:
            return text
        if depth > MAX_DEPTH:
            raise _error(at, f"variables are nested more than {MAX_DEPTH} deep")
        pieces: list[str] = []
        start = 0
        while match is not None:
            end = _closing(text, match.end())
            if end < 0:
                break
            inner = self.expand(text[match.end() : end], at, depth + 1)
            found = self._one(match[0], inner, at, depth)
            piece = f"{match[0]}{inner})" if found is None else found
            self.made += len(piece) + match.start() - start
            if self.made > MAX_TOTAL:
                message = f"variables make more than {MAX_TOTAL} characters: do they repeat each other?"
                raise _error(at, message)
            pieces += (text[start : match.start()], piece)
            start = end + 1
            match = MARK.search(text, start)
        pieces.append(text[start:])
        return "".join(pieces)

    def _one(self, mark: str, inner: str, at: Item, depth: int) -> str | None:
        if mark == "$(":
            return self._environment(inner, at)
        if mark == "@(":
            return self._sources.at(inner, at, self._notes)
        if " " in inner:
            return self._pipeline(inner, at, depth)
        value = self._placeholder(inner, at, depth)
        if value is None:
            self._undefined(inner, at)
        return value

    def _environment(self, inner: str, at: Item) -> str | None:
        match = ENV.fullmatch(inner)
        if match is None:
            return None
        name, operator, default = match.groups()
        value = self._sources.environ.get(name)
        if operator is not None and (value is None or (operator == ":-" and not value)):
            return str(default)
        if value is None:
            message = (
                f"$({name}) is not set in the environment and stays as written: give a default as $({name}:-value)"
            )
            self._notes.append(Note(at.file, at.line, "warning", at.option, message))
        return value

    def _placeholder(self, name: str, at: Item, depth: int) -> str | None:
        self.referenced.add(name)
        if name in self._known:
            return self._known[name]
        definition = self._definitions.get(name)
        if definition is None:
            return None
        if name in self._chain:
            chain = " -> ".join([*self._chain[self._chain.index(name) :], name])
            raise _error(at, f"placeholders that need each other: {chain}")
        self._chain.append(name)
        value = self.expand(definition.value, definition, depth + 1)
        self._chain.pop()
        self._known[name] = value
        return value

    def _pipeline(self, inner: str, at: Item, depth: int) -> str:
        def lookup(name: str) -> str | None:
            value = self._placeholder(name, at, depth)
            if value is None:
                message = f"%({inner}): {name} is not defined and counts as nothing"
                self._notes.append(Note(at.file, at.line, "warning", at.option, message))
            return value

        try:
            return pipeline(inner, lookup)
        except ArithmeticError as error:
            raise _error(at, f"%({inner}): {error}") from None

    def _undefined(self, name: str, at: Item) -> None:
        if not at.option.startswith(LITERAL):
            message = f"%({name}) is never defined and stays as written"
            self._notes.append(Note(at.file, at.line, "warning", at.option, message))


def _closing(text: str, start: int) -> int:
    """Return where the parenthesis that was opened before `start` closes, or -1."""
    depth = 0
    for match in PAREN.finditer(text, start):
        if match[0] == "(":
            depth += 1
        elif depth:
            depth -= 1
        else:
            return match.start()
    return -1


def _error(at: Item, message: str) -> ConfigError:
    return ConfigError(file=at.file, line=at.line, option=at.option, message=message)


def _chomp(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
