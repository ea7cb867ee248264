"""A vassal's record: all that the lifecycle knows of it, as frozen data.

The danger here: the mappings in a record are shared between its versions. They are replaced, never changed in place.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emperor import manifest

OVERLAP = "overlap"
DRAIN = "drain"
CHAIN = "chain"


class State(enum.StrEnum):
    """What `emperor status` shows. The order is that of the table's columns."""

    PARKED = "parked"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    BROKEN = "broken"
    STOPPED = "stopped"


class Purpose(enum.StrEnum):
    """What a generation is for: `vassal.link.Contract.purpose`."""

    SERVE = "serve"
    INSPECT = "inspect"
    """Read the file and bind; then park, where the file or the emperor wants that, or else go on to serve."""
    JOBS = "jobs"
    """Run the cron jobs that are due, for a parked vassal."""
    UNLINK = "unlink"
    """Remove the paths of the sockets of a vassal that ends."""


class Phase(enum.StrEnum):
    """How far a leaving generation has come."""

    RELEASING = "releasing"
    RETIRING = "retiring"
    KILLED = "killed"


class Alarm(enum.StrEnum):
    """Kinds of deadlines. All but RETRY and WAKE belong to one generation."""

    START = "start"
    SUPERSEDED = "superseded"
    RETRY = "retry"
    MERCY = "mercy"
    HEARTBEAT = "heartbeat"
    WAKE = "wake"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Due:
    """An alarm's time has come. One that was disarmed or moved meanwhile is stale, and so without effect."""

    alarm: Alarm
    gen: int = 0


# --- the record --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """What the emperor's own settings say to every vassal's life.

    Attributes:
        throttle_ms: First wait after a disloyal death, in ms.
        max_throttle_ms: Longest such wait, in ms.
        mercy: Seconds to retire in, for a generation that has not said otherwise.
        start_timeout: Seconds to become ready in while an older generation serves, likewise.
        required_heartbeat: Seconds between two heartbeats of a generation that has sent one; 0: not watched.
        curse_tolerance: Seconds that a generation may take to end, whatever it says of its mercy; 0: its mercy.
        on_demand: ``bound``: the emperor itself binds a socket for each vassal, which so is parked from the start;
            ``asked``: a vassal's first start finds out whether it is to be parked; '': vassals start at once.
        root: The emperor is root, so a vassal's own processes may be unable to unlink its sockets.
    """

    throttle_ms: int = 1000
    max_throttle_ms: int = 180_000
    mercy: int = 60
    start_timeout: int = 60
    required_heartbeat: int = 0
    curse_tolerance: int = 0
    on_demand: str = ""
    root: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """One run that is coming or serving. `started` and `ready_at` are monotonic seconds, `mercy` and `start_timeout`
    seconds; `strategy` is how its successor takes over ('' counts as overlap).
    """  # noqa: D205 (one sentence a field would be longer than the fields)

    number: int
    manifest: manifest.Manifest
    started: float
    mercy: int
    start_timeout: int
    ready_at: float | None = None
    loyal: bool = False
    strategy: str = ""
    purpose: Purpose = Purpose.SERVE


@dataclass(frozen=True, slots=True)
class Leaving:
    """A generation on its way out.

    Attributes:
        phase: How far it is.
        mercy: Seconds that its retirement may take.
        final: It was told that it has no successor, so it unlinks its sockets and then says `Released`.
        clear: A successor may start beside it. Not so for one that is drained, is killed (it may still hold a
            new address), or has yet to unlink its sockets.
        owed: Answers `Released` that are still to come.
    """

    phase: Phase
    mercy: int
    final: bool = False
    clear: bool = True
    owed: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last start or run failed. `stage` is one of `vassal.link.STAGES`, ``exit`` (ended before it was ready,
    without a word), ``crash`` (after) or ``manifest``; `at` is in monotonic seconds.
    """  # noqa: D205 (as above)

    stage: str
    reason: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class Vassal:
    """All that the lifecycle knows of one vassal. Times are monotonic seconds.

    Attributes:
        name: Its name.
        manifest: The newest one.
        state: See `State`; `since` when it came into it.
        limits: The emperor's.
        serving: The generation that is ready and the newest of these.
        coming: The generation that is not ready yet.
        leaving: By number, those on their way out. They may be there in any state but ``stopped``.
        next_number: What the next generation will be called. A `Reload` is answered by the first `Outcome` of this
            number or a later one.
        failures: Disloyal deaths and starts that could not be forked, in a row. One that became loyal and lives on
            still shows those before it; its own death forgets them.
        failure: The last one, kept until the next success.
        alarms: When `Due` is to be sent, by (kind, generation or 0).
        again: Touched since the coming generation was asked for.
        held: Stopped by command, until `Start`.
        gone: Its file is gone.
        queued: It waits in the throttle.
        strategy: What a reload command asked for, until that reload begins; '' leaves it to the serving generation.
        shut: Its listeners are to be shut down before the next start (`collision`).
        active: The serving generation was told to start its jobs.
        minute: Last cron minute that a released generation served, for the next `Activate`.
        running: Unique jobs that released generations still run, likewise.
        sleepy: It parks by itself: on demand, or it has done so before. So a start that nobody called for inspects.
        called: Somebody is at its door, or it served when it died: its next start serves.
        jobs: Its next start runs cron jobs.
        chaining: 1 while the serving generation replaces its workers, one by one; 2: and is to do it again then.
        tidy: What its sockets left in the file system has been removed, by its last generation or by `Purpose.UNLINK`.
    """

    name: str
    manifest: manifest.Manifest
    state: State
    since: float
    limits: Limits
    serving: Generation | None = None
    coming: Generation | None = None
    leaving: Mapping[int, Leaving] = field(default_factory=dict)
    next_number: int = 1
    failures: int = 0
    failure: Failure | None = None
    alarms: Mapping[tuple[Alarm, int], float] = field(default_factory=dict)
    again: bool = False
    held: bool = False
    gone: bool = False
    queued: bool = False
    strategy: str = ""
    shut: bool = False
    active: bool = False
    minute: int = 0
    running: tuple[str, ...] = ()
    sleepy: bool = False
    called: bool = False
    jobs: bool = False
    chaining: int = 0
    tidy: bool = True

    @property
    def listens(self) -> bool:
        """Whether the emperor is to wait for connections on the vassal's listeners."""
        return self.state is State.PARKED and not self.called

    @property
    def ending(self) -> bool:
        """Whether no generation is to follow: its file is gone, or it is to stay stopped."""
        return self.gone or self.held

    @property
    def wake_at(self) -> float | None:
        """When a parked vassal's next cron job is due (monotonic seconds)."""
        return self.alarms.get((Alarm.WAKE, 0))

    @property
    def next_retry(self) -> float | None:
        """When a start is tried again by itself (monotonic seconds), None if nothing waits for that."""
        return self.alarms.get((Alarm.RETRY, 0))

    @property
    def next_alarm(self) -> float | None:
        """When `overdue` next has something (monotonic seconds), None for never."""
        return min(self.alarms.values(), default=None)

    def overdue(self, now: float) -> list[Due]:
        """Return the alarms that are due at `now`, earliest first."""
        due = sorted((at, kind, number) for (kind, number), at in self.alarms.items() if at <= now)
        return [Due(kind, number) for _, kind, number in due]
