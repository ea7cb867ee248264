"""From entries to typed values, with a remark for each line that does not do what it seems to.

The one thing that can go wrong here is silence: every entry ends as a value, as a placeholder that something uses, or
in a note.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vassal.config.catalogue import plugin_verdict
from vassal.config.errors import Note
from vassal.config.language import ENVIRONMENT, SETS
from vassal.config.option import ACCEPTED, REFUSED, SUPPORTED
from vassal.config.settings import SocketSpec
from vassal.config.types import ADDRESS, ADDRESSES, PATH, PATHS, uncommented
from vassal.config.uwsgi_names import NAMES

if TYPE_CHECKING:
    from vassal.config.language import Entry, Reading
    from vassal.config.option import Option
    from vassal.config.table import Table

PLUGINS = frozenset(("plugin", "plugins", "need-plugin", "need-plugins"))
NOT_RUN = "@(exec://"
_PLAIN = (PATH, PATHS, ADDRESS, ADDRESSES)
"""Types in whose values a comment is a mistake, but cannot be cut off for sure."""
_SHOWN = 120
NOTES = 500
"""Remarks that are kept of one configuration; as many errors again."""
GUESSES = 30
"""Unknown names for which one that is like them is looked for: that takes some milliseconds each."""


class Build:
    """One build; `values` are fit for the settings' dataclass, `notes` grow as entries are taken."""

    def __init__(self, reading: Reading, table: Table) -> None:
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self._reading = reading
        self._table = table
        self.taken: list[tuple[Option, Entry, Any]] = []
        """Every line that gave a value: row, entry, value."""
        self._winners: dict[str, Entry] = {}
        self._sockets: list[tuple[Entry, str]] = []
        self._protocol = "uwsgi"
        self._strict = False
        self._guesses = 0
        self._ignored: frozenset[str] = frozenset()

    def run(self) -> None:
        """Take all entries of the reading."""
        self._look_ahead()
        for entry in self._reading.entries:
            row = self._table.own(entry.option)
            if row is not None and row.verdict == SUPPORTED:
                self._take(entry, row)
            else:
                self._other(entry)
        for entry in self._reading.placeholders:
            row = self._table.own(entry.option)
            if row is not None and not row.own:
                self._note(
                    entry, "warning", f"{entry.option} is set as a placeholder only: the option keeps its default"
                )
        self._finish_sockets()
        for name, value in self.values.items():
            if isinstance(value, list):
                self.values[name] = tuple(value)

    def _look_ahead(self) -> None:
        """Find what speaks about other lines, wherever it stands."""
        for entry in self._reading.entries:
            if entry.option == "strict":
                self._strict = uncommented(entry.value).lower() not in ("0", "no", "off", "false")
            elif entry.option == "ignore-refused":
                self._ignored |= frozenset(entry.value.replace(",", " ").split())

    # --- options of the table -------------------------------------------------------------------------------------

    def _take(self, entry: Entry, row: Option) -> None:
        if row.own and entry.option in self._reading.referenced:
            what = f"{entry.option} is an option here, and %({entry.option}) refers to it"
            self._note(entry, "warning", f"{what}: for a placeholder alone write set-ph = {entry.option}=…")
        kind = row.type
        if kind is None or NOT_RUN in entry.value:
            return
        text = entry.value
        if not text:
            if kind.bare is None:
                self._note(entry, "warning", f"{entry.option} has no value and is left as it was")
                return
            text = kind.bare
        elif kind.clean:
            text = self._cut(entry, text)
        elif kind in _PLAIN and uncommented(text) != text:
            self._note(entry, "warning", f"{entry.option}: the comment is part of the value; give it a line of its own")
        try:
            value = kind.read(text, lambda warning: self._note(entry, "warning", f"{entry.option}: {warning}"))
        except ValueError as error:
            self._bad(entry, str(error))
        else:
            self._keep(entry, row, value)

    def _bad(self, entry: Entry, allowed: str) -> None:
        message = f"{entry.option} = {_short(entry.value)}: {allowed}"
        if "${" in entry.value:
            message += "; ${NAME} is the shell's form: an environment variable is $(NAME) or $(NAME:-default) here"
        if entry.option in self._ignored:
            self._note(entry, "warning", f"{message} (ignored as ignore-refused says)")
        else:
            self._note(entry, "error", message)

    def _cut(self, entry: Entry, text: str) -> str:
        kept = uncommented(text)
        if kept == text:
            return text
        if kept:
            what = f"{entry.option}: the value is {_short(kept)}, what follows is cut off"
            self._note(entry, "warning", f"{what}: a comment needs a line of its own")
        return kept

    def _keep(self, entry: Entry, row: Option, value: Any) -> None:
        self.taken.append((row, entry, value))
        if row.protocol == "choice":
            self._protocol = self.values["protocol"] = str(value)
            return
        if row.protocol:
            self._sockets.append((entry, row.protocol))
            return
        if row.type is not None and row.type.many:
            self.values.setdefault(row.field, []).append(value)
            return
        before = self._winners.get(row.field)
        if before is not None and before.file == entry.file and self.values.get(row.field) != value:
            message = f"{entry.option} is set again; this line wins over {before.option} = {_short(before.value)}"
            where = f" of line {before.line}" if before.line else ""
            self._note(entry, "warning", message + where)
        self._winners[row.field] = entry
        self.values[row.field] = value

    def _finish_sockets(self) -> None:
        default = "http" if self._protocol.startswith("http") else "uwsgi"
        specs: dict[str, SocketSpec] = {}
        for entry, protocol in self._sockets:
            address = entry.value
            if address in specs:
                where = f" in line {specs[address].line}" if specs[address].file == entry.file else ""
                self._note(entry, "warning", f"{entry.option}: {address} is already named{where}; that line counts")
                continue
            spoken = default if protocol == "default" else protocol
            specs[address] = SocketSpec(spoken, address, entry.file, entry.line)
        if specs:
            self.values["sockets"] = tuple(specs.values())

    # --- all other names ------------------------------------------------------------------------------------------

    def _other(self, entry: Entry) -> None:
        row = self._table.find(entry.option)
        if row is None:
            self._unknown(entry)
            return
        verdict, reason = row.verdict, row.reason
        if entry.option in PLUGINS:
            verdict, reason = plugin_verdict(entry.value) or (verdict, reason)
        said = f"{entry.option} {'is refused' if verdict == REFUSED else 'has no effect'}: {reason}"
        if row.instead:
            said += f"; {row.instead}"
        if verdict == ACCEPTED:
            self._note(entry, "warning" if row.misplaced else "info", said)
        elif entry.option in self._ignored:
            self._note(entry, "warning", f"{entry.option} is refused, and ignored as ignore-refused says: {reason}")
        else:
            self._note(entry, "error", f"{said} (or ignore-refused = {entry.option})")

    def _unknown(self, entry: Entry) -> None:
        if entry.option in self._reading.referenced or entry.file in (ENVIRONMENT, SETS):
            return
        message = f"unknown option '{_short(entry.option)}'"
        self._guesses += 1
        guess = likely(entry.option, self._table) if self._guesses <= GUESSES else None
        if guess:
            message += f": did you mean '{guess}'?"
        else:
            message += ": no option has this name, and no %(…) refers to it"
        self._note(entry, "error" if self._strict else "warning", message)

    def _note(self, entry: Entry, level: str, message: str) -> None:
        if len(self.notes) >= NOTES and level != "error":
            return
        if len(self.notes) >= 2 * NOTES:
            return
        self.notes.append(Note(entry.file, entry.line or None, level, entry.option, message))


def likely(name: str, table: Table) -> str | None:
    """Return the option that was probably meant by `name`, or None."""
    import difflib  # noqa: PLC0415 - few files hold a mistake, every start would pay

    if len(name) > 60:
        return None
    plain = re.sub(r"[_\s]+", "-", name.strip().lower())
    own = table.names()
    if plain in own or plain in NAMES:
        return plain
    for known, likeness in ((own, 0.8), (NAMES, 0.88)):
        close = difflib.get_close_matches(plain, known, n=1, cutoff=likeness)
        if close:
            return close[0]
    return None


def _short(text: str) -> str:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return "".join(char if char.isprintable() else "?" for char in shown)
