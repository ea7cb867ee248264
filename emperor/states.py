"""What the lifecycle speaks of: what can happen to a vassal (events), and what is to be done (actions).

All of it is frozen data: no process, socket or clock; the vassal's own record is in `emperor.record`, and can be had
from here, too. The danger here: an event that says less than the rule for it must know, so that it looks elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emperor.record import (
    CHAIN,
    DRAIN,
    OVERLAP,
    Alarm,
    Due,
    Failure,
    Generation,
    Leaving,
    Limits,
    Phase,
    Purpose,
    State,
    Vassal,
)

if TYPE_CHECKING:
    from emperor import manifest
    from vassal import link

__all__ = [
    "CHAIN",
    "DRAIN",
    "OVERLAP",
    "Action",
    "Alarm",
    "Called",
    "Chained",
    "Commit",
    "Dequeue",
    "Due",
    "Enqueue",
    "Event",
    "Exited",
    "Facts",
    "Failed",
    "Failure",
    "Forgive",
    "Generation",
    "Generational",
    "Heartbeat",
    "Kill",
    "Leaving",
    "Limits",
    "Loyal",
    "Outcome",
    "Parking",
    "Phase",
    "Purpose",
    "Ready",
    "Released",
    "Reload",
    "Rescheduled",
    "Say",
    "Send",
    "ShutListeners",
    "Slot",
    "Spawn",
    "Start",
    "State",
    "Stop",
    "Touched",
    "Vanished",
    "Vassal",
]

# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Touched:
    """The file has a new version, or came back before its vassal was forgotten."""

    manifest: manifest.Manifest


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file is gone."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Somebody asks for a new generation; `strategy` None: as configured."""

    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """``emperor start``."""


@dataclass(frozen=True, slots=True)
class Stop:
    """``emperor stop``, or the emperor is `ending`."""

    ending: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The throttle says go."""


@dataclass(frozen=True, slots=True)
class Forgive:
    """SIGURG: forget all backoff."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Generation `gen` has read its file (`vassal.link.Facts`). `start_timeout` in seconds; 0 or '': not said."""

    gen: int
    start_timeout: int = 0
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """Generation `gen` accepts; `mercy` in seconds."""

    gen: int
    mercy: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Generation `gen` cannot come up. It has not exited yet: `Exited` follows.

    `holder`: the vassal that holds an address which this one's file names.
    """

    gen: int
    stage: str
    reason: str
    detail: str = ""
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Loyal:
    """Generation `gen` has proved itself."""

    gen: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The master of generation `gen` turns."""

    gen: int


@dataclass(frozen=True, slots=True)
class Released:
    """Generation `gen` runs no more jobs, or (after a final retire) has unlinked its sockets."""

    gen: int
    minute: int = 0
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parking:
    """Generation `gen` ends and leaves its listeners to the emperor.

    `wake`: seconds from now to its next cron job, None without one; `minute`: last cron minute served (epoch minutes).
    """

    gen: int
    wake: float | None = None
    minute: int = 0


@dataclass(frozen=True, slots=True)
class Chained:
    """Generation `gen` has replaced its workers; or not, for `reason`. `edited`: not tried, since the file differs."""

    gen: int
    reason: str = ""
    detail: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """Somebody connects to a parked vassal."""


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """The wall clock was set: the next cron job of a parked vassal is due in `wake` seconds."""

    wake: float


@dataclass(frozen=True, slots=True)
class Exited:
    """Generation `gen` has ended, or could not be forked at all; exactly one follows every `Spawn`.

    `text` says how ("exited with status 1", "was killed by SIGSEGV").
    """

    gen: int
    text: str


Generational = Facts | Ready | Failed | Loyal | Heartbeat | Released | Parking | Chained | Exited
Event = Touched | Vanished | Reload | Start | Stop | Slot | Forgive | Called | Rescheduled | Due | Generational

# --- actions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Ask the throttle for a place: `Pace.request`. `last`: after everybody who is not."""

    last: bool = False


@dataclass(frozen=True, slots=True)
class Dequeue:
    """Give up the place in the queue, or among the starts, whichever it is: `Pace.cancel`."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start generation `gen` from `manifest`."""

    gen: int
    manifest: manifest.Manifest
    purpose: Purpose = Purpose.SERVE


@dataclass(frozen=True, slots=True)
class Send:
    """Send `record` to generation `gen`."""

    gen: int
    record: link.Record


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL generation `gen` and sweep its session, also where its process is not there yet."""

    gen: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Take the listeners of generation `gen` into the store; what left the file is shut once the old one is gone."""

    gen: int


@dataclass(frozen=True, slots=True)
class ShutListeners:
    """Shut all stored listeners of the vassal down: clients are refused at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer those who wait for generation `gen` or an earlier one; None: everybody who waits."""

    gen: int | None
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the emperor's log; the vassal's name goes before it."""

    text: str


Action = Enqueue | Dequeue | Spawn | Send | Kill | Commit | ShutListeners | Outcome | Say
