"""The heads of responses: status lines, header fields and the fields that we add, as ready-made bytes.

The one danger is response splitting: bytes that an app took from a client and put into a header. Everything is checked
once and then looked up; what the check refuses is the app's error and is never sent.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus

from vassal import httpdate

LENGTH, DATE, SERVER, CONNECTION, FRAMING = range(1, 6)
"""Kinds of fields that the worker must know of. FRAMING ones are ours alone to send (RFC 9112 section 6.1)."""

SERVER_NAME = b"emperor"
_SPECIAL = {
    "content-length": LENGTH,
    "date": DATE,
    "server": SERVER,
    "connection": CONNECTION,
    "keep-alive": FRAMING,
    "transfer-encoding": FRAMING,
    "trailer": FRAMING,
}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_BAD_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]").search  # RFC 9110 section 5.5; what is not latin-1 included
_STATUS = re.compile(r"([2-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch
_NUMBER = re.compile(r"[0-9]{1,18}").fullmatch
_KEPT = 1024
_KEPT_LENGTH = 128


class BadResponse(ValueError):  # noqa: N818 (what it is; the app meets it under this name)
    """The app's status or a header of it cannot be sent (PEP 3333, RFC 9110 section 5)."""


class Special:
    """A field that means something to the worker: its `kind`, its `line` and, for a Content-Length, its `number`."""

    __slots__ = ("kind", "line", "number", "value")

    def __init__(self, kind: int, line: bytes, value: str) -> None:
        self.kind = kind
        self.line = line
        self.value = value
        self.number = 0
        if kind == LENGTH:
            if _NUMBER(value.strip(" \t")) is None:
                raise BadResponse(f"a Content-Length that is no number: {value!r}")
            self.number = int(value)


class BodylessLine(bytes):
    """The status line of a response that never has a body: 204, 304 (RFC 9110 section 6.4.1; an app sends no 1xx)."""

    __slots__ = ()


class StatusLines(dict[str, bytes]):
    """``"200 OK"`` to its status line; made once for each status."""

    def __missing__(self, status: str) -> bytes:
        if type(status) is not str:
            if not isinstance(status, str):
                raise BadResponse(f"the status must be a str, not {type(status).__name__}")
            return self[str.__str__(status)]  # a subclass: see `make_line`
        if _STATUS(status) is None:
            raise BadResponse(f"not a status from 200 to 599 with its reason: {status!r}")
        code, _, reason = status.partition(" ")
        line = f"HTTP/1.1 {code} {reason}\r\n".encode("latin-1")
        if code in ("204", "304"):
            line = BodylessLine(line)
        if len(self) < _KEPT and len(status) < _KEPT_LENGTH:
            self[status] = line
        return line


class HeaderLines(dict[tuple[str, str], "bytes | Special"]):
    """(name, value) to its line, or to a `Special`; made once for each short and common pair."""

    def __missing__(self, pair: tuple[str, str]) -> bytes | Special:
        return make_line(pair, self)


def make_line(pair: tuple[str, str], kept: HeaderLines | None = None) -> bytes | Special:
    """Return the line for one (name, value) of an app, checked.

    Raises:
        BadResponse: not two strings, a name that is no token, a value with CR, LF, NUL or beyond latin-1.
    """
    if len(pair) != 2:
        raise BadResponse(f"a header must be a pair (name, value), not {pair!r}")
    name, value = pair
    if type(name) is not str or type(value) is not str:
        if not (isinstance(name, str) and isinstance(value, str)):
            raise BadResponse(f"a header's name and value must be str: {pair!r}")
        name, value, kept = str(name), str(value), None  # a subclass (SafeString, yarl): its hash is its own affair
    if _NAME(name) is None:
        raise BadResponse(f"not a header name: {name!r}")
    if _BAD_VALUE(value) is not None:
        raise BadResponse(f"the value of {name} holds a control character or one beyond latin-1: {value!r}")
    line = f"{name}: {value}\r\n".encode("latin-1")
    lower = name.lower()
    if lower in _removed:
        line = b""
    kind = _SPECIAL.get(lower, 0)
    made: bytes | Special = Special(kind, line, value) if kind else line
    if kept is not None and len(kept) < _KEPT and len(line) < _KEPT_LENGTH and lower not in _PERSONAL:
        kept[name, value] = made
    return made


_LEFT_OUT = frozenset({"server", "connection", "keep-alive"})
"""Fields of ``add-header`` that are not added: ours has that value then, or says what is true of the connection."""
_PERSONAL = frozenset({"set-cookie", "location", "etag", "last-modified", "expires"})
"""Fields of ever-changing or private value: not worth keeping."""

_removed: set[str] = set()
"""Names that are taken out of every response, lower-case."""


def remove_headers(names: tuple[str, ...]) -> None:
    """Take these fields out of all responses from now on (``rem-header``), our own ``Server`` included.

    Raises:
        BadResponse: a field that says where a message ends, or that every response has to have.
    """
    for name in names:
        lower = name.strip().lower()
        if lower in _SPECIAL and lower != "server":
            raise BadResponse(f"rem-header = {name}: this field is the server's own to set")
        _removed.add(lower)
    HEADER_LINES.clear()


STATUS_LINES = StatusLines()
HEADER_LINES = HeaderLines()


class Stamp:
    """The fields that we add to each response, made anew when the second changes.

    Attributes:
        keep: ``Server``, ``Date``, the vassal's ``add-header`` lines and the empty line.
        close: the same with ``Connection: close``.
        keep_old: the same with ``Connection: keep-alive``, for HTTP/1.0.
    """

    __slots__ = ("_extra", "_second", "_server", "close", "keep", "keep_old")

    def __init__(self, add_header: tuple[str, ...] = ()) -> None:
        lines = [(text.partition(":")[0].strip().lower(), text) for text in add_header]
        named = [_own_line(text) for name, text in lines if name == "server"]
        self._server = named[-1] if named else b"Server: " + SERVER_NAME + b"\r\n"
        self._extra = b"".join(_own_line(text) for name, text in lines if name not in _LEFT_OUT)
        self._second = -1
        self.keep = self.close = self.keep_old = b""
        self.refresh()

    def refresh(self) -> None:
        """Bring the date up to now; cheap while the second is the same."""
        second = int(time.time())
        if second == self._second:
            return
        self._second = second
        self.keep = self.fields(date=True, server=True, connection=b"")
        self.close = self.fields(date=True, server=True, connection=b"Connection: close\r\n")
        self.keep_old = self.fields(date=True, server=True, connection=b"Connection: keep-alive\r\n")

    def fields(self, *, date: bool, server: bool, connection: bytes) -> bytes:
        """Return our fields and the empty line, without those that the app has sent itself."""
        lines = [self._server] if server and "server" not in _removed else []
        if date:  # RFC 9110 section 6.6.1
            lines += [b"Date: ", httpdate.written(self._second).encode(), b"\r\n"]
        return b"".join((*lines, self._extra, connection, b"\r\n"))


def _own_line(text: str) -> bytes:
    name, colon, value = text.partition(":")
    if not colon:
        raise BadResponse(f"add-header = {text}: not of the form 'Name: value'")
    made = make_line((name.strip(), value.strip()))
    if isinstance(made, Special):
        if made.kind == SERVER:
            return made.line
        raise BadResponse(f"add-header = {text}: this field is the server's own to set")
    return made


def error_page(status: int, text: str = "") -> tuple[bytes, bytes]:
    """Return the status line with content fields, and the body, of an answer of our own."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    body = (text or f"{status} {phrase}").encode() + b"\n"
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode(), body
