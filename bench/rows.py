"""The rows of the server benchmark: who is measured how, and what Emperor is meant to reach there.

The one thing that can go wrong here is a goal that moves to where the result is: goals are ratios to others in the same
run, or fixed numbers, and stand beside the result whether it reaches them or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from servers import BJOERN, EMPEROR, GRANIAN, GUNICORN, NGINX_ALONE, QUIET, SERVERS, UWSGI, Server, content

THREADED = tuple(server for server in SERVERS if server.threaded)
SPEAKERS = tuple(server for server in SERVERS if server.uwsgi)
SENDERS = (EMPEROR, GRANIAN, UWSGI, NGINX_ALONE)
"""Those that serve files."""
ANSWER = b"Hello, world!\n"
LARGE = b"0123456789abcdef" * 65536
CLIENTS = 32


@dataclass(frozen=True)
class Goal:
    """At least `factor` times what `other` reaches; or, without other, a `place` among all."""

    other: Server | None = None
    factor: float = 1.0
    place: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        way: How it is measured: a kind of `loads.wrk`, or ``nginx``, ``log``, ``memory``, ``block``, ``crowd``,
            ``downloads``.
        unit: ``/s``, ``bytes`` or ``s``; in all but the first less is better.
        limit: A fixed goal for Emperor: at least (``/s``) or at most so much.
    """

    label: str
    module: str
    servers: Sequence[Server] = SERVERS
    threads: int = 1
    way: str = "keep"
    unit: str = "/s"
    answer: bytes = ANSWER
    goals: Sequence[Goal] = field(default_factory=tuple)
    limit: float = 0.0
    path: str = "/"

    @property
    def more_is_better(self) -> bool:
        return self.unit == "/s"


FIRST = (Goal(place=1),)
SECOND = (Goal(place=2),)
QUICK = "the quick route beside it, p99"
"""What the row ``block`` measures besides."""
ROWS = (
    Row(
        "hello, keep-alive, 1 thread",
        "hello",
        goals=(Goal(GRANIAN, 1.1), Goal(BJOERN, 0.75), Goal(UWSGI, 4), Goal(GUNICORN, 15)),
    ),
    Row("hello, keep-alive, 4 threads", "hello", THREADED, 4, goals=(Goal(UWSGI, 1.3), Goal(GRANIAN))),
    Row("hello, a new connection each", "hello", way="close", goals=(Goal(GRANIAN), Goal(BJOERN, 0.9))),
    Row("behind nginx, uwsgi_pass", "hello", SPEAKERS, way="nginx", goals=(Goal(UWSGI, 0.95), Goal(GUNICORN, 2))),
    Row(
        "hello with the request log",
        "hello",
        (EMPEROR, UWSGI, QUIET),
        way="log",
        goals=(Goal(QUIET, 0.85),),
    ),
    Row("Flask hello", "flask_hello", goals=FIRST),
    Row("Django hello", "django_hello", goals=FIRST),
    Row("JSON POST of 1 KB", "post", way="post", goals=SECOND, answer=b'{"sum": 8385, "name": "' + b"x" * 500 + b'"}'),
    Row("1 MB response", "large", goals=SECOND, answer=LARGE),
    Row(
        "static file, 1 KB",
        "hello",
        SENDERS,
        path="/static/1k",
        answer=content("1k"),
        goals=(Goal(UWSGI, 2), Goal(GRANIAN, 1.5)),
    ),
    Row(
        "static file, 100 KB",
        "hello",
        SENDERS,
        path="/static/100k",
        answer=content("100k"),
        goals=(Goal(NGINX_ALONE, 0.5),),
    ),
    Row(
        "static file, 10 MB",
        "hello",
        SENDERS,
        path="/static/10m",
        answer=content("10m"),
        goals=(Goal(NGINX_ALONE, 0.9),),
    ),
    Row("memory of all processes", "hello", way="memory", unit="bytes", goals=(Goal(GRANIAN), Goal(UWSGI))),
    Row("an app that blocks 10 ms, 4 threads", "block", THREADED, 4, way="block", answer=b"ok\n", limit=360.0),
    Row(QUICK, "block", THREADED, 4, way="", unit="s", limit=0.05),
    Row("fresh clients, 1 thread, p99", "hello", (EMPEROR,), way="downloads", unit="s"),
    Row("the same beside 200 slow downloads", "hello", (EMPEROR,), way="", unit="s"),
    Row("fresh clients, 2 threads, p99", "crowd", (EMPEROR,), 2, way="crowd", unit="s"),
    Row("the same beside 2,000 bad ones", "crowd", (EMPEROR,), 2, way="", unit="s"),
)
