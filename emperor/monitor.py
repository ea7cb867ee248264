"""The monitor: what lies in the places, as events for the fleet.

Wires the scan, the settling and the watch: `Monitor` scans when something hints that it should (a watch event, a
pending file, `emperor-freq`), each place in a thread of its own with a deadline, and delivers what happened on the
event loop.

The danger here: a file system that does not answer. A scan that hangs must hold up its own place only, and neither the
loop, nor the other places, nor the process's exit; and it must not breed a thread with every try.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from emperor.manifest import Appeared, Event, Manifest, Touched, Vanished, Version
from emperor.names import Namer
from emperor.places import (
    Place,
    PlaceError,
    PlaceOptions,
    ScanResult,
    WatchDir,
    is_candidate,
    parse_place,
    scan,
)
from emperor.settle import Settler

__all__ = [
    "Appeared",
    "Event",
    "Manifest",
    "Monitor",
    "Namer",
    "Place",
    "PlaceError",
    "PlaceOptions",
    "ScanResult",
    "Scanner",
    "Settler",
    "Touched",
    "Vanished",
    "parse_place",
    "scan",
]

DEADLINE = 5.0  # s; a scan that takes longer is reported as hung, and waited for in its thread
BOOT_GRACE = 1.0  # s; how long the first delivery waits for the slowest place
GAP = 0.005  # s; between two scans of a place, at least
IDLE_SHARE = 0.005  # of a processor at most goes into scans that nothing hints at: 10,000 files are seen less often
SHARE = 0.1  # of a processor at most goes into scans that hints ask for ...
BURST = 0.5  # s; ... but for so much of it saved up: a touch and its second look shall not wait for each other

Scan = Callable[[Place, PlaceOptions, Mapping[str, Version]], ScanResult]


class Watcher(Protocol):
    """What the monitor needs of `emperor.watch.Watch`."""

    def update(self, wanted: Sequence[WatchDir]) -> None:
        """Watch these directories from now on, and no others."""

    def close(self) -> None:
        """Stop."""


class Scanner:
    """Scans each place in a daemon thread of its own, with a deadline. All methods belong to the event loop.

    At most one scan of a place is under way: where it hangs, that thread waits, and no other is started.

    Not a ThreadPoolExecutor: the interpreter joins its threads at exit, and a hung scan would keep the process.

    Args:
        places: Where to look.
        options: How.
        deliver: Called on the loop with (place number, result, its `cost_of`). After the deadline it is called with
            a result that says so, and again when the thread comes back after all.
        deadline: Seconds.
        body: What scans; replaced in tests.
    """

    def __init__(
        self,
        places: Sequence[Place],
        options: PlaceOptions,
        deliver: Callable[[int, ScanResult, float], None],
        *,
        deadline: float = DEADLINE,
        body: Scan = scan,
    ) -> None:
        self._places = places
        self._options = options
        self._deliver = deliver
        self._deadline = deadline
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[int, queue.SimpleQueue[Mapping[str, Version] | None]] = {}
        self._busy: dict[int, asyncio.TimerHandle] = {}
        self._closed = False

    def busy(self, number: int) -> bool:
        """Whether a scan of this place is under way (or hangs)."""
        return number in self._busy

    def request(self, number: int, settled: Mapping[str, Version]) -> bool:
        """Start a scan of a place; False if one is under way."""
        if number in self._busy or self._closed:
            return False
        jobs = self._jobs.get(number)
        if jobs is None:
            jobs = queue.SimpleQueue()
            arguments = (number, jobs)
            try:
                threading.Thread(target=self._run, args=arguments, name=f"scan-{number}", daemon=True).start()
            except RuntimeError as error:  # the limit of processes: the next scan tries again
                self._loop.call_soon(self._deliver, number, _unseen(self._places[number], str(error)), 0.0)
                return True
            self._jobs[number] = jobs
        self._busy[number] = self._loop.call_later(self._deadline, self._late, number)
        jobs.put(settled)
        return True

    def close(self) -> None:
        """Start no more scans; threads that are not hung end."""
        self._closed = True
        for jobs in self._jobs.values():
            jobs.put(None)
        for timer in self._busy.values():
            timer.cancel()

    def _run(self, number: int, jobs: queue.SimpleQueue[Mapping[str, Version] | None]) -> None:
        place = self._places[number]
        while (settled := jobs.get()) is not None:
            began, worked = time.monotonic(), time.thread_time()
            try:
                result = self._body(place, self._options, settled)
            except Exception as error:  # noqa: BLE001  # whatever it is: the place is unseen, its thread lives on
                result = _unseen(place, repr(error))
            cost = cost_of(time.thread_time() - worked, time.monotonic() - began)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is interested any more
                self._loop.call_soon_threadsafe(self._done, number, result, cost)

    def _done(self, number: int, result: ScanResult, cost: float) -> None:
        self._busy.pop(number).cancel()
        if not self._closed:
            self._deliver(number, result, cost)

    def _late(self, number: int) -> None:
        text = self._places[number].text
        warning = f"{text} has not answered for {self._deadline:g} s; the vassals there stay as they are"
        self._deliver(number, ScanResult(unseen=("/",), warnings=(warning,)), 0.0)


def cost_of(worked: float, took: float) -> float:
    """Return what a scan is taken for, in seconds, that kept a processor for `worked` seconds and took `took`.

    Mostly it waits: for a server, a disk, other threads. That costs nobody anything, but a place that takes long is
    left alone for as long (`IDLE_SHARE`) before it is asked again.
    """
    return max(worked, took * IDLE_SHARE)


def _unseen(place: Place, why: str) -> ScanResult:
    return ScanResult(
        unseen=("/",), warnings=(f"cannot look at {place.text}: {why}; the vassals there stay as they are",)
    )


@dataclass(slots=True)
class _Slot:
    """When a place was and will be scanned."""

    again: bool = False  # a hint came while a scan was under way
    timer: asyncio.TimerHandle | None = None
    not_before: float = 0.0
    cost: float = 0.0  # of the last scan (`cost_of`)
    paid: float = 0.0  # when what its scans cost will have been a SHARE of the time
    warnings: frozenset[str] = frozenset()
    watch: tuple[WatchDir, ...] = ()


class Monitor:
    """Watches all places of one emperor. Everything but `wake` belongs to the event loop.

    Args:
        places: Where vassals are looked for.
        options: How.
        deliver: Called on the loop with what happened, in order; must not block.
        warn: Called on the loop with one sentence for a person; each once until it no longer holds.
        freq: Seconds between scans that nothing hints at (`emperor-freq`).
        make_watch: `emperor.watch.Watch`, or None for scanning alone.
        deadline: Seconds for one scan of one place.
        body: What scans; replaced in tests.
    """

    def __init__(  # noqa: PLR0913  # wiring; all but the first four have defaults
        self,
        places: Sequence[Place],
        options: PlaceOptions,
        *,
        deliver: Callable[[list[Event]], None],
        warn: Callable[[str], None],
        freq: float = 3.0,
        make_watch: Callable[[Callable[[], None], Callable[[str], bool], Callable[[str], None]], Watcher] | None = None,
        deadline: float = DEADLINE,
        body: Scan = scan,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._warn = warn
        self._freq = freq
        self._settler = Settler(len(places), Namer(options.extensions()))
        self._scanner = Scanner(places, options, self._scanned, deadline=deadline, body=body)
        self._slots = [_Slot() for _ in places]
        self._hinted = False  # a hint is on its way to the loop; a benign race costs one scan more
        self._closed = False
        self._first: dict[int, ScanResult] | None = {}
        self._ready = asyncio.Event()
        extensions = options.extensions()
        self._watch: Watcher | None = None
        if make_watch is not None:
            self._watch = make_watch(self.wake, lambda name: is_candidate(name, extensions), self._warn_threadsafe)

    async def start(self) -> None:
        """Scan all places for the first time; returns when each has answered, or after a second without the others.

        The files that were at rest have been delivered by then, those of an earlier place named first.
        """
        for number in range(len(self._slots)):
            self._scan(number)
        if self._slots:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), BOOT_GRACE)
        self._first_results()

    def wake(self) -> None:
        """Something may have changed: scan soon. From any thread."""
        if self._hinted or self._closed:
            return
        self._hinted = True
        try:
            self._loop.call_soon_threadsafe(self._hint)
        except RuntimeError:  # the loop is closed
            self._hinted = False

    def release(self, name: str) -> None:
        """The vassal `name`, whose file vanished, has ended: another file may bear its name."""
        self._settler.release(name)

    def close(self) -> None:
        """Stop watching and scanning. A scan that hangs is left to its daemon thread."""
        self._closed = True
        for slot in self._slots:
            if slot.timer is not None:
                slot.timer.cancel()
        self._scanner.close()
        if self._watch is not None:
            self._watch.close()

    def _hint(self) -> None:
        self._hinted = False
        for number in range(len(self._slots)):
            self._want(number, 0.0)

    def _want(self, number: int, at: float) -> None:
        """Scan a place at the monotonic time `at`, or as soon afterwards as the pace allows."""
        slot = self._slots[number]
        if self._closed:
            return
        if self._scanner.busy(number):
            slot.again = True  # the scan under way may have passed the change already
            return
        at = max(at, slot.not_before)
        if slot.timer is not None:
            if slot.timer.when() <= at:
                return
            slot.timer.cancel()
        slot.timer = self._loop.call_at(at, self._scan, number)

    def _scan(self, number: int) -> None:
        slot = self._slots[number]
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        slot.again = False
        self._scanner.request(number, self._settler.settled())

    def _scanned(self, number: int, result: ScanResult, cost: float) -> None:
        if self._closed:
            return
        now = self._loop.time()
        slot = self._slots[number]
        slot.cost = cost
        slot.paid = max(slot.paid, now - BURST) + cost / SHARE
        slot.not_before = min(max(now + GAP, slot.paid), now + self._freq)
        for warning in result.warnings:
            if warning not in slot.warnings:
                self._warn(warning)
        slot.warnings = frozenset(result.warnings)
        self._rewatch(slot, result)
        if self._first is not None:
            self._first[number] = result
            if len(self._first) == len(self._slots):
                self._ready.set()
            return
        self._feed({number: result}, now)

    def _first_results(self) -> None:
        """Feed what the boot gathered, all at once: names then depend on the order of places, not on who was faster."""
        first, self._first = self._first, None
        if first and not self._closed:
            self._feed(first, self._loop.time())

    def _feed(self, results: Mapping[int, ScanResult], now: float) -> None:
        events, next_wake = self._settler.feed(results, now)
        for number in results:
            if self._scanner.busy(number):
                continue  # this was the deadline's word: what the scan itself brings says when the next one is due
            soon = self._slots[number].again
            pause = max(self._freq, self._slots[number].cost / IDLE_SHARE)
            self._want(number, now if soon else min(next_wake or now + pause, now + pause))
        if events:
            self._deliver(events)

    def _rewatch(self, slot: _Slot, result: ScanResult) -> None:
        if self._watch is None or (result.unseen and not result.watch):
            return
        slot.watch = result.watch
        self._watch.update([directory for each in self._slots for directory in each.watch])

    def _warn_threadsafe(self, message: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._warn, message)
