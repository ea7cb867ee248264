"""The statistics of a vassal in uWSGI's form: facts in, JSON out. Pure: no clock, no process, no socket.

The names, their order and their types are those that uWSGI 2.0.31 prints; monitors are written against them. The one
danger is a number that says something else than its name: what cannot be known here is 0, as ``docs/stats.md`` says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP_HEAD = (
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n"
)
"""What ``stats-http`` puts in front (the same fields as there); a length and a blank line follow."""


@dataclass(frozen=True, slots=True)
class Core:
    """A thread that runs the app: requests that it has answered, and since when it is in one (epoch s; 0: it is not).

    `files` of its requests were for files that the vassal serves itself.
    """

    requests: int = 0
    files: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class Queue:
    """A socket that callers use, with the connections that wait there to be accepted, and how many may."""

    name: str
    protocol: str
    waiting: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker `number`. Counts add up over all processes that have borne that number, but for `recent`.

    `pid` 0: no process, since fewer workers are enough, or because it will be started again. Sizes in bytes, times in
    microseconds, `spawned` in epoch seconds (0: never). `spawns` counts its processes.
    """

    number: int
    pid: int = 0
    accepting: bool = False
    busy: bool = False
    requests: int = 0
    recent: int = 0
    exceptions: int = 0
    harakiri: int = 0
    rss: int = 0
    vsz: int = 0
    running_us: int = 0
    average_us: int = 0
    tx: int = 0
    spawned: int = 0
    spawns: int = 0
    startup: int = 0
    """Seconds that its app took to load."""
    cores: tuple[Core, ...] = ()


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line. `times`: minute, hour, day, month and weekday, each as `vassal.cron.Schedule.numbers` has it.

    `pid` -1, `began` 0 (epoch seconds): it does not run.
    """

    times: tuple[int | list[int], ...]
    command: str
    unique: bool = False
    pid: int = -1
    began: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is told. `mounts`: the paths of its apps, '' for the one that answers what no other does."""

    version: str
    name: str
    generation: int
    pid: int
    uid: int
    gid: int
    cwd: str
    chdir: str = ""
    mounts: tuple[str, ...] = ()
    queues: tuple[Queue, ...] = ()
    workers: tuple[Worker, ...] = ()
    daemons: tuple[Mapping[str, Any], ...] = ()
    crons: tuple[Cron, ...] = ()


def layout(facts: Facts, *, cores: bool = True) -> dict[str, Any]:
    """Return the whole of it as plain values; without `cores` as ``stats-no-cores`` wants it."""
    queue = max((one.waiting for one in facts.queues), default=0)
    told: dict[str, Any] = {
        "version": facts.version,
        "listen_queue": queue,
        "listen_queue_errors": 0,
        "signal_queue": 0,
        "load": queue,
        "pid": facts.pid,
        "uid": facts.uid,
        "gid": facts.gid,
        "cwd": facts.cwd,
    }
    if facts.daemons:
        told["daemons"] = [dict(daemon) for daemon in facts.daemons]
    told["locks"] = []
    told["sockets"] = [
        {
            "name": one.name,
            "proto": one.protocol,
            "queue": one.waiting,
            "max_queue": one.limit,
            "shared": 0,
            "can_offload": 0,
        }
        for one in facts.queues
    ]
    told["workers"] = [_worker(one, facts, cores=cores) for one in facts.workers]
    if facts.crons:
        told["crons"] = [_cron(one) for one in facts.crons]
    told["vassal"] = facts.name
    told["generation"] = facts.generation
    return told


def _worker(one: Worker, facts: Facts, *, cores: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": one.number,
        "pid": one.pid,
        "accepting": int(one.accepting),
        "requests": one.requests,
        "delta_requests": one.recent,
        "exceptions": one.exceptions,
        "harakiri_count": one.harakiri,
        "signals": 0,
        "signal_queue": 0,
        "status": "cheap" if not one.pid else "busy" if one.busy else "idle",
        "rss": one.rss,
        "vsz": one.vsz,
        "running_time": one.running_us,
        "last_spawn": one.spawned,
        "respawn_count": one.spawns,
        "tx": one.tx,
        "avg_rt": one.average_us,
        "apps": [
            {
                "id": app,
                "modifier1": 0,
                "mountpoint": mount,
                "startup_time": one.startup,
                # Which of several apps a request was for is not counted.
                "requests": one.requests if len(facts.mounts) == 1 else 0,
                "exceptions": one.exceptions if len(facts.mounts) == 1 else 0,
                "chdir": facts.chdir,
            }
            for app, mount in enumerate(facts.mounts)
        ],
    }
    if cores:
        told["cores"] = [_core(app, core) for app, core in enumerate(one.cores)]
    return told


def _core(which: int, core: Core) -> dict[str, Any]:
    return {
        "id": which,
        "requests": core.requests,
        "static_requests": core.files,
        "routed_requests": 0,
        "offloaded_requests": 0,
        "write_errors": 0,
        "read_errors": 0,
        "in_request": int(bool(core.since)),
        "vars": [],
        "req_info": {"request_start": core.since} if core.since else {},
    }


def _cron(one: Cron) -> dict[str, Any]:
    return {
        **dict(zip(("minute", "hour", "day", "month", "week"), one.times, strict=True)),
        "command": one.command,
        "unique": int(one.unique),
        "legion": "",
        "pid": one.pid,
        "started_at": one.began,
    }


def render(told: Mapping[str, Any], *, minified: bool = False) -> bytes:
    """Return it as JSON, indented by tabs as there, or without a blank (``stats-minified``)."""
    indent = None if minified else "\t"
    return json.dumps(told, indent=indent, separators=(",", ":")).encode()


def with_head(body: bytes, *, head_only: bool = False) -> bytes:
    """Return the answer to an HTTP request."""
    head = HTTP_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    return head if head_only else head + body
