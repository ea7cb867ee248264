"""Chunked request bodies (RFC 9112 section 7.1): framed here by a strict grammar, decoded by httptools.

Two readings that must agree: the grammar decides how far each chunk and the body reach, llhttp hands out the data.
The one danger is a body that ends somewhere else for a proxy in front of us: hence no blanks around sizes, no bare LF,
no sizes that overflow, and bounds on everything that carries no data.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httptools

from vassal.protocol import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_LIMIT = 512
"""Bytes of a chunk's size line with its extensions (RFC 9112 section 7.1.1 wants a limit)."""
TRAILER_LIMIT = 8192
"""Bytes of all trailer fields together."""
WASTE_LIMIT = 65536
"""Bytes of size lines beyond what the data justifies: one byte a chunk makes us work without end (CVE-2023-39326)."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # RFC 9110 section 5.6.2
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'  # section 5.6.4
_EXTENSION = rb";[\t ]*+" + _TOKEN + rb"(?:[\t ]*+=[\t ]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
# Not possessive: before Python 3.11.5 what follows such a group may match behind a failed attempt of it (gh-106052).
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*").fullmatch
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[\t\x20-\x7e\x80-\xff]*").fullmatch
_SYNTHETIC = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_FORBIDDEN = frozenset(
    {
        b"transfer-encoding", b"content-length", b"host", b"trailer", b"te", b"connection", b"upgrade", b"expect",
        b"authorization", b"proxy-authorization", b"cookie", b"content-encoding", b"content-type", b"content-range",
        b"cache-control", b"max-forwards", b"range", b"proxy", b"x-forwarded-for", b"x-forwarded-proto", b"forwarded",
    }
)  # fmt: skip
"""Trailers that change framing, routing or rights (RFC 9110 section 6.5.1); all others are read and dropped."""

_SIZE_LINE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class ChunkedBody:
    """Decodes one body, fed in any pieces; `write` gets the data."""

    __slots__ = ("_left", "_line", "_parser", "_state", "_trailer", "_waste", "_whole", "_write", "limit", "received")

    def __init__(self, write: Callable[[bytes], object], limit: int = 0) -> None:
        self._write = write
        self.limit = limit
        self.received = 0
        self._left = 0
        self._line = b""
        self._state = _SIZE_LINE
        self._trailer = 0
        self._waste = 0
        self._whole = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_SYNTHETIC)

    def on_body(self, data: bytes) -> None:
        """Called by llhttp with decoded data."""
        self.received += len(data)
        self._write(data)

    def on_message_complete(self) -> None:
        """Called by llhttp where it sees the end of the body."""
        self._whole = True

    def feed(self, data: bytes) -> bytes | None:
        """Take `data`; return what follows the body once it is complete (maybe ``b""``), None before.

        Raises:
            Refused: the body is malformed or larger than `limit` (0: no limit).
        """
        if self._line:
            data, self._line = self._line + data, b""
        position = 0
        while position < len(data):
            if self._state == _DATA:
                position = self._data(data, position)
                continue
            if self._state == _DATA_END:
                if len(data) - position < 2:
                    break
                if data[position : position + 2] != b"\r\n":
                    raise Refused(400, "a chunk longer than its size")
                self._pass(b"\r\n")
                position += 2
                self._state = _SIZE_LINE
                continue
            end = data.find(b"\r\n", position)
            self._check_open_line(data, position, end)
            if end < 0:
                break
            line = data[position:end]
            position = end + 2
            self._size(line) if self._state == _SIZE_LINE else self._field(line)
            if self._state == _DONE:
                return data[position:]
        self._line = data[position:]
        return None

    def _check_open_line(self, data: bytes, position: int, end: int) -> None:
        limit = LINE_LIMIT if self._state == _SIZE_LINE else TRAILER_LIMIT
        if (len(data) if end < 0 else end) - position > limit:
            raise Refused(400 if self._state == _SIZE_LINE else 431, "a line too long in a chunked body")
        if end < 0 and data.find(b"\n", position) >= 0:
            raise Refused(400, "a bare LF in a chunked body")

    def _data(self, data: bytes, position: int) -> int:
        piece = data[position : position + self._left]
        self._pass(piece)
        self._left -= len(piece)
        if not self._left:
            self._state = _DATA_END
        return position + len(piece)

    def _size(self, line: bytes) -> None:
        match = _SIZE(line)
        if match is None:
            raise Refused(400, "a malformed chunk size")
        size = int(match[1], 16)
        if self.limit and self.received + size > self.limit:
            raise Refused(413, f"a chunked body of more than {self.limit} bytes (limit-post)")
        self._waste = max(0, self._waste + len(line) - size // 4)
        if self._waste > WASTE_LIMIT:
            raise Refused(400, "chunks of almost nothing")
        # Extensions mean nothing to us (RFC 9112 section 7.1.1: ignore what is not known), so llhttp never sees them.
        # But they must be some: readers differ about where a line with a lone quote or semicolon ends.
        self._pass(match[1] + b"\r\n")
        self._left = size
        self._state = _DATA if size else _TRAILER

    def _field(self, line: bytes) -> None:
        if not line:
            self._pass(b"\r\n")
            if not self._whole:
                raise Refused(400, "a chunked body on whose end two readers disagree")
            self._state = _DONE
            return
        match = _FIELD(line)
        if match is None:
            raise Refused(400, "a malformed trailer")
        if match[1].lower() in _FORBIDDEN:
            raise Refused(400, "a forbidden trailer")
        self._trailer += len(line)
        if self._trailer > TRAILER_LIMIT:
            raise Refused(431, "too many trailers")

    def _pass(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Refused(400, f"a malformed chunked body: {error}") from None
        if self._whole and self._state != _TRAILER:
            raise Refused(400, "a chunked body on whose end two readers disagree")
