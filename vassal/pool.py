"""The workers that a master wants and those that it has: a pure function of what happened.

No process, no clock, no socket: events come in with the time, actions come out. The one danger is a worker that is
taken away before its replacement serves, so a worker that asks to be replaced goes on until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK_DEATH = 1.0
"""A worker that dies within so many seconds of accepting is one that keeps dying: its successor has to wait."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt at a worker that died quickly; doubled each time."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts, at most."""


class Phase(Enum):
    """What a worker is doing."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"


@dataclass(slots=True)
class Worker:
    """One worker process: its `slot` on the scoreboard, its logical `number` (from 1), and since when it is so."""

    slot: int
    number: int
    phase: Phase
    since: float
    unwanted: bool = False
    """It asked to be replaced."""
    kill_at: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a worker `number` into `slot`."""

    slot: int
    number: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Let the worker in `slot` accept."""

    slot: int


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Retire the worker in `slot` within `mercy` seconds."""

    slot: int
    mercy: float


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the worker in `slot`."""

    slot: int


Action = Start | Admit | Dismiss | Kill


class Pool:
    """`wanted` workers, numbered from 1; a retiring one gets `mercy` seconds."""

    def __init__(self, wanted: int, mercy: float) -> None:
        self.wanted = wanted
        self.mercy = mercy
        self.workers: dict[int, Worker] = {}
        self.closing = False
        self._wait: dict[int, float] = {}
        self._not_before: dict[int, float] = {}

    @property
    def slots(self) -> int:
        """Slots that can be in use at once: a leaving worker beside each serving one, and one that starts."""
        return 2 * self.wanted + 1

    @property
    def serving(self) -> list[Worker]:
        """The workers that accept."""
        return [worker for worker in self.workers.values() if worker.phase is Phase.SERVING]

    def decide(self, now: float) -> list[Action]:
        """Return what is to be done at `now`, in order. The pool assumes that it will be."""
        actions: list[Action] = [
            Kill(worker.slot)
            for worker in self.workers.values()
            if worker.kill_at is not None and worker.kill_at <= now
        ]
        for worker in self.workers.values():
            if worker.kill_at is not None and worker.kill_at <= now:
                worker.kill_at = None
        if not self.closing:
            actions.extend(self._starts(now))
        return actions

    def _missing(self) -> list[int]:
        """Return the numbers of which a worker should be started, were it not too early."""
        active = [worker for worker in self.workers.values() if worker.phase is not Phase.LEAVING]
        have = {worker.number for worker in active}
        missing = [number for number in range(1, self.wanted + 1) if number not in have]
        if not missing and not any(worker.phase is Phase.STARTING for worker in active):
            # One at a time: never are all workers new at once, nor is memory doubled.
            missing = [worker.number for worker in active if worker.unwanted][:1]
        return missing

    def _starts(self, now: float) -> Iterator[Action]:
        for number in self._missing():
            if self._not_before.get(number, now) > now:
                continue
            slot = self._free_slot()
            if slot is None:
                return  # leaving workers fill the board; their deadline frees it
            self.workers[slot] = Worker(slot, number, Phase.STARTING, now)
            yield Start(slot, number)

    def _free_slot(self) -> int | None:
        return next((slot for slot in range(1, self.slots + 1) if slot not in self.workers), None)

    def deadline(self) -> float | None:
        """Return when `decide` has something to do next without any event, None for never."""
        moments = [worker.kill_at for worker in self.workers.values() if worker.kill_at is not None]
        if not self.closing and self._free_slot() is not None:  # without one, only a worker's end changes anything
            moments.extend(self._not_before[number] for number in self._missing() if number in self._not_before)
        return min(moments, default=None)

    def loaded(self, slot: int, now: float) -> list[Action]:
        """The worker in `slot` has loaded the app: admit it, and retire the one that it replaces."""
        worker = self.workers[slot]
        if worker.phase is not Phase.STARTING:
            return []
        worker.phase = Phase.SERVING
        worker.since = now
        self._not_before.pop(worker.number, None)
        actions: list[Action] = [Admit(slot)]
        for other in tuple(self.workers.values()):
            if other.number == worker.number and other.slot != slot and other.phase is Phase.SERVING:
                actions.extend(self._dismiss(other, self.mercy, now))
        return actions

    def asked(self, slot: int) -> None:
        """The worker in `slot` asks to be replaced (``max-requests`` and the like)."""
        worker = self.workers[slot]
        if worker.phase is Phase.SERVING:
            worker.unwanted = True

    def gone(self, slot: int, now: float) -> Worker:
        """The worker in `slot` has ended; return what it was. The next `decide` replaces it if need be."""
        worker = self.workers.pop(slot)
        if worker.phase is Phase.SERVING and now - worker.since >= QUICK_DEATH:
            self._wait.pop(worker.number, None)
        elif worker.phase is not Phase.LEAVING:
            wait = self._wait.get(worker.number, FIRST_WAIT)
            self._not_before[worker.number] = now + wait
            self._wait[worker.number] = min(wait * 2, LONGEST_WAIT)
        return worker

    def close(self, mercy: float, now: float) -> list[Action]:
        """Retire all workers and start no more."""
        self.closing = True
        actions: list[Action] = []
        for worker in self.workers.values():
            if worker.phase is Phase.LEAVING:
                worker.kill_at = min(worker.kill_at or now + mercy, now + mercy)
            elif worker.phase is Phase.STARTING:
                # It answers nobody yet, and may never have done with loading.
                worker.phase = Phase.LEAVING
                actions.append(Kill(worker.slot))
            else:
                actions.extend(self._dismiss(worker, mercy, now))
        return actions

    def _dismiss(self, worker: Worker, mercy: float, now: float) -> list[Action]:
        worker.phase = Phase.LEAVING
        worker.since = now
        worker.kill_at = now + mercy
        return [Dismiss(worker.slot, mercy)]
