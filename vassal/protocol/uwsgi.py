"""The uwsgi protocol (https://uwsgi-docs.readthedocs.io, "Protocol"): one packet of variables, then the body.

The one danger: in uWSGI some of these variables choose the code that runs (``UWSGI_FILE`` and its kin), so that whoever
reaches the socket executes what he likes. Here they are ignored, always; and since names with a dot are dropped,
nothing on the wire can replace an object of ours in the environ.
"""

from __future__ import annotations

import re
from typing import Any

from vassal.protocol import Answered, Refused, Request, Talk
from vassal.trust import YES

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
MANAGE_PATH_INFO = 30
"""modifier1 of web servers whose PATH_INFO still begins with SCRIPT_NAME (uWSGI's Protocol and Nginx pages)."""
PING = 100
_PONG = b"\x64\x00\x00\x01"

_PORT = b"\x0b\x00REMOTE_PORT"
"""Where web servers put the one variable that differs between clients which ask for the same."""
_KEPT = 128
_KEPT_LENGTH = 2048

_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch
_keys: dict[bytes, str] = {}
_KEYS_KEPT = 2048
_KEY_LENGTH = 128
"""Bytes of a name that is kept: a web server passes on what its clients choose."""


class UwsgiProtocol:
    """Packets to requests, under the limits of one vassal."""

    def __init__(self, *, limit_post: int = 0) -> None:
        self.limit_post = limit_post
        self._kept: dict[bytes, dict[str, str]] = {}
        """Sequences of whole variables, as they lie in a packet, and what they say."""

    def parse(self, data: bytes, talk: Talk) -> tuple[Request, bytes] | None:
        """Return the request whose packet `data` begins with and what follows the packet; None: it is not complete.

        Raises:
            Refused: malformed, or not for a WSGI app.
            Answered: a ping.
        """
        if data[0] != WSGI_REQUEST and data[0] != MANAGE_PATH_INFO:
            raise _no_request(data[0])
        if len(data) < 4:
            return None
        end = 4 + (data[1] | data[2] << 8)
        if len(data) < end:
            return None
        environ = talk.facts.copy()
        self._read(data, end, environ)
        _complete(environ, data[0])
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
        talk.told = (end - 4 - len(environ.get("REQUEST_URI", "")), len(environ), environ["SERVER_PROTOCOL"])
        return request, data[end:]

    def _read(self, data: bytes, end: int, environ: dict[str, Any]) -> None:
        """Put the variables of a packet into `environ`.

        A web server sends the same variables again and again, but for the client's port. So the port is looked for, and
        what stands before and behind it is looked up. A value may look like the port's name: then what stands before it
        is no sequence of whole variables, and the packet is read one variable after the other.
        """
        port = data.find(_PORT, 4, end)
        after = port + len(_PORT) + 2
        if port >= 0 and after <= end:
            after += data[after - 2] | data[after - 1] << 8
            if after <= end:
                before = self._look_up(data[4:port])
                behind = self._look_up(data[after:end])
                if before is not None and behind is not None:
                    environ.update(before)
                    environ["REMOTE_PORT"] = data[port + len(_PORT) + 2 : after].decode("latin-1")
                    environ.update(behind)
                    return
        if not _split(data, 4, end, environ):
            raise Refused(400, "a variable that reaches beyond its packet")

    def _look_up(self, part: bytes) -> dict[str, str] | None:
        """Return what the variables in `part` say, None if it is no sequence of whole ones."""
        known = self._kept.get(part)
        if known is None:
            known = {}
            if not _split(part, 0, len(part), known):
                return None
            if len(part) <= _KEPT_LENGTH:
                if len(self._kept) >= _KEPT:
                    self._kept.clear()
                self._kept[part] = known
        return known


def _split(data: bytes, position: int, end: int, environ: dict[str, Any]) -> bool:
    """Put the variables in `data` from `position` to `end` into `environ`; False: the last one reaches beyond it."""
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
                return False
            key = keys.get(name)
            if key is None:
                key = _key(name)
            if key:
                environ[key] = data[position:after].decode("latin-1")
            position = after
    except IndexError:
        return False
    return True


def _no_request(modifier1: int) -> Refused | Answered:
    if modifier1 == PING:
        return Answered(_PONG)
    return Refused(400, f"modifier1 is {modifier1}: only 0 and 30 (WSGI requests) and 100 (ping) are served here")


def _complete(environ: dict[str, Any], modifier1: int) -> None:
    """Add what the front end may leave out and WSGI demands."""
    if not environ.get("REQUEST_METHOD"):
        raise Refused(400, "a packet without REQUEST_METHOD")
    environ.setdefault("PATH_INFO", "")
    environ.setdefault("QUERY_STRING", "")
    environ.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
    scheme = environ.get("UWSGI_SCHEME", "")
    if scheme:
        environ["wsgi.url_scheme"] = scheme
    elif environ.get("HTTPS", "").lower() in YES:
        environ["wsgi.url_scheme"] = "https"
    if modifier1 == MANAGE_PATH_INFO:
        _cut_path(environ)


def _cut_path(environ: dict[str, Any]) -> None:
    """Take SCRIPT_NAME off the beginning of PATH_INFO, where it stands there; uWSGI cuts as many bytes in any case."""
    script = environ.get("SCRIPT_NAME", "").rstrip("/")
    path = environ["PATH_INFO"]
    if path == script or path.startswith(f"{script}/"):
        environ["PATH_INFO"] = path[len(script) :]
    environ["SCRIPT_NAME"] = script


def _key(name: bytes) -> str:
    """Return the environ key for the variable `name`, ``""`` for one that is dropped."""
    key = name.decode("latin-1")
    if "." in key or "\0" in key or key in _DROPPED:
        key = ""
    if len(_keys) < _KEYS_KEPT and len(name) <= _KEY_LENGTH:
        _keys[name] = key
    return key
