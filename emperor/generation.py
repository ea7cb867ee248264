"""The emperor's view of one running generation: its link, its pidfd, and what it has said.

The one danger is the generation itself: whatever arrives on its link is judged here, and anything out of order, too
much or untrue ends it. It never delays anybody else: so many packets a turn, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from emperor import listeners
from emperor.states import Purpose
from vassal import link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TURN = 16
"""Packets read from one link before the others have their turn."""
MINUTE = 60.0
EXCESS = 600
"""Packets in a minute from which on a generation is taken for a flood: an honest one sends a few dozen."""
LAST_WORDS = 64
"""Packets read at most after a generation has died."""
HANG_UP = 5.0
"""Seconds that a generation may live on with its link closed: one that ends is reaped long before."""


class Owner(Protocol):
    """Who is told what a generation said."""

    def heard(self, run: Run, record: link.Record) -> None:
        """`run` sent `record`, which is in order."""

    def misbehaved(self, run: Run, reason: str) -> None:
        """`run` broke the contract and is to be killed."""


@dataclass(slots=True, eq=False)
class Run:
    """One generation of vassal `name`. Times are seconds of the loop's clock."""

    name: str
    number: int
    spawn: int
    end: link.End
    loop: asyncio.AbstractEventLoop
    owner: Owner
    close: Callable[[int], None]
    purpose: Purpose = Purpose.SERVE
    pid: int = 0
    pidfd: int = -1
    hello: bool = False
    ready: bool = False
    loyal: bool = False
    parking: bool = False
    facts: link.Facts | None = None
    pending: list[listeners.Kept] | None = None
    stats: link.Stats | None = None
    cron: link.CronReport | None = None
    answered: asyncio.Event | None = None
    """Set by the next `Stats`, while somebody waits for them."""
    doomed: bool = False
    """SIGKILL is on its way, or was sent; it goes out as soon as the pidfd is there."""
    wishes: bool = False
    """It has asked for its own succession, and waits for it."""
    fault: str = ""
    """How it broke the contract of its link, where it did."""
    _hang_up: asyncio.TimerHandle | None = None
    _window: float = 0.0
    _count: int = 0
    _reading: bool = field(default=False)

    def listen(self) -> None:
        """Begin to read the link."""
        self._reading = True
        self.loop.add_reader(self.end.fileno(), self.read)

    def read(self, limit: int = TURN) -> None:
        """Read what has arrived, at most `limit` packets; the rest has to wait for the next turn."""
        for _ in range(limit):
            if self.end.sock.fileno() < 0:
                return
            try:
                message = self.end.read()
            except link.LinkClosed:
                self._stop_reading()
                self._hang_up = self.loop.call_later(
                    HANG_UP, self.owner.misbehaved, self, "it closed its link and lives on"
                )
                return
            except link.LinkError as error:
                self._stop_reading()
                self.owner.misbehaved(self, str(error))
                return
            if message is None:
                return
            if not self._take(*message):
                return

    def _take(self, record: link.Record, fds: Sequence[int]) -> bool:
        try:
            self._judge(record, fds)
        except link.LinkError as error:
            self._stop_reading()
            self.owner.misbehaved(self, str(error))
            return False
        self.owner.heard(self, record)
        return self._reading

    def _judge(self, record: link.Record, fds: Sequence[int]) -> None:  # noqa: C901 (one case a record)
        """Keep what `record` says, if it may be said now.

        Raises:
            LinkError: it may not. No descriptor is left open.
        """
        if isinstance(record, link.Listening):
            fits = self.purpose in (Purpose.SERVE, Purpose.INSPECT)
            if self.facts is None or self.ready or self.pending is not None or not fits:
                for fd in fds:
                    self.close(fd)
                raise link.LinkError("a listening packet out of turn")
            self.pending = listeners.inspect(record, fds, self.facts.uid, self.close)
        self._count_packet()
        problem = self._out_of_turn(record)
        if problem is not None:
            raise link.LinkError(problem)
        match record:
            case link.Hello():
                self.hello = True
            case link.Facts():
                self.facts = record
            case link.Ready():
                self.ready = True
            case link.Stats():
                self.stats = record
                if self.answered is not None:
                    self.answered.set()
            case link.Loyal():
                self.loyal = True
            case link.Parking():
                self.parking = True
            case link.CronReport():
                self.cron = record

    def _out_of_turn(self, record: link.Record) -> str | None:
        """Return why `record` may not come now, None where it may."""
        if isinstance(record, link.Hello):
            wrong = self.hello or record.protocol != link.PROTOCOL
            return f"it speaks protocol {record.protocol}, this emperor {link.PROTOCOL}" if wrong else None
        if not self.hello:
            return f"a {record.NAME} packet before hello"
        if isinstance(record, link.Failed) and record.stage not in link.STAGES:
            return "a failed packet of an unknown stage"
        early = {
            link.Ready: self.pending is None,  # which a child for jobs alone never has
            link.Loyal: not self.ready,
            link.Chained: not self.ready,
            link.Parking: not self.ready and self.pending is None and self.purpose is not Purpose.JOBS,
        }
        twice = {link.Facts: self.facts is not None, link.Ready: self.ready, link.Parking: self.parking}
        wrong = early.get(type(record), False) or twice.get(type(record), False)
        return f"a {record.NAME} packet out of turn" if wrong else None

    def _count_packet(self) -> None:
        now = self.loop.time()
        if now - self._window > MINUTE:
            self._window, self._count = now, 0
        self._count += 1
        if self._count > EXCESS:
            raise link.LinkError(f"more than {EXCESS} packets in a minute")

    def last_words(self) -> None:
        """Read the link to its end: the generation is dead, and only now may it be judged."""
        if self._reading:
            self.read(LAST_WORDS)
        self._stop_reading()

    def send(self, record: link.Record, fds: Sequence[int] = ()) -> None:
        """Send `record`; a generation that does not read its link has misbehaved."""
        if self.end.sock.fileno() < 0:
            return
        try:
            self.end.post(record, fds)
        except link.LinkClosed:
            return
        except link.LinkError as error:
            self.owner.misbehaved(self, str(error))
            return
        if self.end.pending:
            self.loop.add_writer(self.end.fileno(), self._write)

    def ask(self) -> asyncio.Event:
        """Ask for fresh `Stats`; return the event that their arrival sets."""
        if self.answered is None or self.answered.is_set():
            self.answered = asyncio.Event()
        self._count -= 1  # the answer is not its own idea
        self.send(link.Report())
        return self.answered

    def _write(self) -> None:
        with contextlib.suppress(link.LinkClosed):
            if not self.end.flush():
                return
        self.loop.remove_writer(self.end.fileno())

    def kill(self) -> None:
        """SIGKILL, now or as soon as there is a process to be killed."""
        self.doomed = True
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def born(self, pid: int, pidfd: int) -> None:
        """The process runs."""
        self.pid, self.pidfd = pid, pidfd
        if self.doomed:
            self.kill()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.loop.remove_reader(self.end.fileno())

    def dispose(self) -> None:
        """Give up everything that is held of this generation."""
        self._stop_reading()
        if self._hang_up is not None:
            self._hang_up.cancel()
        if self.end.sock.fileno() >= 0:
            self.loop.remove_writer(self.end.fileno())
            self.close(self.end.detach())
        self.close(self.pidfd)
        self.pidfd = -1
        self.drop_pending()

    def drop_pending(self) -> None:
        """Forget listeners that were never committed."""
        for entry in self.pending or ():
            self.close(entry.sock.detach())
        self.pending = None

    def take_pending(self) -> list[listeners.Kept]:
        """Return the listeners that it told of; they are the caller's now."""
        pending, self.pending = self.pending or [], []
        return pending


def describe(status: int) -> str:
    """Return how a process ended (`status` as of `subprocess`), for people."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
