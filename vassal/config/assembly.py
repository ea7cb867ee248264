"""Reading files line by line: includes at their place, blocks unrolled, nothing expanded yet.

The one thing that can go wrong here is a file that includes without end. A file that is still being read is never
begun again, and the number, depth and size of everything that is read are bounded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from vassal.config import blocks
from vassal.config.errors import ConfigError, Note
from vassal.config.expand import Expander, Item, Sources
from vassal.config.limits import ENTRIES, INCLUDES
from vassal.config.lines import Line, Lines, from_ini
from vassal.config.magic import Host, Magic
from vassal.config.reader import read_descriptor, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NESTING = 24
"""Files within files; what is deeper is taken for a mistake."""
MAX_TEXT = 2 << 20
"""Characters of all options together, loops unrolled, before variables are filled in."""
EXTENSIONS = {"ini": "ini", "json": "json", "js": "json", "yaml": "yaml", "yml": "yaml"}
READERS = {**EXTENSIONS, "include": "", "inherit": "", "config": ""}
"""Options that read another file, and the format that they imply; empty: the extension says it."""
XML = frozenset(("xml", "xmlconfig"))
WORDS = blocks.WORDS | READERS.keys() | XML | {"set", "set-placeholder", "set-ph", "inject-before", "inject-after"}
"""Options that belong to the language and never become entries."""


class Source(NamedTuple):
    """One file being read."""

    path: str
    section: str
    """Asked for by name, or ``""``."""
    kind: str
    magic: Magic
    via: tuple[str, ...]


class Assembly:
    """One configuration as it grows: items in their order, and the first definition of every name."""

    def __init__(
        self, path: str, sources: Sources, sections: tuple[str, ...], notes: list[Note], *, tolerant: bool
    ) -> None:
        """Prepare to read `path`; nothing is read yet.

        Args:
            path: the vassal's own file, with its section if one was asked for.
            sources: where other files come from.
            sections: the sections that count where none is asked for by name.
            notes: grows by what there is to say.
            tolerant: an included file that cannot be read becomes a note of level ``error``.
        """
        self.sources = sources
        self.sections = sections
        self.items: list[Item] = []
        self.placeholders: list[Item] = []
        self.definitions: dict[str, Item] = {}
        self.asked: set[str] = set()
        self.fallback: str | None = None
        self._notes = notes
        self._tolerant = tolerant
        self._base = os.path.abspath(sources.directory or ".")
        self._host = Host(self._base)
        self._own: Magic | None = None
        self._main = self._source(path, "", (), Item("", "", path, 0))
        self._own = self._main.magic
        self._last = self._main
        self._stack: list[Source] = []
        self._waiting: list[Item] = []
        self._inject: dict[str, list[str]] = {"inject-before": [], "inject-after": []}
        self._content: bytes | None = None
        self._included = 0
        self._size = 0
        self._made = 0
        self._facts = blocks.Facts(sources.environ, sources.directory, self._first, sources.piece)

    @property
    def path(self) -> str:
        """The vassal's own file, without a section."""
        return self._main.path

    # --- what the orchestration calls, in its order ----------------------------------------------------------------

    def take_descriptor(self, descriptor: int) -> None:
        """Read the main file from an open descriptor instead of its path."""
        try:
            self._content = read_descriptor(descriptor)
        except OSError as error:
            path = self._main.path
            raise ConfigError(file=path, line=None, option=None, message=f"cannot be read: {reason(error)}") from None

    def give(self, option: str, value: str, file: str, via: tuple[str, ...]) -> None:
        """Take an option that stands in no file; its magic variables are those of the vassal's own file."""
        option, value = self._fill(self._main, option, file, 0), self._fill(self._main, value, file, 0)
        self._run([Line(option, value, file, 0)], self._main._replace(via=via))

    def templates(self, paths: Iterable[str], option: str) -> None:
        """Read files that the emperor gives to every vassal."""
        for path in paths:
            self._include(Item(option, path, option, 0), "")
        self._inherit()

    def main(self) -> None:
        """Read the vassal's own file, then what it inherits from."""
        self._last = self._main
        if self._content is None:
            self._content = self.sources.bytes_of(self._main.path, Item("", "", self._main.path, 0))
        self._read(self._main, self._content, Item("", "", self._main.path, 0))
        self._inherit()

    # --- files -------------------------------------------------------------------------------------------------------

    def _source(self, written: str, kind: str, via: tuple[str, ...], at: Item) -> Source:
        path, section = written, ""
        head, colon, tail = written.rpartition(":")
        if colon and "/" not in tail and (head.rpartition(".")[2] in EXTENSIONS if head else self._own):
            path, section = head, tail
        if not path:  # ":section" is one of the file that was read last
            full, kind = self._last.path, kind or self._last.kind
        elif self._own is None:
            full = path
        else:
            full = self.sources.full(path)
        extension = full.rpartition(".")[2].lower()
        if extension == "xml" or at.option in XML:
            raise _error(at, f"xml is not read ({full}): write the same options as ini, one 'option = value' a line")
        if not kind:
            kind = EXTENSIONS.get(extension, "ini")
        try:
            magic = Magic(path or written, os.path.abspath(full), section, self._host, self._own)
        except (OSError, ValueError) as error:
            raise _error(at, f"cannot read {full}: {error}") from None
        return Source(full, section, kind, magic, via)

    def _include(self, item: Item, kind: str) -> None:
        value = self._early(item)
        if "://" in value or value in ("-", ""):
            raise _error(
                item, f"{item.option} = {value}: only files are read, no {value.partition('://')[0] or 'nothing'}"
            )
        place = f"{item.file}:{item.line}: {item.option}" if item.line else item.option
        source = self._source(value, kind, (*item.via, place), item)
        self._included += 1
        if self._included > INCLUDES:
            raise _error(item, f"{item.option} = {value}: more than {INCLUDES} files are included")
        identity = (source.magic.get("p"), source.section)
        chain = [(one.magic.get("p"), one.section) for one in self._stack]
        if identity in chain:
            names = [_shown(one) for one in self._stack[chain.index(identity) :]]
            raise _error(item, f"files that include each other: {' -> '.join([*names, _shown(source)])}")
        if len(self._stack) >= MAX_NESTING:
            raise _error(item, f"{item.option} = {value}: files within files, more than {MAX_NESTING} deep")
        try:
            data = self.sources.bytes_of(source.path, item)
        except ConfigError as error:
            if not self._tolerant:
                raise
            self._notes.append(error.note())
            return
        self._last = source
        self._read(source, data, item)

    def _inherit(self) -> None:
        while self._waiting:
            self._include(self._waiting.pop(0), "")

    def _read(self, source: Source, data: bytes, item: Item) -> None:
        wanted = (source.section,) if source.section else self.sections
        if source.kind == "ini":
            texts = [(source.path, _decode(data, source.path))]
            for option, texts_at in (("inject-before", 0), ("inject-after", 1)):
                injected = [(path, _decode(self.sources.bytes_of(path, item), path)) for path in self._inject[option]]
                texts = injected + texts if texts_at == 0 else texts + injected
            found = from_ini(texts, wanted, lambda text, file, line: self._fill(source, text, file, line))
        else:
            found = self._document(source, _decode(data, source.path), wanted)
        self._notes += found.notes
        if data.strip() and not found.sections.intersection(wanted):
            self._notes.append(_no_section(source, wanted, found.sections))
        self._stack.append(source)
        self._run(found.lines, source)
        self._stack.pop()

    def _document(self, source: Source, text: str, wanted: Sequence[str]) -> Lines:
        from vassal.config import documents  # noqa: PLC0415 - most files are ini, every start would pay

        parse = documents.parse_json if source.kind == "json" else documents.parse_yaml
        return parse(source.path, text, wanted, lambda text, file, line: self._fill(source, text, file, line))

    def _fill(self, source: Source, text: str, file: str, line: int) -> str:
        def lost(variable: str) -> None:
            message = f"{variable} is no variable and is dropped: write %% for a percent sign"
            self._notes.append(Note(file, line or None, "warning", None, message))

        try:
            return source.magic.expand(text, lost)
        except ValueError as error:
            raise ConfigError(file=file, line=line, option=None, message=str(error)) from None

    # --- lines -------------------------------------------------------------------------------------------------------

    def _run(self, lines: Sequence[Line], source: Source) -> None:
        block: blocks.Block | None = None
        for key, value, file, line in lines:
            if not key:  # nothing in front of the '=', or a variable that is empty
                message = "no option in front of '=': the line is not read"
                self._notes.append(Note(file, line or None, "error", None, message))
            elif key in blocks.WORDS:
                block = self._logic(Item(key, value, file, line, source.via), block)
            elif block is None:
                self._take(Item(key, value, file, line, source.via))
            else:
                self._repeat(Item(key, value, file, line, source.via), block)
        if block is not None:
            opened = block.opened
            message = f"{opened.option} is not closed: the block ends with the file"
            self._notes.append(Note(opened.file, opened.line or None, "warning", opened.option, message))

    def _repeat(self, item: Item, block: blocks.Block) -> None:
        opened = block.opened
        for number, context in enumerate(block.values, 1):
            value, via = blocks.fill(block, item, context, MAX_TEXT - self._size), item.via
            if opened.option in blocks.LOOPS:
                via = (*via, f"{opened.file}:{opened.line}: {opened.option}, turn {number}")
            self._take(item._replace(value=value, via=via))

    def _logic(self, item: Item, block: blocks.Block | None) -> blocks.Block | None:
        if item.option in blocks.ENDS:
            if block is None:
                message = f"{item.option} closes nothing: no block is open"
                self._notes.append(Note(item.file, item.line or None, "warning", item.option, message))
            return None
        if item.option == "else":
            if block is None:
                raise _error(item, "else without if: no block is open")
            return blocks.turn(block, item)
        if block is not None:
            raise blocks.nested(block, item)
        if item.option not in ("if-opt", "if-not-opt"):
            item = item._replace(value=self._early(item))
        return blocks.open_block(item, self._facts)

    def _first(self, option: str) -> str | None:
        self.asked.add(option)
        found = self.definitions.get(option)
        return None if found is None else found.value

    def _take(self, item: Item) -> None:
        option = item.option
        if option not in WORDS:
            if option == "fallback-config":
                self.fallback = self._early(item) or None
            self._add(item, self.items)
        elif option == "inherit":
            self._grow(item)
            self._waiting.append(item)
        elif option in READERS:
            self._include(item, READERS[option])
        elif option in XML:
            self._source(item.value, "", (), item)
        elif option in self._inject:
            self._grow(item)
            self._inject[option].append(self.sources.full(self._early(item)))
        else:
            name, divided, value = item.value.partition("=")
            if not divided or not name.strip():
                raise _error(item, f"{option} = {item.value}: expected {option} = name=value")
            kept = item._replace(option=name.strip(), value=value.strip())
            if option == "set":
                self._take(kept)
            else:
                self._add(kept, self.placeholders)

    def _add(self, item: Item, to: list[Item]) -> None:
        self._grow(item)
        to.append(item)
        if item.option not in self.definitions:
            self.definitions[item.option] = item

    def _grow(self, item: Item) -> None:
        self._size += len(item.option) + len(item.value)
        if self._size > MAX_TEXT:
            raise _error(item, f"all options together have more than {MAX_TEXT} characters")
        if len(self.items) + len(self.placeholders) + len(self._waiting) >= ENTRIES:
            raise _error(item, f"more than {ENTRIES} options: does a loop repeat too often?")

    def _early(self, item: Item) -> str:
        """Fill in what is defined above this line; notes about the rest come with the value's own use."""
        if "(" not in item.value:
            return item.value
        expander = Expander(self.definitions, self.sources, [], self._made)
        value = expander.expand(item.value, item)
        self._made = expander.made
        self.asked |= expander.referenced
        return value


def _error(item: Item, message: str) -> ConfigError:
    return ConfigError(file=item.file, line=item.line, option=item.option, message=message)


def _shown(source: Source) -> str:
    return f"{source.path}:{source.section}" if source.section else source.path


def _no_section(source: Source, wanted: Sequence[str], found: frozenset[str]) -> Note:
    names = " or ".join(f"[{name}]" for name in wanted)
    there = ", ".join(f"[{name}]" for name in sorted(found) if name) or "none"
    return Note(source.path, None, "warning", None, f"no section {names} in this file: it has {there[:200]}")


def _decode(data: bytes, file: str) -> str:
    """Return the text; bytes that are not UTF-8 survive as they are, as in file names.

    Raises:
        ConfigError: a NUL.
    """
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        message = "a NUL character: this is not a text file"
        raise ConfigError(file=file, line=line, option=None, message=message)
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
