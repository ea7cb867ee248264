"""The uwsgi protocol (https://uwsgi-docs.readthedocs.io, "Protocol"): one packet of variables, then the body.

The one danger: in uWSGI some of these variables choose the code that runs (``UWSGI_FILE`` and its kin), so that whoever
reaches the socket executes what he likes. Here they are ignored, always; and since names with a dot are dropped,
nothing on the wire can replace an object of ours in the environ.
"""

from __future__ import annotations

import re
from typing import Any

from vassal.protocol import Answered, Refused, Request, Talk

SELECTORS = frozenset(
    {
        "UWSGI_FILE", "UWSGI_SCRIPT", "UWSGI_MODULE", "UWSGI_CALLABLE", "UWSGI_CHDIR", "UWSGI_APPID", "UWSGI_PYHOME",
        "UWSGI_HOME", "UWSGI_SETENV", "UWSGI_TOUCH_RELOAD", "UWSGI_PASTE", "UWSGI_CACHE_GET", "UWSGI_POSTFILE",
        "UWSGI_DYNAMIC", "UWSGI_VIRTUALENV", "UWSGI_PYTHONPATH", "UWSGI_EVAL", "UWSGI_INCLUDE",
    }
)  # fmt: skip
"""Variables that select code or files in uWSGI, and such as could be taken for them."""
_DROPPED = SELECTORS | {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"}
"""Also: what would steer the app's own outgoing requests (CVE-2016-5385), and doubles of the two real variables."""
WSGI_REQUEST = 0
PING = 100
_PONG = b"\x64\x00\x00\x01"

_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch
_keys: dict[bytes, str] = {}
_KEYS_KEPT = 2048


class UwsgiProtocol:
    """Packets to requests, under the limits of one vassal."""

    def __init__(self, *, limit_post: int = 0) -> None:
        self.limit_post = limit_post

    def parse(self, data: bytes, talk: Talk) -> tuple[Request, bytes] | None:
        """Return the request whose packet `data` begins with and what follows the packet; None: it is not complete.

        Raises:
            Refused: malformed, or not for a WSGI app.
            Answered: a ping.
        """
        if data[0] != WSGI_REQUEST:
            if data[0] != PING:
                raise Refused(400, f"modifier1 is {data[0]}: only 0 (a WSGI request) and 100 (ping) are served here")
            raise Answered(_PONG)
        if len(data) < 4:
            return None
        end = 4 + (data[1] | data[2] << 8)
        if len(data) < end:
            return None
        environ = talk.facts.copy()
        _read(data, end, environ)
        _complete(environ)
        request = Request(environ)
        request.keep_alive = request.chunks = request.plain = False
        if environ["REQUEST_METHOD"] == "HEAD":
            request.head_only = True
        length = environ.get("CONTENT_LENGTH")
        if length:
            if _LENGTH(length) is None:
                raise Refused(400, "a CONTENT_LENGTH that is no number")
            request.length = int(length)
            if self.limit_post and request.length > self.limit_post:
                raise Refused(413, f"a body of {request.length} bytes, limit-post is {self.limit_post}")
        if talk.believe is not None:
            talk.believe(environ)
        return request, data[end:]


def _read(data: bytes, end: int, environ: dict[str, Any]) -> None:
    """Put the variables of a packet into `environ`."""
    position = 4
    keys = _keys
    try:
        while position < end:
            size = data[position] | data[position + 1] << 8
            position += 2
            name = data[position : position + size]
            position += size
            size = data[position] | data[position + 1] << 8
            position += 2
            after = position + size
            if after > end:
                raise Refused(400, "a variable that reaches beyond its packet")
            key = keys.get(name)
            if key is None:
                key = _key(name)
            if key:
                environ[key] = data[position:after].decode("latin-1")
            position = after
    except IndexError:
        raise Refused(400, "a variable that reaches beyond its packet") from None


def _complete(environ: dict[str, Any]) -> None:
    """Add what the front end may leave out and WSGI demands."""
    if not environ.get("REQUEST_METHOD"):
        raise Refused(400, "a packet without REQUEST_METHOD")
    environ.setdefault("PATH_INFO", "")
    environ.setdefault("QUERY_STRING", "")
    environ.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
    scheme = environ.get("UWSGI_SCHEME", "")
    if scheme:
        environ["wsgi.url_scheme"] = scheme
    elif environ.get("HTTPS", "").lower() in ("on", "1", "true", "yes"):
        environ["wsgi.url_scheme"] = "https"


def _key(name: bytes) -> str:
    """Return the environ key for the variable `name`, ``""`` for one that is dropped."""
    key = name.decode("latin-1")
    if "." in key or "\0" in key or key in _DROPPED:
        key = ""
    if len(_keys) < _KEYS_KEPT:
        _keys[name] = key
    return key
