"""The option reference, made from the option tables: ``python -m emperor.reference docs/options.md``.

The one danger is a page that says something else than the code. So nothing is written here that the tables and the
settings' defaults do not hold, and a test fails when the page is stale.
"""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from emperor.options import OPTIONS
from emperor.settings import EMPEROR, EmperorSettings
from vassal.config import Settings
from vassal.config.option import ACCEPTED, REFUSED, SUPPORTED, VERDICTS, Option
from vassal.config.options import app, beside, logs, serve, words
from vassal.config.table import VASSAL
from vassal.config.uwsgi_names import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEANINGS = {
    SUPPORTED: "works, as told below",
    ACCEPTED: "may stand in a file and has no effect here",
    REFUSED: "would mislead if it were ignored: an error, unless `ignore-refused = NAME` lists it",
}
FAMILIES = (
    ("The app, processes and reload", app.OPTIONS),
    ("Sockets and protocols", serve.OPTIONS),
    ("Logs and statistics", logs.OPTIONS),
    ("Daemons, cron, static files and hooks", beside.OPTIONS),
    ("The language of the files", words.OPTIONS),
)
_OCTAL = frozenset(("chmod_socket", "umask", "logfile_chmod"))


def verdicts() -> dict[str, Option]:
    """Return the row of every name that is known; an option of the emperor as its own file sees it."""
    found: dict[str, Option] = {}
    for name in sorted(NAMES | VASSAL.names() | EMPEROR.names()):
        row = VASSAL.own(name) or EMPEROR.own(name) or VASSAL.find(name)
        if row is None:
            raise ValueError(f"no table knows {name}")
        found[name] = row
    return found


def page() -> str:
    """Return the whole page as Markdown."""
    known = verdicts()
    lines = [
        "# Options",
        "",
        *_counts(known),
        "Names are those of uWSGI; **own** marks what only Emperor has. Every line below is made from the table that",
        "reads the files (`python -m emperor.reference docs/options.md`).",
        "",
        "Sizes take `k`, `m` and `g`. Flags are true if the name stands alone, and take `true`, `yes`, `on`, `1` and",
        "`false`, `no`, `off`, `0`. A *list* may be given many times; of all others the last line wins.",
        "",
        "# In a vassal's file",
        "",
    ]
    values = defaults_of(Settings)
    for title, rows in FAMILIES:
        lines += [f"## {title}", "", *_table(rows, values), ""]
    own = tuple(row for row in OPTIONS if row.verdict == SUPPORTED)
    lines += ["# In the emperor's file", "", *_table(own, defaults_of(EmperorSettings)), ""]
    for verdict, title in ((ACCEPTED, "Without effect"), (REFUSED, "Refused")):
        lines += [f"# {title}", "", *_grouped(known, verdict), ""]
    return "\n".join(lines).rstrip() + "\n"


def _counts(known: Mapping[str, Option]) -> list[str]:
    lines = [f"Of {len(known)} names that are known,", "", "| verdict | names | which |", "|---|---:|---|"]
    for verdict in VERDICTS:
        number = sum(row.verdict == verdict for row in known.values())
        lines.append(f"| {verdict} | {number} | {MEANINGS[verdict]} |")
    return [*lines, ""]


def defaults_of(settings: type[Settings | EmperorSettings]) -> dict[str, Any]:
    """Return the default of each field by its name."""
    return {field.name: field.default for field in fields(settings)}


def _table(rows: Iterable[Option], values: Mapping[str, Any]) -> list[str]:
    lines = ["| option | value | default | what it does |", "|---|---|---|---|"]
    for row in rows:
        names = ", ".join(f"`{name}`" for name in (row.name, *row.aliases))
        mark = " **own**" if row.own else ""
        text = f"*{row.verdict}:* {row.help}" if row.verdict != SUPPORTED else row.help
        lines.append(f"| {names}{mark} | {value_of(row)} | {default_of(row, values)} | {_cell(text)} |")
    return lines


def value_of(row: Option) -> str:
    """Return what kind of value an option takes, as a cell of Markdown; '' for a row without a type."""
    if row.type is None:
        return ""
    name = " or ".join(f"`{word}`" for word in row.type.words) if row.type.words else row.type.name
    return _cell(f"{name} ({row.type.unit})" if row.type.unit else name)


def default_of(row: Option, values: Mapping[str, Any]) -> str:
    """Return an option's default as its file would write it; '' for none. `values` are by field, as `defaults_of`."""
    value = values.get(row.field)
    if value is None or value == () or row.type is None or row.type.many:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:o}" if row.field in _OCTAL else _cell(f"{value:g}" if isinstance(value, float) else str(value))


def _grouped(known: Mapping[str, Option], verdict: str) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, row in known.items():
        if row.verdict == verdict:
            groups.setdefault((row.reason, row.instead), []).append(name)
    lines = ["| names | why | instead |", "|---|---|---|"]
    for (reason, instead), names in sorted(groups.items(), key=lambda group: group[1]):
        listed = " ".join(f"`{name}`" for name in names)
        lines.append(f"| {listed} | {_cell(reason)} | {_cell(instead)} |")
    return lines


def _cell(text: str) -> str:
    """Escape what would end a cell."""
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page to the file that is named, or to standard output; return the exit status."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m emperor.reference [FILE]\n")
        return 2
    text = page()
    if not arguments:
        sys.stdout.write(text)
        return 0
    beside_it = f"{arguments[0]}.new"
    with open(beside_it, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside_it, arguments[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
