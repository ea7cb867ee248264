"""The fleet's statistics in the form of uWSGI's Emperor: facts in, JSON out. Pure: no clock, no process, no socket.

Names, order and types are those that uWSGI 2.0.31 prints; what is ours follows. The one danger is size: ten thousand
vassals are some megabytes, so the text is made in pieces, and whoever makes it may do something else between them.
"""

from __future__ import annotations

import fnmatch
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from emperor.chronicle import Record
    from emperor.places import Place

PIECE = 50
"""Vassals in one piece of the text: about two milliseconds of work."""
HTTP_HEAD = (
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n"
)
"""What ``stats-http`` puts in front (the same fields as uWSGI's); a length and a blank line follow."""


@dataclass(frozen=True, slots=True)
class Head:
    """The emperor itself. `places` as its file or command line has them."""

    version: str
    pid: int
    uid: int
    gid: int
    cwd: str
    places: tuple[str, ...]
    tyrant: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """One vassal. `row` is as `emperor status --json` has it; times in epoch seconds, 0: never or not now.

    `touched`: modification time of its file. `cursed`: since when it is being stopped. `address`: where callers wake
    it, '' for one that does not sleep. `gid`: -1 where nobody has said. `wait_ms`: the wait before its next try, 0:
    none.
    """

    row: Mapping[str, Any]
    record: Record
    monitor: str
    touched: int
    cursed: int = 0
    address: str = ""
    gid: int = -1
    ready: bool = False
    wait_ms: int = 0


def monitor_of(path: str, places: Sequence[Place]) -> str:
    """Return the place that the file at `path` was found by, as it was written; its directory where none fits."""
    for place in places:
        if place.path in (path, os.path.dirname(path)) or (
            place.kind == "glob" and fnmatch.fnmatchcase(path, place.path)
        ):
            return place.text
    return os.path.dirname(path)


def id_of(name: str, path: str) -> str:
    """Return what uWSGI calls the vassal: its file's name; where two are alike, with what tells them apart."""
    extension = os.path.splitext(path)[1]
    return name if not extension or name.endswith(extension) else name + extension


def vassal(facts: Facts) -> dict[str, Any]:
    """Return one item of ``vassals``."""
    row, record = facts.row, facts.record
    uid, gid = row["uid"], facts.gid
    return {
        "id": id_of(row["name"], row["path"]),
        "pid": row["pid"] if row["pid"] is not None else -1,
        "born": int(record.born),
        "last_mod": facts.touched,
        "last_heartbeat": int(record.last_heartbeat),
        "loyal": int(row["loyal"]),
        "ready": int(facts.ready),
        "accepting": int(facts.ready),
        "last_loyal": int(record.last_loyal),
        "last_ready": int(record.last_ready),
        "last_accepting": int(record.last_ready),
        "first_run": int(record.first_run),
        "last_run": int(record.last_run),
        "cursed": facts.cursed,
        "zerg": 0,
        "on_demand": facts.address,
        "uid": uid if uid is not None else 0,
        "gid": max(gid, 0),
        "monitor": facts.monitor,
        "respawns": max(record.runs - 1, 0),
        "name": row["name"],
        "path": row["path"],
        "state": row["state"],
        "since": int(row["since"]),
        "generation": row["generation"],
        "workers": row["workers"],
        "requests": row["requests"],
        "exceptions": row["exceptions"],
        "rss": row["rss"],
        "last_failure": row["last_failure"]["reason"] if row["last_failure"] else None,
    }


def blacklisted(facts: Facts) -> dict[str, Any]:
    """Return its item of ``blacklist``: a wait holds its next start back."""
    record = facts.record
    return {
        "id": id_of(facts.row["name"], facts.row["path"]),
        "throttle_level": facts.wait_ms,
        "attempt": max(record.failures, 1),
        "first_attempt": int(record.first_failure),
        "last_attempt": int(record.last_failure),
    }


def pieces(head: Head, fleet: Sequence[Facts], *, minified: bool = False) -> Iterator[str]:
    """Return the whole text, piece by piece: together they are one JSON object."""
    layout = {
        "version": head.version,
        "pid": head.pid,
        "uid": head.uid,
        "gid": head.gid,
        "cwd": head.cwd,
        "emperor": list(head.places),
        "emperor_tyrant": int(head.tyrant),
        "throttle_level": 0,
    }
    gap, tab = ("", "") if minified else ("\n", "\t")
    yield _json(layout, minified=minified).removesuffix("}").rstrip() + f',{gap}{tab}"vassals":['
    yield from _items(vassal, fleet, minified=minified)
    yield f'{gap}{tab}],{gap}{tab}"blacklist":['
    yield from _items(blacklisted, [facts for facts in fleet if facts.wait_ms], minified=minified)
    yield f"{gap}{tab}]{gap}}}"


def _items(make: Callable[[Facts], dict[str, Any]], fleet: Sequence[Facts], *, minified: bool) -> Iterator[str]:
    """Return the items of a list that stands in the outermost object, `PIECE` at a time."""
    for start in range(0, len(fleet), PIECE):
        texts = [_json(make(facts), minified=minified) for facts in fleet[start : start + PIECE]]
        if not minified:
            texts = ["\n\t\t" + text.replace("\n", "\n\t\t") for text in texts]
        yield ("," if start else "") + ",".join(texts)


def _json(value: object, *, minified: bool) -> str:
    return json.dumps(value, indent=None if minified else "\t", separators=(",", ":"))


def with_head(body: bytes, *, head_only: bool = False) -> bytes:
    """Return the answer to an HTTP request."""
    head = HTTP_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    return head if head_only else head + body
