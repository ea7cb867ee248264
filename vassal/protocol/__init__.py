"""The two protocols: bytes to requests. Both keep one contract: bytes in; a request, a `Refused`, or None for "more".

The one danger: disagreeing with whatever stands in front of us about where a request ends. Nothing here guesses:
what is not plainly right is refused, and a refused connection is never read as a request again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED = -1
"""`Request.length` of a body whose end only its chunks tell."""


class Refused(Exception):  # noqa: N818 (an outcome of parsing, named after what the client gets)
    """The client is to get `status` (an integer) and lose its connection; `why` goes to the log, without its bytes."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Answered(Exception):  # noqa: N818 (see `Refused`)
    """The client gets `data`, which is no response to a request, and the connection ends."""

    def __init__(self, data: bytes) -> None:
        super().__init__("answered")
        self.data = data


class Talk:
    """What all requests of one connection have in common.

    Attributes:
        facts: what every environ begins with; it is copied.
        believe: takes scheme and client's address from the headers of a proxy that we trust; None: we trust none.
        tail: the end of the last head, from its version on, if its like may be used again; else ``b""``.
        common: the environ that `tail` makes.
        length: the bytes of body that `tail` announces.
        count: heads read in full.
        told: of the last head, or packet, for the log: its bytes without the target, the entries of the environ that it
            made, and its version of HTTP.
        checked: bytes at the beginning of a head that is not complete, in which nothing has to be looked for again.
    """

    __slots__ = ("believe", "checked", "common", "count", "facts", "length", "tail", "told")

    def __init__(self, facts: dict[str, Any], believe: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.facts = facts
        self.believe = believe
        self.tail = b""
        self.common = facts
        self.length = 0
        self.count = self.checked = 0
        self.told = (0, 0, "")


def line_of(environ: dict[str, Any]) -> str:
    """Return a request's method and path for people. The app may have done anything to its environ."""
    return f"{environ.get('REQUEST_METHOD', '?')} {environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '?')!a}"


class Request:
    """One request, as the worker needs it. The class holds what most requests have: only the rest is stored.

    Attributes:
        environ: WSGI environ (PEP 3333), without ``wsgi.input`` as long as a body is missing.
        length: bytes of body to come: 0 none, `CHUNKED`.
        keep_alive: the client would send another request on this connection.
        old: speaks HTTP/1.0: must be told of keep-alive, understands no chunks.
        chunks: a response of unknown length may be sent in chunks; otherwise the connection's end ends it.
        head_only: a HEAD request: the response has no body.
        expects: the client waits for ``100 Continue`` before it sends its body.
        plain: none of the above differs from its default, so the response needs none of the care that they call for.
    """

    length = 0
    keep_alive = True
    old = False
    chunks = True
    head_only = False
    expects = False
    plain = True

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
