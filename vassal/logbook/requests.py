"""The request log of a worker: one line for each request that is over, written in batches.

A line is made as soon as its response is on its way, and written at the end of the leader's batch (or by the ticker, a
few milliseconds later, where the batch takes long): a worker that is killed loses at most that batch. The one danger is
cost: with the log off nothing here is called, with it on a line may take some microseconds.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal import logs, scoreboard
from vassal.logbook.formats import DefaultLine, compile_format, fill, is_json, tells_errors
from vassal.logbook.variables import Entry, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vassal.config import Settings
    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.logbook.chain import Chain
    from vassal.logbook.formats import Form, Row
    from vassal.logbook.outlet import Outlet
    from vassal.response import Response
    from vassal.scoreboard import Scoreboard

MANY = 512
"""Lines that are written at once, at most; it bounds what a busy batch holds in memory."""
FEW = 128
"""Lines that are written at the end of a batch, however soon after the last ones."""
PACE = 0.002
"""Seconds between two writes, where fewer lines come; the ticker writes what is left when no more come."""
SENDFILE = "via sendfile() "


@dataclass(frozen=True, slots=True)
class Rules:
    """Which requests are logged in spite of ``disable-logging``. `slow`: milliseconds, `big`: bytes; 0: none."""

    slow: int = 0
    big: int = 0
    zero: bool = False
    of_4xx: bool = False
    of_5xx: bool = False
    sendfile: bool = False
    ioerror: bool = False

    def wanted(self, entry: Entry) -> bool:
        """Whether one of them holds for `entry` (core/logging.c: log_request)."""
        return bool(
            (self.of_4xx and 400 <= entry.status <= 499)
            or (self.of_5xx and 500 <= entry.status <= 599)
            or (self.slow and entry.took * 1000 >= self.slow)
            or (self.big and entry.rsize >= self.big)
            or (self.zero and not entry.rsize)
            or (self.sendfile and entry.via)
            or (self.ioerror and entry.ioerr)
        )


def rules(settings: Settings) -> Rules | None:
    """Return the conditions of a vassal's file; None: every request is logged."""
    if not settings.disable_logging:
        return None
    return Rules(
        settings.log_slow,
        settings.log_big,
        settings.log_zero,
        settings.log_4xx,
        settings.log_5xx,
        settings.log_sendfile,
        settings.log_ioerror,
    )


def prepare(
    settings: Settings, outlet: Outlet, board: Scoreboard | None, number: int = 0, beside: int = 0
) -> RequestLog | None:
    """Return the request log of worker `number`; None: nothing is to be logged.

    `board`: None in a master. `beside`: keys of an environ that no request has brought.
    """
    conditions = rules(settings)
    if conditions is not None and conditions == Rules():
        return None
    outlet.clock.refresh()
    place = Place(outlet.clock, number, beside)
    form: Form
    errors = bool(settings.log_format) and tells_errors(settings.log_format or "")
    if settings.log_format:
        form = compile_format(settings.log_format)
        prefix = "" if is_json(settings.log_format) else logs.prefix()
    else:
        form, prefix = DefaultLine(place, micros=settings.log_micros), logs.prefix()
    mounts = [name for name, _ in settings.mount]
    others = board.others(number) if board is not None else ()
    return RequestLog(
        form, outlet.requests, place, conditions, others, mounts=mounts, prefix=prefix, wants_errors=errors
    )


class RequestLog:
    """Makes lines, and writes them to `chain`."""

    def __init__(  # noqa: PLR0913 (each is a fact of its own)
        self,
        form: Form,
        chain: Chain,
        place: Place,
        conditions: Rules | None = None,
        others: Sequence[tuple[scoreboard.Row, Sequence[scoreboard.Row]]] = (),
        *,
        mounts: Sequence[str] = (),
        prefix: str = "",
        wants_errors: bool = False,
    ) -> None:
        self._form = form
        self._count = form if isinstance(form, DefaultLine) else None
        self._quick = isinstance(form, DefaultLine) and conditions is None and not mounts
        """Responses of one piece are only noted, and made into lines when these are written."""
        self._waits = wants_errors or (conditions is not None and conditions.ioerror)
        """A line is not made before it is known whether its client was there to the end."""
        self._chain = chain
        self._place = place
        self._conditions = conditions
        self._others = [row for _, rows in others for row in rows]
        self._mounts = {name.rstrip("/"): index for index, name in enumerate(mounts, 1)}
        self._prefix = prefix
        self._lines: list[str | Row] = []
        self._lock = threading.Lock()
        self._complained = False
        self._write_at = 0.0

    # --- requests ------------------------------------------------------------------------------------------------

    def small(self, response: Response, sent: int, size: int, parts: int, me: Member) -> None:
        """The common case: a response of one piece is about to be sent.

        `sent` are its bytes, `size` those of its body; `parts` counts the pieces it was made of: status line, fields,
        what the server adds, and perhaps the body.
        """
        request = response.request
        environ = request.environ
        talk = response.conn.talk
        if self._count is not None and self._quick:
            get = environ.get
            self._lines.append((
                get("REQUEST_URI"),
                get("REQUEST_METHOD"),
                get("REMOTE_ADDR"),
                get("REMOTE_USER"),
                response.status,
                sent,
                size,
                parts,
                request.head_only,
                talk.told,
                me.number,
                me.began,
                me.now,
            ))  # fmt: skip
            return
        entry = Entry(environ, int(response.status[:3]), me.began, self._place)
        entry.told = talk.told
        entry.core = me.number
        fill(entry, sent, size, parts, head_only=request.head_only)
        if self._waits:
            response.conn.entry = entry
        else:
            entry.took = me.now - me.began
            self._add(entry)

    def later(self, response: Response, hsize: int, rsize: int, headers: int, me: Member) -> None:
        """A response is complete but not sent: `done` follows when it is, or when its client is gone."""
        entry = Entry(response.request.environ, int(response.status[:3] or 0), me.began, self._place)
        entry.told = response.conn.talk.told
        entry.hsize = hsize
        entry.rsize = rsize
        entry.headers = headers
        entry.core = me.number
        response.conn.entry = entry

    def stream(self, response: Response, me: Member) -> None:
        """The app is through with a response that it sent in pieces; `done` follows."""
        request = response.request
        sent = 0 if response.bodyless or request.head_only else response.count
        self.later(response, response.head_size, sent, _fields(response), me)
        entry = response.conn.entry
        if entry is not None and response.file is not None:
            entry.via = SENDFILE

    def done(self, conn: Connection, *, broken: bool = False) -> None:
        """The response that `later` told of has been sent, or (`broken`) cannot be."""
        entry, conn.entry = conn.entry, None
        if entry is not None:
            entry.took = monotonic() - entry.began
            entry.werr = int(broken)
            self._add(entry)

    def file(self, conn: Connection, head: bytes, hsize: int, rsize: int, me: Member) -> None:
        """A file is about to be sent whole, out of memory; `done` follows."""
        request = conn.request
        entry = self._other(request.environ if request is not None else {}, 200, me.now, conn)
        entry.hsize = hsize
        entry.rsize = rsize
        entry.headers = head.count(b"\r\n") - 1
        entry.via = SENDFILE
        entry.core = me.number
        conn.entry = entry

    def file_later(self, conn: Connection, response: Response, hsize: int, me: Member) -> None:
        """A file, or a part of one, is being sent; `done` follows."""
        status = (response.parts or [b"HTTP/1.1 0"])[0][9:12]
        entry = self._other(response.request.environ, int(status), me.now, conn)
        entry.hsize = hsize
        entry.rsize = 0 if response.bodyless or response.request.head_only else response.length or 0
        entry.headers = _fields(response)
        entry.via = SENDFILE
        entry.core = me.number
        conn.entry = entry

    def answered(self, conn: Connection, status: int, hsize: int, rsize: int, me: Member) -> None:
        """The server itself has answered: refused, too late, short of something."""
        request = conn.request
        entry = self._other(request.environ if request is not None else conn.talk.facts, status, me.now, conn)
        if request is None:
            entry.told = (0, 0, "")
        entry.hsize = hsize
        entry.rsize = rsize
        entry.headers = 2
        entry.rerr = int(status == 408)
        entry.core = me.number
        self._add(entry)

    def struck(self, conn: Connection, member: Member, took: float, data: bytes) -> None:
        """Harakiri has ended a request after `took` seconds and sent `data`, which is nothing where it was too late."""
        request = conn.request
        environ = request.environ if request is not None else {}
        entry = Entry(environ, 504 if data else 0, monotonic() - took, self._place)
        entry.told = conn.talk.told
        entry.took = took
        head, _, body = data.partition(b"\r\n\r\n")
        entry.hsize = len(data) - len(body)
        entry.rsize = len(body)
        entry.headers = head.count(b"\r\n")
        entry.werr = int(not data)
        entry.core = member.number
        self._add(entry)

    def killed(self, pid: int, took: float) -> None:
        """A worker, `pid`, had to be killed for a request; its master has answered, and knows no more of it."""
        self._place.pid = pid
        entry = Entry({}, 504, monotonic() - took, self._place)
        entry.took = took
        self._add(entry)

    def _other(self, environ: dict[str, Any], status: int, began: float, conn: Connection) -> Entry:
        entry = Entry(environ, status, began, self._place)
        entry.told = conn.talk.told
        entry.app = -1
        return entry

    def _add(self, entry: Entry) -> None:
        try:
            if self._count is not None and entry.app >= 0:
                self._count.own += 1
            if self._conditions is not None and not self._conditions.wanted(entry):
                return
            if self._mounts and entry.app == 0:
                entry.app = self._mounts.get(str(entry.environ.get("SCRIPT_NAME", "")).rstrip("/"), 0)
            self._lines.append(self._form(entry))
        except Exception:  # noqa: BLE001 (a line that cannot be made must not cost a request)
            if not self._complained:
                self._complained = True
                logs.say("a request cannot be logged:\n" + traceback.format_exc().rstrip())
        if len(self._lines) >= MANY:
            self.flush()

    # --- lines ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """A thread has finished a batch: write what has come together, at most every few milliseconds."""
        if self._lines and (len(self._lines) >= FEW or monotonic() >= self._write_at):
            self.flush()

    def flush(self) -> None:
        """Write what has come together. Never blocks: where another thread is writing, that one writes ours, too."""
        while self._lines and self._lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        rows = self._lines[:]
        del self._lines[: len(rows)]
        self._write_at = monotonic() + PACE
        self._place.clock.refresh()
        chain = self._chain
        prefix = self._prefix
        lines = self._made(rows)
        if chain.plain:
            text = f"\n{prefix}".join(lines)
            data = f"{prefix}{text}\n".encode(errors="backslashreplace")
            for sink in chain.defaults:
                sink.write(data, len(lines))
        else:
            chain.write([f"{prefix}{line}\n".encode(errors="backslashreplace") for line in lines])

    def _made(self, rows: list[str | Row]) -> list[str]:
        count = self._count
        if count is None:
            return [row for row in rows if isinstance(row, str)]
        count.others = sum(row.counts[scoreboard.REQUESTS] for row in self._others)
        try:
            return count.quick(rows)
        except TypeError:  # an app has put something that has no hash into the environ
            return count.quick([_texts(row) for row in rows])

    def end(self, patience: float = 0.5) -> None:
        """Write the last lines, waiting at most `patience` seconds for another thread that is at it."""
        until = monotonic() + patience
        while self._lines and monotonic() < until:
            self.flush()


def _texts(row: str | Row) -> str | Row:
    if isinstance(row, str):
        return row
    return tuple(str(word) if index < 4 and word is not None else word for index, word in enumerate(row))


def _fields(response: Response) -> int:
    """Return how many fields the app has given its response; those that the server adds stand in the last part."""
    return sum(part.count(b"\r\n") for part in (response.parts or ())[:-1]) - 1
