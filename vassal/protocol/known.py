"""Heads that repeat: of one that ends as the head before it on its connection, only the first line is read again.

A browser's or a proxy's requests differ in little but their targets, and the fields are most of the work. The one
danger is that a head is read otherwise because of what came before it. So it must end with exactly the remembered
bytes, what stands before them must be a plain method and path, and what says something about one request alone (how it
is framed, whether the connection ends) is not remembered at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from vassal.protocol import CHUNKED, Request

if TYPE_CHECKING:
    from vassal.protocol import Talk

KNOWN_LINE = re.compile(
    rb"(GET|POST|PUT|DELETE|PATCH) (/[\x21\x22\x24-\x3e\x40-\x7e]*+)(?:\?([\x21\x22\x24-\x7e]*+))?"
).fullmatch
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")}
_TAIL_LENGTH = 8192
"""Bytes of fields that a connection remembers: it may be idle for long, and one of thousands."""


def again(line: re.Match[bytes], talk: Talk) -> Request:
    """Return the request for a line in origin form whose fields are known."""
    method, path, query = line.groups()
    environ = talk.common.copy()
    environ["REQUEST_METHOD"] = METHODS[method]
    text = path.decode("ascii")
    if query is not None:
        environ["QUERY_STRING"] = words = query.decode("ascii")
        environ["REQUEST_URI"] = f"{text}?{words}"
    else:
        environ["REQUEST_URI"] = text
    if "%" in text:
        text = unquote_to_bytes(path).decode("latin-1")
    environ["PATH_INFO"] = text
    request = Request(environ)
    if talk.length:
        request.length = talk.length
    return request


def remember(talk: Talk, request: Request, match: re.Match[bytes]) -> None:
    """Keep the fields of `request` for the next one, if they say nothing about this one alone."""
    if (
        not request.plain
        or request.length == CHUNKED
        or match.end() - match.end(2) > _TAIL_LENGTH
        or match[2][0] != 47  # "/": an absolute target has replaced the Host
        or match[1] not in METHODS
    ):
        talk.tail = b""
        return
    talk.common = request.environ.copy()
    talk.common["QUERY_STRING"] = ""
    talk.length = request.length
    talk.tail = match.string[match.end(2) : match.end()]
