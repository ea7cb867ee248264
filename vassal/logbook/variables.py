"""The variables of ``log-format`` and what they stand for: the names of uWSGI's LogFormat page and of core/logging.c.

Pure: facts of a request in, texts out. The one danger is cost, since this runs for each request: an `Entry` computes
only what its format asks for.
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRON = {
    "uri": "REQUEST_URI",
    "method": "REQUEST_METHOD",
    "user": "REMOTE_USER",
    "addr": "REMOTE_ADDR",
    "host": "HTTP_HOST",
    "proto": "SERVER_PROTOCOL",
    "uagent": "HTTP_USER_AGENT",
    "referer": "HTTP_REFERER",
}
"""Variables that are one of the request's own."""

FACTS = [
    "status",
    "rsize",
    "hsize",
    "size",
    "cl",
    "micros",
    "msecs",
    "secs",
    "tmsecs",
    "tmicros",
    "time",
    "ltime",
    "ftime",
    "ctime",
    "epoch",
    "pid",
    "wid",
    "switches",
    "vars",
    "core",
    "vsz",
    "rss",
    "vszM",
    "rssM",
    "pktsize",
    "modifier1",
    "modifier2",
    "headers",
    "werr",
    "rerr",
    "ioerr",
    "iso",
]
"""Variables that are made: attributes of `Entry`. All but ``iso`` are uWSGI's."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PAGE = resource.getpagesize()


class Clock:
    """Wall-clock times of one process, in the machine's zone: an app may change its process's own (Django does)."""

    def __init__(self, offset: Callable[[int], int], strftime: str = "") -> None:
        """Take a function from epoch seconds to seconds east of UTC, and the form of ``%(ftime)`` (none: Apache's)."""
        self._offset = offset
        self._strftime = strftime
        self.ahead = time.time() - time.monotonic()
        """Wall clock minus CLOCK_MONOTONIC; brought up to date with each batch of lines."""
        self._second = self._apache_second = self._form_second = -1
        """The second that each of these texts was made for."""
        self._ctime = self._apache = self._formed = ""

    def refresh(self) -> None:
        """Follow the wall clock, which may have been set."""
        self.ahead = time.time() - time.monotonic()

    def ctime(self, second: int) -> str:
        """Return ``Wed Nov 25 07:05:22 2026``; made once for each second."""
        if second != self._second:
            self._ctime = time.asctime(time.gmtime(second + self._offset(second)))
            self._second = second
        return self._ctime

    def apache(self, second: int) -> str:
        """Return ``25/Nov/2026:07:05:22 +0000``, whatever language an app has set."""
        if second == self._apache_second:
            return self._apache
        self._apache_second = second
        east = self._offset(second)
        at = time.gmtime(second + east)
        day = f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}"
        self._apache = f"{day}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {_east(east)}"
        return self._apache

    def formatted(self, second: int) -> str:
        """Return the time in the form of ``log-date``, where ``logformat-strftime`` asks for it."""
        if not self._strftime:
            return self.apache(second)
        if second != self._form_second:
            self._formed = self.strftime(self._strftime, second)
            self._form_second = second
        return self._formed

    def strftime(self, form: str, second: int) -> str:
        """Return the time in the form `form` as the C library's function makes it, with the right ``%z``."""
        east = self._offset(second)
        at = time.gmtime(second + east)
        try:
            return time.strftime(form, time.struct_time(tuple(at), {"tm_gmtoff": east, "tm_zone": at.tm_zone}))
        except ValueError:
            return form

    def iso(self, moment: float) -> str:
        """Return ``2026-11-25T07:05:22.123+00:00`` (RFC 3339) for epoch seconds."""
        second = int(moment)
        east = self._offset(second)
        at = time.gmtime(second + east)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", at)
        return f"{text}.{int((moment - second) * 1000):03}{_east(east, ':')}"


def _east(seconds: int, colon: str = "") -> str:
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}{colon}{minutes % 60:02}"


class Place:
    """What all lines of one worker have in common."""

    def __init__(self, clock: Clock, wid: int = 0, beside: int = 0) -> None:
        """Take the worker's number, and how many keys of an environ no request has brought: those of WSGI itself."""
        self.clock = clock
        self.pid = os.getpid()
        self.wid = wid
        self.beside = beside
        self._sizes = (0, 0)
        self._sized = -1

    def memory(self) -> tuple[int, int]:
        """Return (address space, resident) of this process in bytes, looked up at most once a second (proc(5))."""
        now = int(time.monotonic())
        if now != self._sized:
            self._sized = now
            try:
                with open("/proc/self/statm", "rb") as file:
                    words = file.read().split()
                self._sizes = (int(words[0]) * _PAGE, int(words[1]) * _PAGE)
            except (OSError, ValueError, IndexError):
                self._sizes = (0, 0)
        return self._sizes


class Entry:
    """The facts of one request that is over. Times are seconds of CLOCK_MONOTONIC, sizes bytes.

    The class holds what most requests have: only the rest is stored.
    """

    took = 0.0
    rsize = hsize = headers = core = werr = rerr = 0
    app = 0
    """Which of the vassal's apps; -1: none, the server has answered."""
    via = ""
    told = (0, 0, "")
    """What its head said of itself: see `vassal.protocol.Talk`."""
    modifier1 = modifier2 = 0
    switches = 1
    """uWSGI's count of turns of its async core: one, here."""

    def __init__(self, environ: dict[str, Any], status: int, began: float, place: Place) -> None:
        self.environ = environ
        self.status = status
        self.began = began
        self.place = place

    @property
    def vars(self) -> int:
        """How many variables the request came with: header fields, and what its first line and socket say."""
        return self.told[1] - self.place.beside if self.told[1] else 0

    @property
    def pktsize(self) -> int:
        """Bytes of the request's head, or of its packet."""
        return self.told[0] + len(str(self.environ.get("REQUEST_URI", ""))) if self.told[0] else 0

    @property
    def start(self) -> float:
        """Epoch seconds at which the request began."""
        return self.began + self.place.clock.ahead

    @property
    def size(self) -> int:
        """The whole response."""
        return self.hsize + self.rsize

    @property
    def cl(self) -> int:
        """Bytes of the request's body, as announced."""
        length = self.environ.get("CONTENT_LENGTH", "")
        return int(length) if isinstance(length, str) and length.isascii() and length.isdigit() else 0

    @property
    def micros(self) -> int:
        """The response took so many microseconds."""
        return int(self.took * 1e6)

    @property
    def msecs(self) -> int:
        """The response took so many milliseconds."""
        return int(self.took * 1e3)

    @property
    def secs(self) -> str:
        """The response took so many seconds."""
        return f"{self.took:f}"

    @property
    def time(self) -> int:
        """When it began, epoch seconds."""
        return int(self.start)

    @property
    def tmsecs(self) -> int:
        """When it began, epoch milliseconds."""
        return int(self.start * 1e3)

    @property
    def tmicros(self) -> int:
        """When it began, epoch microseconds."""
        return int(self.start * 1e6)

    @property
    def ltime(self) -> str:
        """When it began, as Apache writes it."""
        return self.place.clock.apache(int(self.start))

    @property
    def ftime(self) -> str:
        """When it began, in the form of log-date."""
        return self.place.clock.formatted(int(self.start))

    @property
    def ctime(self) -> str:
        """When it began, as the C library writes it."""
        return self.place.clock.ctime(int(self.start))

    @property
    def iso(self) -> str:
        """When it began, as RFC 3339 writes it."""
        return self.place.clock.iso(self.start)

    @property
    def epoch(self) -> int:
        """Now, epoch seconds."""
        return int(time.time())

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self.place.pid

    @property
    def wid(self) -> int:
        """The worker's number."""
        return self.place.wid

    @property
    def vsz(self) -> int:
        """Address space of the worker."""
        return self.place.memory()[0]

    @property
    def rss(self) -> int:
        """Resident memory of the worker."""
        return self.place.memory()[1]

    @property
    def vszM(self) -> int:  # noqa: N802 (uWSGI's name)
        """Address space of the worker, MiB."""
        return self.vsz >> 20

    @property
    def rssM(self) -> int:  # noqa: N802 (uWSGI's name)
        """Resident memory of the worker, MiB."""
        return self.rss >> 20

    @property
    def ioerr(self) -> int:
        """Errors of reading and of writing."""
        return self.werr + self.rerr
