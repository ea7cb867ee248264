"""HTTP/1.1 requests: framed and judged here, taken apart by httptools (llhttp).

A head is read by two readers that must agree: a strict grammar (RFC 9110, RFC 9112) decides what a head is, then llhttp
splits it into fields. The one danger is request smuggling: each leniency of a parser is an offer to somebody who talks
to us through a proxy with other leniencies. So whatever the grammar does not know is refused and the connection closed.
"""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from vassal.protocol import CHUNKED, Refused, Request, Talk
from vassal.protocol.known import KNOWN_LINE, METHODS, again, remember

OLDEST_HTTPTOOLS = (0, 6, 4)
"""llhttp 9 with its strict defaults. Debian 12 has 0.1.1, whose parser (http_parser) is lax and unmaintained."""
MAX_HEADERS = 256  # fields: buffer-size bounds their bytes, this bounds our work for them

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # RFC 9110 section 5.6.2
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 section 5.5: no control characters but the tab
_TARGET = rb"[\x21\x22\x24-\x7e]"  # RFC 9112 section 3.2: no blanks, no control characters, no fragment
HEAD = re.compile(
    rb"(" + _TOKEN + rb"++) (" + _TARGET + rb"++) HTTP/1\.([01])\r\n(?:" + _TOKEN + rb"++:" + _VALUE + rb"*+\r\n)*+\r\n"
).fullmatch
_METHOD = re.compile(rb"[A-Z][0-9A-Z_-]{0,63}").fullmatch  # beyond llhttp's list: what other servers take, too
_START = re.compile(_TOKEN).match
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"++) (" + _TARGET + rb"++) (HTTP/[0-9]\.[0-9])\r\n").match
_BARE = re.compile(rb"(?<!\r)\n|\r[^\n]").search
_FIELD = re.compile(_TOKEN + rb"++:" + _VALUE + rb"*+").fullmatch
_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch  # ASCII digits only; int() would take "+1", " 1" and "1_0", too
_HOST = re.compile(r"(?:[0-9A-Za-z._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch
_ABSOLUTE = re.compile(r"[hH][tT][tT][pP][sS]?://([^/?#]*)(.*)", re.DOTALL).fullmatch

_PROTOCOLS = {b"0": "HTTP/1.0", b"1": "HTTP/1.1"}
_SINGLE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"})
"""Fields of which a second one is refused: the two ends of a chain would each pick another."""
_DROPPED = frozenset({b"proxy"})  # HTTP_PROXY would steer the app's own outgoing requests (httpoxy, CVE-2016-5385)
_KEYS_KEPT = 2048
_HOSTS_KEPT = 1024
_KEPT_LENGTH = 128
"""Bytes of a name that is kept: clients choose them, and those kept are never forgotten."""

_keys: dict[bytes, str] = {}
_good_hosts: set[str] = set()


@functools.cache
def check_httptools(version: str | None = None) -> str | None:
    """Return why the installed httptools cannot be used and what to do, or None if it can.

    Args:
        version: the version to judge, for tests; default: the imported one's.
    """
    text = version or str(getattr(httptools, "__version__", "0"))
    numbers = tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])
    if numbers >= OLDEST_HTTPTOOLS:
        return None
    wanted = ".".join(map(str, OLDEST_HTTPTOOLS))
    place = getattr(httptools, "__file__", "?")
    return (
        f"httptools {text} ({place}) is too old: its parser accepts requests that must be refused; "
        f"install httptools >= {wanted} (pip install 'httptools>={wanted}')"
    )


def environ_key(name: bytes) -> str:
    """Return the environ key for the header field `name`, ``""`` for one that is dropped.

    A name with an underscore is dropped: ``X_Real_Ip`` and ``X-Real-Ip`` would share one key, and a proxy that guards
    the second would let the first through.
    """
    if b"_" in name or name.lower() in _DROPPED:
        key = ""
    else:
        text = name.decode("ascii").upper().replace("-", "_")
        key = text if text in ("CONTENT_LENGTH", "CONTENT_TYPE") else "HTTP_" + text
    if len(_keys) < _KEYS_KEPT and len(name) <= _KEPT_LENGTH:
        _keys[name] = key
    return key


class HeadReader:
    """Takes a head apart by llhttp; one object for many requests, one request at a time."""

    __slots__ = ("environ", "parser", "problem", "trim", "whole")

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.problem = ""
        self.trim = False
        self.whole = False
        self.parser = httptools.HttpRequestParser(self)

    def on_message_complete(self) -> None:
        """Called by llhttp where it sees the end of the request: with the head, if there is no body."""
        self.whole = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each field, in order."""
        key = _keys.get(name)
        if key is None:
            key = environ_key(name)
        if not key:
            return
        text = value.decode("latin-1")
        if self.trim:  # llhttp leaves blanks at the end of a value; they are no part of it (RFC 9110 section 5.5)
            text = text.strip(" \t")
        environ = self.environ
        if key not in environ:
            environ[key] = text
            return
        if key in _SINGLE:
            self.problem = "a field that may come once came twice: " + key
        elif key == "HTTP_COOKIE":
            environ[key] += "; " + text  # RFC 9113 section 8.2.3
        else:
            environ[key] += ", " + text  # RFC 9110 section 5.3


class HttpProtocol:
    """Heads to requests, under the limits of one vassal. Used by all threads, by each for its own connection."""

    def __init__(self, *, buffer_size: int, limit_post: int = 0, keep_alive: bool = True) -> None:
        self.buffer_size = buffer_size
        self.limit_post = limit_post
        self.keep_alive = keep_alive
        self._readers: list[HeadReader] = []

    def parse(self, data: bytes, talk: Talk) -> tuple[Request, bytes] | None:
        """Return the first request in `data` and the bytes after its head; None: its head is not complete.

        Where a head ends exactly as the one before it on this connection, only its method and target are read again.

        Args:
            data: at least one byte.
            talk: what this connection's requests have in common; remembers the fields of the last one.

        Raises:
            Refused: what is there is no request for us.
        """
        tail = talk.tail
        if tail:
            end = data.find(b"\r\n\r\n", talk.checked) + 4 if talk.length else len(data)
            start = end - len(tail)
            if start > 0 and data.startswith(tail, start) and end <= self.buffer_size:
                match = KNOWN_LINE(data, 0, start)
                if match is not None:
                    talk.checked = 0
                    return again(match, talk), data[end:]
        return self._read(data, talk)

    def _read(self, data: bytes, talk: Talk) -> tuple[Request, bytes] | None:
        end = data.find(b"\r\n\r\n", talk.checked)
        if data[0] in b"\r\n":
            if data[:2] == b"\r\n" and end:  # one empty line before a request is forgiven (RFC 9112 section 2.2)
                return self._read(data[2:], talk) if len(data) > 2 else None
            if data != b"\r":
                raise Refused(400, "empty lines instead of a request")
            return None
        if end < 0:
            self._check_incomplete(data, talk.checked)
            talk.checked = max(0, len(data) - 3)  # of the end's four bytes, three may be here
            return None
        talk.checked = 0
        end += 4
        if end == len(data):
            head, rest = data, b""
        else:
            head, rest = data[:end], data[end:]
        match = HEAD(head)
        if match is None or end > self.buffer_size:
            raise self.diagnose(head)
        environ = talk.facts.copy()
        self._split(head, environ, reusable=match[3] == b"1")
        request = self._judge(match, environ)
        if talk.believe is not None:
            talk.believe(environ)
        talk.told = (end - len(match[2]), len(environ), environ["SERVER_PROTOCOL"])
        talk.count += 1
        if talk.count > 1:  # a connection for one request would only pay for this
            remember(talk, request, match)
        return request, rest

    def _judge(self, match: re.Match[bytes], environ: dict[str, Any]) -> Request:
        """Make the request of a head that both readers have read."""
        method, target, minor = match.groups()
        if method == b"CONNECT":  # to whatever: a 2xx would make a tunnel of the connection (RFC 9110 section 9.3.6)
            raise Refused(501, "CONNECT")
        request = Request(environ)
        environ["REQUEST_METHOD"] = METHODS.get(method) or method.decode("ascii")
        connection = environ.get("HTTP_CONNECTION", "")
        if minor == b"1":
            environ["SERVER_PROTOCOL"] = "HTTP/1.1"
            if connection and _has_token(connection, "close"):
                request.keep_alive = False
        else:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
            request.old = True
            request.chunks = request.plain = False
            # Of both words close counts (RFC 9112 section 9.3).
            request.keep_alive = _has_token(connection, "keep-alive") and not _has_token(connection, "close")
        if not self.keep_alive:
            request.keep_alive = False
        self._target(target, environ)
        host = environ.get("HTTP_HOST")
        if host not in _good_hosts:
            _check_host(host, request)
        if method == b"HEAD":
            request.head_only = True
            request.plain = False
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            self._framing(request)
        if "HTTP_EXPECT" in environ:
            _expect(request)
        if not request.keep_alive:
            request.plain = False
        return request

    def _split(self, head: bytes, environ: dict[str, Any], *, reusable: bool) -> None:
        """Let llhttp put the fields of `head` into `environ`; `reusable`: not HTTP/1.0, after which llhttp ends."""
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = HeadReader()
        reader.environ = environ
        reader.whole = False
        reader.trim = b" \r\n" in head or b"\t\r\n" in head
        try:
            reader.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else (h2c, WebSocket) is declined by answering in HTTP/1.1 (RFC 9110 section
            # 7.8). llhttp has stopped behind the head, which is all we gave it.
            pass
        except httptools.HttpParserError as error:
            # Which methods there are is the app's to know. llhttp has a list, with names of RTSP that it does not take
            # in HTTP, and stops before the first field; what follows it reads alike for all but CONNECT.
            method, _, rest = head.partition(b" ")
            unknown = isinstance(error, httptools.HttpParserInvalidMethodError)
            if method in METHODS or (method == b"CONNECT" and not unknown):
                raise Refused(400, f"not HTTP: {error}") from None
            if _METHOD(method) is None:
                raise Refused(501, "unknown method") from None
            self._split(b"POST " + rest, environ, reusable=reusable)
            return
        else:
            if reader.problem or head.count(b"\n", 0, -2) - 1 > MAX_HEADERS:
                raise Refused(400 if reader.problem else 431, reader.problem or "too many header fields")
            if reusable and reader.whole and "HTTP_CONNECTION" not in environ:
                # Only then does llhttp stand at the beginning of a next message, and expect one.
                reader.environ = {}
                self._readers.append(reader)
                return
        if reader.problem:
            raise Refused(400, reader.problem)

    def _target(self, target: bytes, environ: dict[str, Any]) -> None:
        """Set the path and query of `target` in one of the four forms of RFC 9112 section 3.2."""
        text = target.decode("ascii")
        environ["REQUEST_URI"] = text
        if target[0] != 47:  # "/"
            text = _other_form(text, environ)
        path, _, environ["QUERY_STRING"] = text.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["PATH_INFO"] = path

    def _framing(self, request: Request) -> None:
        """Decide where the body ends (RFC 9112 section 6.3), with none of the choices that section leaves."""
        environ = request.environ
        length = environ.get("CONTENT_LENGTH")
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is None:
            if length is None or _LENGTH(length) is None:
                raise Refused(400, "a Content-Length that is no number")
            request.length = int(length)
            if self.limit_post and request.length > self.limit_post:
                raise Refused(413, f"a body of {request.length} bytes, limit-post is {self.limit_post}")
            return
        if length is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding in one request")
        if request.old:
            raise Refused(400, "Transfer-Encoding in HTTP/1.0")
        if coding.lower() != "chunked":
            final = coding.lower().rpartition(",")[2].strip(" \t") == "chunked"
            repeated = coding.lower().count("chunked") > 1
            raise Refused(501 if final and not repeated else 400, "a Transfer-Encoding other than chunked")
        request.length = CHUNKED

    def _check_incomplete(self, data: bytes, checked: int) -> None:
        """Refuse what can no longer become a head, before it fills the buffer.

        Only what has come since the last look is looked at: else a client that sends a large head byte by byte would
        make us read all of it for each of them.

        Raises:
            Refused: too long already, or a line that ends is wrong already.
        """
        if len(data) >= self.buffer_size:
            raise self._too_long(data)
        if not checked and _START(data) is None:  # else who speaks TLS here would wait for http-timeout
            raise self.diagnose(data)
        line_end = data.find(b"\n", checked)
        if line_end >= 0 and data.find(b"\n", 0, line_end) < 0 and _REQUEST_LINE(data) is None:
            raise self.diagnose(data)
        if _BARE(data, max(0, checked - 1)) is not None:
            raise Refused(400, "a bare CR or LF in a head")

    def _too_long(self, data: bytes) -> Refused:
        if data.find(b"\n", 0, self.buffer_size) < 0:  # RFC 9112 section 3: the target alone is longer than we take
            return Refused(414, f"a request line of more than {self.buffer_size} bytes (buffer-size)")
        return Refused(431, f"a head of more than {self.buffer_size} bytes (buffer-size)")

    def diagnose(self, head: bytes) -> Refused:
        """Return why `head`, which the grammar does not accept or which is too long, is refused."""
        if len(head) > self.buffer_size:
            return self._too_long(head)
        line = _REQUEST_LINE(head)
        if line is None and head.startswith(b"\x16\x03"):
            return Refused(
                400, "a TLS handshake, and this socket speaks HTTP: the client's URL should begin with http://"
            )
        if line is None:
            return Refused(400, "a malformed request line")
        if line[3] not in (b"HTTP/1.0", b"HTTP/1.1"):
            return Refused(505, "an HTTP version other than 1.0 and 1.1")
        for field in head[line.end() :].removesuffix(b"\r\n\r\n").split(b"\r\n"):
            if _FIELD(field) is None:
                return Refused(400, _fault_of(field))
        return Refused(400, "a malformed head")


def _fault_of(field: bytes) -> str:
    name, colon, value = field.partition(b":")
    if field[:1] in (b" ", b"\t"):
        return "a folded header line"  # RFC 9112 section 5.2
    if not colon:
        return "a header line without a colon"
    if name.rstrip(b" \t") != name:
        return "white space before a header's colon"  # RFC 9112 section 5.1
    if b"\n" in value or b"\r" in value:
        return "a bare CR or LF in a header"  # RFC 9112 section 2.2
    return "a forbidden character in a header"


def _has_token(value: str, token: str) -> bool:
    """Tell whether the comma-separated list `value` holds `token` (RFC 9110 section 5.6.1)."""
    return any(part.strip(" \t").lower() == token for part in value.split(","))


def _other_form(text: str, environ: dict[str, Any]) -> str:
    if text == "*":
        if environ["REQUEST_METHOD"] != "OPTIONS":
            raise Refused(400, "the target * without OPTIONS")  # RFC 9112 section 3.2.4
        return text
    match = _ABSOLUTE(text)
    if match is None:
        raise Refused(400, "a target that is neither a path nor an http URL")
    authority, rest = match.groups()
    if not authority or "@" in authority or _HOST(authority) is None:
        raise Refused(400, "an absolute target with an odd authority")
    if "HTTP_HOST" in environ:  # a missing Host stays an error (RFC 9112 section 3.2), a different one is overruled
        environ["HTTP_HOST"] = authority
    if rest[:1] != "/":
        rest = "/" + rest
    return rest


def _check_host(host: str | None, request: Request) -> None:
    """Refuse a missing or odd Host (RFC 9112 section 3.2); remember a good one."""
    if host is None:
        if not request.old:
            raise Refused(400, "no Host")
        return
    if _HOST(host) is None:
        raise Refused(400, "an odd Host")
    if len(_good_hosts) < _HOSTS_KEPT and len(host) <= _KEPT_LENGTH:
        _good_hosts.add(host)


def _expect(request: Request) -> None:
    """Note that the client waits for 100 Continue (RFC 9110 section 10.1.1); 1.0 clients cannot."""
    if request.old:
        return
    if request.environ["HTTP_EXPECT"].lower() != "100-continue":
        raise Refused(417, "an Expect other than 100-continue")
    if request.length:
        request.expects = True
        request.plain = False
