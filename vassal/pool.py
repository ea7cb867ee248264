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

    from vassal.config import Settings

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
    stuck: bool = False
    """It did so because it cannot serve as it should."""
    chained: bool = False
    """It is to be replaced because the code has changed."""
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


@dataclass(frozen=True, slots=True)
class Chain:
    """How a chain of replacements ended. `broken`: the first one that failed stopped it."""

    broken: bool


@dataclass(frozen=True, slots=True)
class Cheaper:
    """Fewer workers than `processes` while that is enough (uWSGI's ``cheaper``).

    At least `least`, `step` more at a time, `initial` at the start (0: `least`).
    """

    least: int
    initial: int = 0
    step: int = 1


CALM = 3
"""Looks in a row at which a worker must have been superfluous before it goes."""


class Pool:
    """At most `size` workers, numbered from 1; a retiring one gets `mercy` seconds.

    `wanted` of them are kept. `cheap`: only one until it is ready, and none afterwards until `wake`. A replacement in
    a chain gets `start_timeout` seconds.
    """

    def __init__(
        self,
        size: int,
        mercy: float,
        *,
        cheap: bool = False,
        cheaper: Cheaper | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self.size = size
        self.cheaper = cheaper if cheaper is not None and cheaper.least < size else None
        self.wanted = 1 if cheap else self._initial()
        self.mercy = mercy
        self.keep = False
        """Nobody goes by choice: newer code is on its way or has failed, and who loads the app now would load that."""
        self.chaining = False
        self.chain_ended: Chain | None = None
        """Set when a chain has ended; whoever tells of it takes it away."""
        self._start_timeout = start_timeout
        self._calm = 0
        self.workers: dict[int, Worker] = {}
        self.closing = False
        self._wait: dict[int, float] = {}
        self._not_before: dict[int, float] = {}

    @property
    def slots(self) -> int:
        """Slots that can be in use at once: a leaving worker beside each serving one, and one that starts."""
        return 2 * self.size + 1

    def _initial(self) -> int:
        if self.cheaper is None:
            return self.size
        return min(max(self.cheaper.initial, self.cheaper.least, 1), self.size)

    @property
    def asleep(self) -> bool:
        """Whether no worker is wanted until somebody calls."""
        return self.wanted == 0

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
            missing = [worker.number for worker in active if self._replaceable(worker)][:1]
        return missing

    def _replaceable(self, worker: Worker) -> bool:
        return worker.chained or worker.stuck or (worker.unwanted and not self.keep)

    def _starts(self, now: float) -> Iterator[Action]:
        for number in self._missing():
            if self._not_before.get(number, now) > now:
                continue
            slot = self._free_slot()
            if slot is None:
                return  # leaving workers fill the board; their deadline frees it
            new = self.workers[slot] = Worker(slot, number, Phase.STARTING, now)
            if self.chaining:
                new.kill_at = now + self._start_timeout
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
        worker.kill_at = None
        self._not_before.pop(worker.number, None)
        actions: list[Action] = [Admit(slot)]
        for other in tuple(self.workers.values()):
            if other.number == worker.number and other.slot != slot and other.phase is Phase.SERVING:
                actions.extend(self._dismiss(other, self.mercy, now))
        if worker.number > self.wanted and not self.closing:  # it was started before fewer were wanted
            actions.extend(self._dismiss(worker, self.mercy, now))
        self._look_at_chain()
        return actions

    def asked(self, slot: int, *, stuck: bool = False) -> None:
        """The worker in `slot` asks to be replaced: by choice (``max-requests`` and its kin), or `stuck` (harakiri)."""
        worker = self.workers[slot]
        if worker.phase is Phase.SERVING:
            worker.unwanted = True
            worker.stuck = worker.stuck or stuck

    def gone(self, slot: int, now: float) -> Worker:
        """The worker in `slot` has ended; return what it was. The next `decide` replaces it if need be."""
        worker = self.workers.pop(slot)
        if worker.phase is Phase.SERVING and now - worker.since >= QUICK_DEATH:
            self._wait.pop(worker.number, None)
        elif worker.phase is not Phase.LEAVING:
            wait = self._wait.get(worker.number, FIRST_WAIT)
            self._not_before[worker.number] = now + wait
            self._wait[worker.number] = min(wait * 2, LONGEST_WAIT)
        if self.chaining and worker.phase is Phase.STARTING:
            self._break_chain()
        self._look_at_chain()
        return worker

    # --- the code has changed --------------------------------------------------------------------------------------

    def chain(self) -> None:
        """Replace every worker that serves, one after the other; the first that fails to start ends it."""
        self._not_before.clear()  # what failed before was other code
        self._wait.clear()
        self.chaining = True
        self.chain_ended = None
        for worker in self.serving:
            worker.chained = True
        self._look_at_chain()

    def _break_chain(self) -> None:
        for worker in self.workers.values():
            worker.chained = False
        self.chaining = False
        self.keep = True
        self.chain_ended = Chain(broken=True)

    def _look_at_chain(self) -> None:
        if self.chaining and not any(worker.chained for worker in self.serving):
            self.chaining = self.keep = False
            self.chain_ended = Chain(broken=False)

    # --- how many ------------------------------------------------------------------------------------------------

    def sleep(self, now: float) -> list[Action]:
        """Retire all workers until `wake`."""
        return self.resize(0, now)

    def wake(self) -> None:
        """Somebody calls: as many workers as at the start."""
        if self.asleep:
            self.wanted = self._initial()
            self._not_before.clear()

    def resize(self, wanted: int, now: float) -> list[Action]:
        """Keep `wanted` workers from now on, at most `size`; retire those beyond."""
        self.wanted = min(max(wanted, 0), self.size)
        surplus = [w for w in self.workers.values() if w.number > self.wanted and w.phase is Phase.SERVING]
        actions = [action for worker in surplus for action in self._dismiss(worker, self.mercy, now)]
        self._look_at_chain()
        return actions

    def judge(self, busy: int, now: float, *, last_works: bool = False) -> list[Action]:
        """With ``cheaper``: `busy` workers have no thread to spare. More are wanted if all are, fewer after a while.

        The one that would go is that with the highest number, and while it works for anybody (`last_works`) none does.
        """
        if self.cheaper is None or self.asleep or self.closing or self.keep or len(self.serving) < self.wanted:
            return []
        if busy >= self.wanted:
            self._calm = 0
            return self.resize(self.wanted + self.cheaper.step, now)
        superfluous = busy < self.wanted - 1 and self.wanted > max(self.cheaper.least, 1) and not last_works
        self._calm = self._calm + 1 if superfluous else 0
        if self._calm < CALM:
            return []
        self._calm = 0
        return self.resize(self.wanted - 1, now)

    # --- the end -------------------------------------------------------------------------------------------------

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


def of(settings: Settings) -> Pool:
    """Return the pool that `settings` ask for."""
    cheaper = None
    if settings.cheaper:
        cheaper = Cheaper(settings.cheaper, settings.cheaper_initial, settings.cheaper_step)
    return Pool(
        settings.processes,
        settings.worker_reload_mercy,
        cheap=settings.cheap,
        cheaper=cheaper,
        start_timeout=settings.start_timeout,
    )
