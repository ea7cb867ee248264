"""The threads of a worker and the lead: who polls, who runs the app, who waits.

One thread leads; it may lose the lead only between two steps of its own or, by the ticker, while it is inside an app
call. The one danger is a thread that believes it leads when it does not. So the claim decides: before a call the leader
lays its connection down as a claim, and whoever picks it up again, the leader itself or the ticker, has the lead.
Picking up is one atomic operation (``list.pop``), which costs the fast path no lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from vassal import logs, scoreboard

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.awaited import AwaitedInput
    from vassal.connection import Connection

TICK = 0.005
"""Seconds that a leader may spend in one app call before the lead goes to another thread."""
SLOW = 0.003
"""Mean seconds of a call from which on the lead is passed before the call: waiting for the tick would cost more."""
QUIET_TICKS = 20
"""Ticks without a running call after which the ticker goes to sleep."""
PARKED = 2.0
"""Seconds that the ticker sleeps at most: the bound on a wake-up that is missed in a race."""
_WEIGHT = 0.125
CRASHED = 1
"""Exit status of a worker that failed itself."""


class Member:
    """One thread: number 0 is the main thread, `spare` marks the one that never runs the app."""

    __slots__ = (
        "began",
        "claim",
        "counts",
        "exceptions",
        "flush",
        "ident",
        "last",
        "now",
        "number",
        "requests",
        "running",
        "serving",
        "spare",
        "times",
        "tx",
        "wake",
    )

    def __init__(self, number: int, row: scoreboard.Row, *, spare: bool = False) -> None:
        self.number = number
        self.spare = spare
        self.ident = 0
        self.claim: list[Connection] = []
        self.serving: Connection | None = None
        """The connection whose app call runs."""
        self.wake = threading.Lock()
        self.wake.acquire()
        self.times = row.times
        self.counts = row.counts
        self.now = monotonic()
        self.began = 0.0
        """When its last app call began."""
        self.last = 0.0
        """When its last app call ended."""
        self.flush: Callable[[], None] | None = None
        """Writes the lines of the request log that have come together."""
        self.requests = 0
        self.exceptions = 0
        self.tx = 0
        self.running = 0.0

    def publish(self) -> None:
        """Copy the counters to the scoreboard; write the request log's lines."""
        counts = self.counts
        counts[scoreboard.REQUESTS] = self.requests
        counts[scoreboard.EXCEPTIONS] = self.exceptions
        counts[scoreboard.TX] = self.tx
        counts[scoreboard.RUNNING] = int(self.running * 1e6)
        self.times[scoreboard.LAST] = self.last
        if self.flush is not None:
            self.flush()


class FairQueue:
    """Requests that wait for a thread: one queue for each path, served in turn.

    With one queue for all, sixty requests for a slow page would stand before every quick one.
    """

    __slots__ = ("_queues", "_size", "_turns")

    def __init__(self) -> None:
        self._queues: dict[str, deque[Connection]] = {}
        self._turns: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, key: str, item: Connection) -> None:
        """Append `item` to the queue `key`."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            self._turns.append(key)
        queue.append(item)
        self._size += 1

    def pop(self) -> Connection:
        """Remove and return the oldest item of the queue whose turn it is.

        Raises:
            IndexError: there is none.
        """
        key = self._turns.popleft()
        queue = self._queues[key]
        item = queue.popleft()
        self._size -= 1
        if queue:
            self._turns.append(key)
        else:
            del self._queues[key]
        return item


class Work(Protocol):
    """What the crew does: the loop, as the crew sees it."""

    def lead(self, me: Member) -> None:
        """Poll and act until `me` leads no more."""

    def serve(self, conn: Connection, me: Member) -> None:
        """Run the app for the request that `conn` holds."""

    def kick(self) -> None:
        """Make the leader return from its poll."""


class Crew:
    """All threads of a worker. `lock` guards who leads, who idles, and `ready`."""

    def __init__(self, work: Work, threads: int, row: Callable[[int], scoreboard.Row]) -> None:
        self._work = work
        self._row = row
        self.threads = threads
        self.lock = threading.Lock()
        self.main = Member(0, row(0))
        self.members = [self.main]
        self.leader = self.main
        self.spare: Member | None = None
        self.idle: list[Member] = []
        self.ready = FairQueue()
        self.awaiting: set[AwaitedInput] = set()
        """Inputs for whose bodies a thread waits, or may have to."""
        self.struck = False
        """By harakiri: a thread is stuck for good, and the worker must be replaced."""
        self.average = 0.0
        self.slow = False
        self.stopping = False
        self.parked = False
        self.on_tick: Callable[[float], None] = lambda _now: None
        self._unpark = threading.Lock()
        self._unpark.acquire()
        self._started: list[threading.Thread] = []
        self._lonely = False
        """A thread could not be started, and that was said."""

    # --- threads -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work in the main thread until `stop`; then wait shortly for the others."""
        self._start(self._tick, "vassal-ticker")
        self.main.ident = threading.get_ident()
        self._work_on(self.main)
        for thread in self._started:
            thread.join(0.5)

    def stop(self) -> None:
        """Send all threads home as soon as each has finished what it does."""
        with self.lock:
            self.stopping = True
            for member in (*self.members, *((self.spare,) if self.spare else ())):
                with contextlib.suppress(RuntimeError):  # not waiting
                    member.wake.release()
            with contextlib.suppress(RuntimeError):
                self._unpark.release()

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=_or_end, args=(target,), name=name, daemon=True)
        thread.start()
        self._started.append(thread)

    def _new_member(self) -> Member:
        number = len(self.members)
        member = Member(number, self._row(number))
        member.flush = self.main.flush
        self._start(lambda: self._live(member), f"vassal-app-{number}")  # it waits to be woken
        self.members.append(member)
        return member

    def _new_spare(self) -> Member:
        member = Member(self.threads, self._row(self.threads), spare=True)
        member.flush = self.main.flush
        self._start(lambda: self._live(member), "vassal-io")
        self.spare = member
        return member

    def _live(self, me: Member) -> None:
        me.ident = threading.get_ident()
        me.wake.acquire()
        if me.spare:
            while not self.stopping:
                self._work.lead(me)
                me.wake.acquire()
        else:
            self._work_on(me)

    def _work_on(self, me: Member) -> None:
        while not self.stopping:
            if self.leader is me:
                self._work.lead(me)
                continue
            conn = self._rest(me)
            if conn is not None:
                self._work.serve(conn, me)

    def _rest(self, me: Member) -> Connection | None:
        """Return a request that waits; without one sleep until there is something to do."""
        with self.lock:
            if self.stopping:
                return None
            # Where calls are quick, the lead is worth more than the next request: it saves a switch of threads.
            if self.ready and (self.slow or self.leader is not self.spare):
                me.publish()
                return self.ready.pop()
            self.idle.append(me)
            asks = self.leader is self.spare
        if asks:
            self._work.kick()
        me.publish()
        me.wake.acquire()
        return None

    # --- the lead ------------------------------------------------------------------------------------------------

    def pass_lead(self, conn: Connection) -> None:
        """The leader gives the lead away, because what it will do for `conn` takes long."""
        with self.lock:
            conn.disarm(self.leader)
            self._hand_on()

    def take_lead(self, member: Member) -> bool:
        """Take the lead from `member` if it is inside an app call; it will notice when the call returns."""
        with self.lock:
            try:
                conn = member.claim.pop()
            except IndexError:
                return False
            conn.disarm(member)
            self._hand_on()
        return True

    def give_back(self) -> bool:
        """The spare gives the lead to an app thread that has nothing to do; False: there is none."""
        with self.lock:
            if not self.idle:
                return False
            self.leader = self.idle.pop()
            self.leader.wake.release()
        return True

    def _hand_on(self) -> None:
        try:
            if self.idle:
                chosen = self.idle.pop()
            elif len(self.members) < self.threads:
                chosen = self._new_member()
            else:
                chosen = self.spare or self._new_spare()
        except RuntimeError:  # "can't start new thread": of limit-as, or of a container
            if not self._lonely:
                self._lonely = True
                logs.say("no thread can be started: a slow call of the app holds all clients up; raise the limits")
            return  # it stays with whoever has it
        self.leader = chosen
        chosen.wake.release()

    def enqueue(self, conn: Connection, key: str) -> None:
        """Let `conn`, whose request is complete, wait for an app thread."""
        with self.lock:
            self.ready.push(key, conn)

    def next_ready(self) -> Connection | None:
        """Return a request that waits, for a leader that may run it."""
        with self.lock:
            return self.ready.pop() if self.ready else None

    @property
    def exhausted(self) -> bool:
        """Whether harakiri has struck every thread that may run the app: a request would wait here for nobody."""
        if not self.struck:
            return False
        stuck = [conn for member in tuple(self.members) if (conn := member.serving) is not None and conn.doomed]
        return len(stuck) >= self.threads

    def measure(self, seconds: float) -> None:
        """Take in how long a call took. Only called where it or the mean so far is worth noting."""
        self.average += (seconds - self.average) * _WEIGHT
        self.slow = self.average > SLOW

    # --- the ticker ----------------------------------------------------------------------------------------------

    def unpark(self) -> None:
        """Wake the ticker: something happens again."""
        self.parked = False
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._unpark.release()

    def _tick(self) -> None:
        quiet = 0
        while not self.stopping:
            if self._unpark.acquire(timeout=PARKED if quiet > QUIET_TICKS + 1 else TICK):
                quiet = 0  # else it would park again at once, and be woken for every request
            now = monotonic()
            try:
                leader = self.leader
                began = leader.times[scoreboard.SINCE]
                if began and now - began >= TICK and leader.claim:
                    self.take_lead(leader)
                self.on_tick(now)
            except Exception:  # noqa: BLE001 (without a ticker a slow call would hold everybody up)
                logs.say("an error in the server itself, at a tick:\n" + traceback.format_exc())
            if any(member.times[scoreboard.SINCE] for member in tuple(self.members)):
                quiet = 0
            else:
                quiet += 1
            self.parked = quiet > QUIET_TICKS


def _or_end(target: Callable[[], None]) -> None:
    """Run `target`; should it fail, end the worker, as a failure of the main thread does.

    A thread that is gone may have had the lead, and nobody would ever take it over.
    """
    try:
        target()
    except BaseException:  # noqa: BLE001 (most likely there is no memory left, and a new worker has some)
        with contextlib.suppress(Exception):
            logs.say("a thread of the worker failed, and so the worker ends:\n" + traceback.format_exc().rstrip())
        os._exit(CRASHED)
