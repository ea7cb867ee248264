"""The records of the link and of the fork server's socket: one dataclass each, frozen, plain JSON inside.

`vassal.link` re-exports them all and says how they travel. The one danger is a field whose meaning the two ends read
differently: units and defaults are written at each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Record:
    """Base of all records. `NAME` is the packet's ``type``."""

    NAME: ClassVar[str]


# --- from the vassal ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello(Record):
    """First packet of a generation: the protocol version that it speaks."""

    NAME: ClassVar[str] = "hello"
    protocol: int


@dataclass(frozen=True, slots=True)
class Listening(Record):
    """The listeners of this generation, one descriptor each, in the same order.

    `addresses` are canonical (`vassal.net.Address.key`). `inodes` holds ``"device:inode"`` of each UNIX socket's path
    and ``""`` for the rest: it comes back with the offer, so that a path that somebody unlinked is bound anew.
    `quiet` are those among them at which a call wakes nobody (``stats``): they are closed while the vassal sleeps.
    """

    NAME: ClassVar[str] = "listening"
    addresses: tuple[str, ...]
    inodes: tuple[str, ...]
    quiet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ready(Record):
    """At least one worker has loaded the app and accepts."""

    NAME: ClassVar[str] = "ready"
    workers: int
    pid: int = 0
    mercy: int = 60
    cheap: bool = False


@dataclass(frozen=True, slots=True)
class Failed(Record):
    """The generation cannot come up. `stage` is one of `STAGES`; `reason` one line; `detail` a traceback or ''."""

    NAME: ClassVar[str] = "failed"
    stage: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts(Record):
    """What the parsed file says that concerns the emperor: sent before binding.

    `start_timeout` and `loyalty` in seconds, `files` every file that was read (main file first), `uid` and `gid` the
    effective ones after identity was taken (`gid` -1: not told), `strategy` the reload strategy or ''. `notes` are
    warnings for people. `log` is the file that its own options name for what it says, '' where there is none.
    """

    NAME: ClassVar[str] = "facts"
    uid: int
    start_timeout: int = 60
    strategy: str = ""
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    gid: int = -1
    log: str = ""


@dataclass(frozen=True, slots=True)
class Loyal(Record):
    """A request was served, or the generation has been ready for `loyalty` seconds."""

    NAME: ClassVar[str] = "loyal"


@dataclass(frozen=True, slots=True)
class Heartbeat(Record):
    """The master's loop turns."""

    NAME: ClassVar[str] = "heartbeat"


@dataclass(frozen=True, slots=True)
class Stats(Record):
    """Counters, sent when they changed. `pids` are the workers'; the rest adds up over the generation's life.

    `cheap`: it has no workers because nobody calls.
    """

    NAME: ClassVar[str] = "stats"
    workers: int
    requests: int
    pids: tuple[int, ...] = ()
    exceptions: int = 0
    respawns: int = 0
    cheap: bool = False


@dataclass(frozen=True, slots=True)
class Released(Record):
    """Answer to `Release`: the last cron minute served (epoch minutes, 0: none) and unique jobs still running."""

    NAME: ClassVar[str] = "released"
    minute: int = 0
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadWanted(Record):
    """The generation asks for its own succession."""

    NAME: ClassVar[str] = "reload-wanted"
    reason: str


@dataclass(frozen=True, slots=True)
class Parking(Record):
    """The generation ends and leaves its listeners to the emperor.

    `wake` is the epoch second of the next cron job, 0: none; `minute` the last cron minute served, 0: none.
    """

    NAME: ClassVar[str] = "parking"
    wake: int = 0
    minute: int = 0


@dataclass(frozen=True, slots=True)
class CronReport(Record):
    """What `status` shows of cron jobs, one item of each list a job: epoch seconds (0: none), exit status, duration."""

    NAME: ClassVar[str] = "cron"
    commands: tuple[str, ...]
    next: tuple[int, ...]
    last: tuple[int, ...]
    exits: tuple[int, ...]
    took_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DaemonReport(Record):
    """What `status` shows of daemons, one item of each list a daemon (`pids`: 0 for none); and all that outlive it.

    `kept` are the smart daemons that run: `vassal.launch.Kept.text`.
    """

    NAME: ClassVar[str] = "daemons"
    commands: tuple[str, ...]
    pids: tuple[int, ...]
    states: tuple[str, ...]
    restarts: tuple[int, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chained(Record):
    """Answer to `ReloadWorkers`: all workers are new; or not, for `reason`. `edited`: not tried, the file differs."""

    NAME: ClassVar[str] = "chained"
    reason: str = ""
    detail: str = ""
    edited: bool = False


# --- from the emperor --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contract(Record):
    """First packet to a new child: all that it may know. Descriptors: the offers' in order, then the log if `log`.

    `version` is the manifest's (mtime_ns, inode, size, uid, gid). `offers` and `inodes` pair up as in `Listening`.
    `purpose` is one of `emperor.states.Purpose`; ``unlink`` gets no listeners with its offers, only their names.
    `on_demand` says where the address of a vassal on demand comes from: ``socket:PATH``, ``file:EXTENSION`` or
    ``exec:COMMAND``; '' for none. `own_log`: nobody else writes there, so it may become the vassal's user's.
    `environment` becomes the child's. `inject` is `vassal.config.Inject.to_json`. `offers_uid` is the user whose
    processes held the offers (-1: none). `hooks` are lines of the emperor's file, ``OPTION ACTION:ARGUMENT``, and
    `hook_environment` what they get besides. ``hook`` as a purpose: run them, and nothing else. `kept` are smart
    daemons that a child for ``unlink`` is to end within `mercy` seconds.
    """

    NAME: ClassVar[str] = "contract"
    purpose: str
    name: str
    generation: int
    source: str
    version: tuple[int, ...]
    offers: tuple[str, ...] = ()
    inodes: tuple[str, ...] = ()
    log: bool = False
    tyrant: bool = False
    nofollow: bool = False
    vassals_uid: str = ""
    vassals_gid: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    inject: dict[str, Any] = field(default_factory=dict)
    fork: bool = True
    offers_uid: int = -1
    own_log: bool = False
    on_demand: str = ""
    hooks: tuple[str, ...] = ()
    hook_environment: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    mercy: int = 0


@dataclass(frozen=True, slots=True)
class Activate(Record):
    """This generation serves alone from now on: start jobs and daemons, set backlog, mode and owner.

    `kept` are the vassal's smart daemons that run already: `vassal.launch.Kept.text`.
    """

    NAME: ClassVar[str] = "activate"
    minute: int = 0
    running: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release(Record):
    """Start no more jobs, end plain daemons and let go of smart ones, then answer `Released`."""

    NAME: ClassVar[str] = "release"


@dataclass(frozen=True, slots=True)
class Retire(Record):
    """End gracefully within `mercy` seconds. `final`: no successor, so sockets (`vacuum`) and pidfile go too."""

    NAME: ClassVar[str] = "retire"
    mercy: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class ReloadWorkers(Record):
    """Replace worker by worker (the `chain` strategy)."""

    NAME: ClassVar[str] = "reload-workers"


@dataclass(frozen=True, slots=True)
class KeepWorkers(Record):
    """A newer generation is on its way or has failed: let no worker go by choice, and do not park.

    Who loads the app now would load what nobody has tried yet, or what is broken.
    """

    NAME: ClassVar[str] = "keep-workers"


@dataclass(frozen=True, slots=True)
class ReopenLogs(Record):
    """Reopen log files by their names. The descriptor beside it is the vassal's standard error from now on.

    It comes where the emperor keeps a log for this vassal; a vassal that has a log of its own closes it.
    """

    NAME: ClassVar[str] = "reopen-logs"


@dataclass(frozen=True, slots=True)
class Report(Record):
    """Send `Stats` now."""

    NAME: ClassVar[str] = "report"


# --- between the emperor and its fork server ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn(Record):
    """Fork a child for the link that comes as the one descriptor. `spawn` names it in all that follows."""

    NAME: ClassVar[str] = "spawn"
    spawn: int


@dataclass(frozen=True, slots=True)
class Sweep(Record):
    """Kill what is left of this spawn's session at once, without the time that its workers have after a crash."""

    NAME: ClassVar[str] = "sweep"
    spawn: int


@dataclass(frozen=True, slots=True)
class Spare(Record):
    """Smart daemons: sweep neither these processes (pid and start time in clock ticks) nor their sessions."""

    NAME: ClassVar[str] = "spare"
    pids: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unspare(Record):
    """Their vassal has ended for good: kill what is left of them."""

    NAME: ClassVar[str] = "unspare"
    pids: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spawned(Record):
    """The child runs; the one descriptor is its pidfd."""

    NAME: ClassVar[str] = "spawned"
    spawn: int
    pid: int


@dataclass(frozen=True, slots=True)
class Unspawned(Record):
    """The child could not be forked."""

    NAME: ClassVar[str] = "unspawned"
    spawn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exited(Record):
    """The child ended: `status` as `subprocess.Popen.returncode` (negative: the signal)."""

    NAME: ClassVar[str] = "exited"
    spawn: int
    status: int


@dataclass(frozen=True, slots=True)
class Trouble(Record):
    """Something is wrong with the vassal's own log, which may therefore not say so itself. One line for people."""

    NAME: ClassVar[str] = "trouble"
    text: str


FROM_VASSAL: tuple[type[Record], ...] = (
    Hello,
    Facts,
    Listening,
    Ready,
    Failed,
    Loyal,
    Heartbeat,
    Stats,
    Released,
    ReloadWanted,
    Parking,
    Chained,
    Trouble,
    CronReport,
    DaemonReport,
)
FROM_EMPEROR: tuple[type[Record], ...] = (
    Contract,
    Activate,
    Release,
    Retire,
    ReloadWorkers,
    KeepWorkers,
    ReopenLogs,
    Report,
)

STAGES = ("config", "identity", "interpreter", "bind", "collision", "hook", "load", "ready", "spawn")
"""Where a start can fail. See `emperor.lifecycle` for what follows from each."""
