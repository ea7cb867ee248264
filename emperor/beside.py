"""What vassals have said of their cron jobs, daemons and logs, as `emperor status` and `emperor logs` show it.

The one danger is an old word: an older generation still tells how its jobs ended when a newer one serves, and what a
master said last of its daemons is no longer true when it is dead. So who said what is asked here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emperor.names import printable

if TYPE_CHECKING:
    from collections.abc import Collection

    from vassal import link

RUNNING = -(2**31)
"""Exit status of a cron job that runs for the first time, or has never run."""
WORD = 40
"""Characters of a daemon's state."""


class Beside:
    """Of all vassals, by name. `serves` tells whether it is the serving generation (or, with none, any) that speaks."""

    def __init__(self) -> None:
        self._cron: dict[str, link.CronReport] = {}
        self._former: dict[str, link.CronReport] = {}
        """What was said of cron before the generation that serves has said anything."""
        self._daemons: dict[str, link.DaemonReport] = {}
        self._logs: dict[str, tuple[str, int]] = {}

    def ready(self, name: str) -> None:
        """A new generation serves: what an older one said of jobs to come counts no more."""
        former = self._cron.pop(name, None)
        if former is not None:
            self._former[name] = former
        self._daemons.pop(name, None)

    def said_of_cron(self, name: str, record: link.CronReport, *, serves: bool) -> None:
        """Take note of `record`."""
        if serves:
            self._cron[name] = merged(record, self._cron.get(name) or self._former.pop(name, None))
        elif name in self._cron:
            self._cron[name] = merged(self._cron[name], record)
        else:
            self._former[name] = record

    def said_of_daemons(self, name: str, record: link.DaemonReport, *, serves: bool) -> None:
        """Take note of `record`."""
        if serves:
            self._daemons[name] = record

    def ended(self, name: str) -> None:
        """The vassal has stopped."""
        self._daemons.pop(name, None)

    def forget(self, name: str) -> None:
        """The vassal is gone."""
        for table in (self._cron, self._former, self._daemons, self._logs):
            table.pop(name, None)

    def said_of_log(self, name: str, path: str, uid: int) -> None:
        """Take note of the file that its options name for its log, if any, which processes of `uid` write."""
        if path:
            self._logs[name] = path, uid
        else:
            self._logs.pop(name, None)

    def log(self, name: str) -> tuple[str, int] | None:
        """Return that file, and whose rights will do for it. Nothing in the emperor opens it."""
        return self._logs.get(name)

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return one object a cron job: epoch seconds, exit status, seconds; None for what has not been."""
        said = self._cron.get(name)
        if said is None:
            return []
        rows = zip(said.commands, said.next, said.last, said.exits, said.took_ms, strict=False)
        return [
            {
                "command": printable(command),
                "next": due or None,
                "last": last or None,
                "exit": status if last and status != RUNNING else None,
                "duration": took / 1000 if last and status != RUNNING else None,
            }
            for command, due, last, status, took in rows
        ]

    def daemons(self, name: str, left: Collection[int] | None) -> list[dict[str, Any]]:
        """Return one object a daemon; `pid` None where it does not run.

        `left`: where no master lives, the pids of those that go on without one; None: a master lives.
        """
        said = self._daemons.get(name)
        if said is None:
            return []
        found = []
        for command, pid, state, restarts in zip(said.commands, said.pids, said.states, said.restarts, strict=False):
            lives = bool(pid) and (left is None or pid in left)
            word = printable(state[:WORD]) if left is None or lives else "ended"
            row = {"command": printable(command), "pid": pid if lives else None, "state": word, "restarts": restarts}
            found.append(row)
        return found


def merged(new: link.CronReport, old: link.CronReport | None) -> link.CronReport:
    """Return `new` with the last runs of `old`, where these are later and the jobs the same."""
    if old is None or old.commands != new.commands:
        return new
    count = min(len(column) for one in (new, old) for column in (one.last, one.exits, one.took_ms))
    later = [old if _is_later(old, new, number) else new for number in range(count)]
    return replace(
        new,
        last=tuple(one.last[number] for number, one in enumerate(later)) + new.last[count:],
        exits=tuple(one.exits[number] for number, one in enumerate(later)) + new.exits[count:],
        took_ms=tuple(one.took_ms[number] for number, one in enumerate(later)) + new.took_ms[count:],
    )


def _is_later(old: link.CronReport, new: link.CronReport, number: int) -> bool:
    """Whether `old` knows more of the last run of job `number`: a later one, or how the same one ended."""
    same = old.last[number] == new.last[number] and new.exits[number] == RUNNING
    return same or old.last[number] > new.last[number]
