"""``log-format``: text with ``%(…)`` variables to a function from an `Entry` to its line; and uWSGI's default line.

The one danger is a variable that nobody knows: it is told by `check`, and printed as ``-`` like one that is empty.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from vassal.logbook.escape import Escaped
from vassal.logbook.variables import ENVIRON, FACTS, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.logbook.variables import Place

    Row = tuple[Any, ...]
    """What is alike in many requests (`KEY` values), then when one began and ended (CLOCK_MONOTONIC)."""

    Form = Callable[[Entry], str]

VARIABLE = re.compile(r"%\(([^()]+)\)")
_JSON_WORD = "json"
_ALIKE = 4096
QUICK = ("REQUEST_URI", "REQUEST_METHOD", "REMOTE_ADDR", "REMOTE_USER", "SERVER_PROTOCOL")
"""What the default line tells of a request."""
KEY = 11
"""How many values of a row say what its line looks like."""
_FIELDS = (
    "time iso|addr|user|method|uri|proto|status #|size #|rsize #|micros #|host|referer|uagent|pid #|wid #|core #|"
    "ioerr #"
)
"""Of `JSON_LINE`: name, then the variable where it has another name, or ``#`` for a number."""


def _json_line() -> str:
    """Return the format that ``log-format = json`` stands for."""
    fields = []
    for field in _FIELDS.split("|"):
        name, _, source = field.partition(" ")
        fields.append(f'"{name}":%({name})' if source == "#" else f'"{name}":"%({source or name})"')
    return "{" + ",".join(fields) + "}"


JSON_LINE = _json_line()


def is_json(text: str) -> bool:
    """Tell whether lines of this format are JSON objects, in which values are escaped as JSON wants it."""
    stripped = text.strip()
    return stripped == _JSON_WORD or (stripped.startswith("{") and stripped.endswith("}"))


def tells_errors(text: str) -> bool:
    """Tell whether a format says if its client was there to the end."""
    return text.strip() == _JSON_WORD or not {"werr", "ioerr"}.isdisjoint(VARIABLE.findall(text))


def unknown(text: str) -> list[str]:
    """Return the variables of a format that nobody knows."""
    return [name for name in dict.fromkeys(VARIABLE.findall(text)) if not _known(name)]


def _known(name: str) -> bool:
    prefix, dot, rest = name.partition(".")
    return name in ENVIRON or name in FACTS or (bool(dot and rest) and prefix in ("var", "cookie"))


def compile_format(text: str) -> Form:
    """Return the function that makes the line (without its end) for `text`, the value of ``log-format``."""
    json = is_json(text)
    own = text.strip() == _JSON_WORD
    if own:
        text = JSON_LINE
    escaped = Escaped("json" if json else "plain", empty="" if own else "-")
    parts: list[str] = []
    keys: list[str] = []
    facts: list[str] = []
    cookies: list[str] = []
    position = 0
    for match in VARIABLE.finditer(text):
        parts.append(_literal(text[position : match.start()]))
        position = match.end()
        parts.append(_slot(match[1], keys, facts, cookies))
    parts.append(_literal(text[position:]))
    return _maker("".join(parts), keys, facts, cookies, escaped)


def _slot(name: str, keys: list[str], facts: list[str], cookies: list[str]) -> str:
    """Note what a variable needs; return its place in the template."""
    if name in ENVIRON or name.startswith("var."):
        return _place("e", keys, ENVIRON.get(name) or name.removeprefix("var."))
    if name in FACTS:
        return _place("f", facts, name)
    if name.startswith("cookie."):
        return _place("c", cookies, name.removeprefix("cookie."))
    return "-"


def _place(kind: str, names: list[str], name: str) -> str:
    if name not in names:
        names.append(name)
    return f"{{{kind}[{names.index(name)}]}}"


def _literal(text: str) -> str:
    # A line stays one line, whatever an ini file's placeholders have put here.
    return text.replace("{", "{{").replace("}", "}}").replace("\n", " ").replace("\r", " ")


def _maker(template: str, keys: list[str], facts: list[str], cookies: list[str], escaped: Escaped) -> Form:
    fill = template.format
    look = escaped.__getitem__
    # Attributes are fetched by C code, several at once.
    fetch: Callable[[Any], Any] = attrgetter(*facts) if len(facts) > 1 else lambda _entry: ()
    if len(facts) == 1:
        one = attrgetter(facts[0])
        fetch = lambda entry: (one(entry),)  # noqa: E731 (the same shape as above)
    nothing = ("",) * len(keys)

    def make(entry: Entry) -> str:
        environ = entry.environ
        try:
            values = list(map(look, map(environ.get, keys, nothing)))
        except TypeError:  # an app has put something else than a text there
            values = [look(str(environ.get(key, ""))) for key in keys]
        words = [look(_cookie(environ, name)) for name in cookies] if cookies else ()
        return fill(e=values, f=fetch(entry), c=words)

    return make


def _cookie(environ: dict[str, Any], name: str) -> str:
    """Return the value of the cookie `name` (RFC 6265 section 4.2), ``""`` where there is none."""
    for pair in str(environ.get("HTTP_COOKIE", "")).split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


class DefaultLine:
    """uWSGI's line, as its parsers expect it: ``[pid: 7|app: 0|req: 1/1] 127.0.0.1 () {…} [date] GET / => …``.

    All of a line but its counters and its time is the same for all requests of one second that are alike, and is made
    once for them.
    """

    def __init__(self, place: Place, *, micros: bool = False) -> None:
        self._place = place
        self._clock = place.clock
        self._factor = 1e6 if micros else 1e3
        self._unit = "micros" if micros else "msecs"
        self._begin = f"[pid: {place.pid}|app: "
        self._common = f"{self._begin}0|req: "
        self._look = Escaped(empty="").__getitem__
        self._second = -1
        self._alike: dict[tuple[object, ...], tuple[str, str]] = {}
        self.own = 0
        """Requests that this worker's app has answered."""
        self.others = 0
        """Those of the vassal's other workers, as of the last batch."""

    def __call__(self, entry: Entry) -> str:
        """Return the line, without its end."""
        middle, end = self._halves(entry)
        app = entry.app
        count = self.own if app >= 0 else -1
        took = int(entry.took * self._factor)
        return f"{self._begin}{app}|req: {count}/{self.own + self.others}{middle}{took}{end}"

    def quick(self, rows: Sequence[str | Row]) -> list[str]:
        """Return the lines of responses that were sent whole; what is a line already is passed on."""
        lines = []
        ahead = self._clock.ahead
        others = self.others
        factor = self._factor
        common = self._common
        alike = self._alike
        for row in rows:
            if isinstance(row, str):
                lines.append(row)
                continue
            key, began = row[:KEY], row[KEY]
            second = int(began + ahead)
            if second != self._second or len(alike) > _ALIKE:
                self._second = second
                alike.clear()
            halves = alike.get(key)
            if halves is None:
                halves = alike[key] = self._halves(self._entry(key, began))
            took = row[KEY + 1] - began
            self.own = own = self.own + 1
            lines.append(f"{common}{own}/{own + others}{halves[0]}{int(took * factor)}{halves[1]}")
        return lines

    def _entry(self, key: tuple[Any, ...], began: float) -> Entry:
        """Return what the key of a `Row` stands for."""
        *words, status, sent, size, parts, head_only, told, core = key
        environ = {name: value for name, value in zip(QUICK, (*words, told[2]), strict=True) if value is not None}
        entry = Entry(environ, int(status[:3]), began, self._place)
        entry.told = told
        entry.core = core
        fill(entry, sent, size, parts, head_only=head_only)
        return entry

    def _halves(self, entry: Entry) -> tuple[str, str]:
        """Return what stands between the counters and the time, and what stands behind that."""
        environ = entry.environ
        look = self._look
        uri, method, addr, user, proto = (look(str(environ.get(key, ""))) for key in QUICK)
        middle = (
            f"] {addr} ({user}) {{{entry.vars} vars in {entry.pktsize} bytes}} [{entry.ctime}] {method} {uri} => "
            f"generated {entry.rsize} bytes in "
        )
        end = (
            f" {self._unit} {entry.via}({proto} {entry.status}) {entry.headers} headers in {entry.hsize} bytes "
            f"(1 switches on core {entry.core})"
        )
        return middle, end


def fill(entry: Entry, sent: int, size: int, parts: int, *, head_only: bool) -> None:
    """Put the sizes of a response that was sent whole into `entry`; see `RequestLog.small`."""
    if head_only:
        entry.hsize = sent
        entry.headers = parts - 2
    else:
        entry.rsize = size
        entry.hsize = sent - size
        entry.headers = parts - 3
