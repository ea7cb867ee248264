"""Settling: from what scans see to what happened.

Editors, `scp` and people at a prompt do not write files in one step. The Settler reports a file once it is at rest, a
disappearance once it lasts, and names when it wants the next look. Pure: time and facts come in, events go out.

The danger here: every wait must end. A pending file without a deadline would be a vassal that never starts, so each
branch of `_due` names one, and `next_wake` is never None while something pends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emperor.leases import Writer
from emperor.manifest import Appeared, Event, Manifest, Touched, Vanished, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emperor.names import Namer
    from emperor.places import Found, ScanResult

QUIET = 0.02  # s; nobody has it open: enough for a shell's next `>>` line
QUIET_UNKNOWN = 0.06  # s; the kernel does not say who writes: an editor's pauses
QUIET_PROBLEM = 0.1  # s; a link without target, a directory: often one step of a deploy
QUIET_EMPTY = 2.0  # s; an empty file is mostly one that is about to be written
LONGEST = 5.0  # s; then whatever lies there counts, writer or not
AWAY = 0.1  # s; vim renames away and writes anew, mv(1) over it takes less
POLL = 0.05  # s; how soon to look again at a file that somebody has open
POLL_LATER = 0.25  # s; ... once it has been open for half a second

_Key = tuple[Version, str | None]


@dataclass(slots=True)
class _Pending:
    found: Found
    since: float  # when this version was first there
    first: float  # when the file first differed from what was reported


class Settler:
    """Turns scan results into events.

    Args:
        places: How many places there are; results come by their number, and a lower number names its files first.
        namer: Gives the names.
    """

    def __init__(self, places: int, namer: Namer) -> None:
        self._namer = namer
        self._seen: list[dict[str, Found]] = [{} for _ in range(places)]
        self._reported: dict[str, Found] = {}
        self._pending: dict[str, _Pending] = {}
        self._missing: dict[str, tuple[int, float]] = {}  # place that lost it, when

    def settled(self) -> dict[str, Version]:
        """Versions reported so far, by path: what `scan` need not ask the kernel about."""
        return {path: found.version for path, found in self._reported.items()}

    def release(self, name: str) -> None:
        """The vassal `name` is gone for good (its processes, too): another file may bear its name.

        Without effect while the vassal's file is there.
        """
        path = self._namer.path(name)
        if path is not None and path not in self._reported:
            self._namer.release(name)

    def feed(self, results: Mapping[int, ScanResult], now: float) -> tuple[list[Event], float | None]:
        """Take what scans saw.

        Only fresh evidence decides: a file is judged when its own place was looked at, never because time passed.

        Args:
            results: By place number; places that were not scanned are left out and keep their last state.
            now: Monotonic seconds.

        Returns:
            What happened (disappearances first, so that a renamed file's old vassal goes before its new one comes), and
            the monotonic time at which to scan these places again at the latest, or None if nothing pends in them.
        """
        gone: list[Event] = []
        come: list[Event] = []
        wakes: list[float] = []
        for number, result in sorted(results.items()):
            before, after = self._seen[number], _merge(self._seen[number], result)
            self._seen[number] = after
            gone += self._leave(number, [p for p in before if p not in after], now, wakes)
        for _, result in sorted(results.items()):
            come += self._arrive(result.files, now, wakes)
        return gone + come, min(wakes, default=None)

    def _leave(self, number: int, lost: Iterable[str], now: float, wakes: list[float]) -> list[Event]:
        """Who is gone: for good, or for now. `lost` went from place `number` just now."""
        for path in lost:
            if not self._is_seen(path):
                self._pending.pop(path, None)
                if path in self._reported:
                    self._missing[path] = (number, now)
        events: list[Event] = []
        for path, (place, since) in list(self._missing.items()):
            if self._is_seen(path):
                del self._missing[path]
            elif place != number:
                continue
            elif now >= since + AWAY:
                del self._missing[path], self._reported[path]
                events.append(Vanished(self._namer.name(path)))
            else:
                wakes.append(since + AWAY)
        return events

    def _is_seen(self, path: str) -> bool:
        return any(path in seen for seen in self._seen)

    def _arrive(self, files: Mapping[str, Found], now: float, wakes: list[float]) -> list[Event]:
        """Who is new or changed, and at rest."""
        events: list[Event] = []
        leaving = {self._reported[path].target: since + AWAY for path, (_, since) in self._missing.items()}
        leaving.pop(None, None)
        for path, found in files.items():
            before = self._reported.get(path)
            if before is not None and _key(before) == _key(found):
                self._pending.pop(path, None)
                continue
            due = self._due(path, found, now)
            if before is None and found.target in leaving:
                due = max(due, leaving[found.target])  # renamed: the old name's vassal leaves first
            if now < due:
                wakes.append(due)
                continue
            del self._pending[path]
            self._reported[path] = found
            manifest = _manifest(self._namer.name(path), found)
            events.append(Appeared(manifest) if before is None else Touched(manifest))
        return events

    def _due(self, path: str, found: Found, now: float) -> float:
        """When `found` counts as at rest, or when to look again."""
        pending = self._pending.get(path)
        if pending is None or _key(pending.found) != _key(found):
            # Its age tells how long it has rested already; a clock that runs ahead says nothing.
            rested = max(found.age, 0.0) if found.writer is not Writer.UNKNOWN or found.age > LONGEST else 0.0
            since = now - rested
            first = pending.first if pending else now
            pending = self._pending[path] = _Pending(found, since, first)
        pending.found = found
        latest = pending.first + LONGEST
        if found.writer is Writer.OPEN:
            again = POLL if now - pending.first < 0.5 else POLL_LATER
            return min(now + again, latest) if now < latest else now
        quiet = QUIET if found.writer is Writer.NONE else QUIET_UNKNOWN
        if found.problem:
            quiet = QUIET_PROBLEM
        elif found.version[2] == 0:
            quiet = QUIET_EMPTY
        return min(pending.since + quiet, latest)


def _key(found: Found) -> _Key:
    return found.version, found.problem


def _manifest(name: str, found: Found) -> Manifest:
    return Manifest(
        name=name,
        path=found.path,
        version=found.version,
        owner=found.owner,
        target=found.target,
        problem=found.problem,
    )


def _merge(before: Mapping[str, Found], result: ScanResult) -> dict[str, Found]:
    """What a place holds after `result`: what could not be seen stays as it was."""
    merged = dict(result.files)
    for path, found in before.items():
        if path not in merged and _below(path, result.unseen):
            merged[path] = found
    return merged


def _below(path: str, unseen: Iterable[str]) -> bool:
    return any(path == top or path.startswith(os.path.join(top, "")) for top in unseen)
