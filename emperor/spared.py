"""The smart daemons of all vassals: which processes no sweep may end, and what the next generation is told of them.

A vassal names them; nothing is done to them on its word. The one danger is believing it: a process counts only where it
has the start time that was named, runs as the vassal's user, and is below one of the vassal's masters or was so when it
was named first. All that it gains is not to be killed with what a dead master has left; it ends with its vassal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vassal import sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

Pair = tuple[int, int]
"""(pid, start time in clock ticks after boot)."""
MOST = 64
"""Smart daemons of one vassal, at most."""
LONGEST = 4096 + 256
"""Characters of what is kept of one, at most: a path and some numbers."""


class Spared:
    """Keeps them. `spare` and `unspare` tell those who sweep; `say` logs a line."""

    def __init__(
        self,
        spare: Callable[[Collection[Pair]], None],
        unspare: Callable[[Collection[Pair]], None],
        say: Callable[[str], None],
    ) -> None:
        self._spare = spare
        self._unspare = unspare
        self._say = say
        self._kept: dict[str, dict[Pair, str]] = {}
        self.uids: dict[str, int] = {}
        """The user of each vassal that has some."""

    def claimed(self, name: str, texts: Sequence[str], masters: Collection[int], uid: int) -> None:
        """Vassal `name`, with these masters (pids), names its smart daemons. `uid` is the user that it runs as."""
        if self.uids.get(name, uid) != uid:
            self.forget(name)
        mine = self._kept.setdefault(name, {})
        new = []
        for text in texts[:MOST]:
            pair = _pair(text)
            if pair is None or len(text) > LONGEST or len(mine) >= MOST:
                continue
            if pair not in mine:
                problem = _problem(pair, masters, uid)
                if problem:
                    self._say(f"vassal {name}: process {pair[0]} is not spared as a daemon: {problem}")
                if problem is not None:
                    continue
                new.append(pair)
            mine[pair] = text
        self.uids[name] = uid
        self._prune(name)
        if new:
            self._spare(new)

    def of(self, name: str, uid: int | None = None) -> tuple[str, ...]:
        """Return what vassal `name` said of those that still run.

        `uid`: the user whose processes are to be told. It is none of another user's business what one has left, so
        that ends.
        """
        if uid is not None and self.uids.get(name, uid) != uid:
            self.forget(name)
        self._prune(name)
        return tuple(self._kept.get(name, {}).values())

    def pids(self, name: str) -> set[int]:
        """Return the pids of those of vassal `name` that still run."""
        self._prune(name)
        return {pid for pid, _ in self._kept.get(name, {})}

    def all(self) -> list[Pair]:
        """Return all of them, for somebody who sweeps from now on."""
        return [pair for mine in self._kept.values() for pair in mine]

    def forget(self, name: str) -> None:
        """Vassal `name` has ended for good: what is left of them is killed."""
        self.uids.pop(name, None)
        mine = self._kept.pop(name, None)
        if mine:
            self._unspare(list(mine))

    def _prune(self, name: str) -> None:
        mine = self._kept.get(name)
        if mine is None:
            return
        for pair in tuple(mine):
            found = sessions.look(pair[0])
            if found is None or found.start != pair[1] or found.state in "ZX":
                del mine[pair]
        if not mine:
            del self._kept[name]


def _pair(text: str) -> Pair | None:
    words = text.split(" ", 2)[:2]
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        return None
    return int(words[0]), int(words[1])


def _problem(pair: Pair, masters: Collection[int], uid: int) -> str | None:
    """Return why the process is not this vassal's daemon; '' where it has just ended, None where it is."""
    found = sessions.look(pair[0])
    if found is None or found.start != pair[1]:
        return ""
    try:
        owner = os.stat(f"/proc/{pair[0]}").st_uid
    except OSError:
        return ""
    if uid not in {owner, 0}:
        return "it is another user's"
    if found.session in masters or found.session == os.getsid(0):
        return "it is in its master's session"
    if not sessions.descends(pair[0], masters):
        return "none of the vassal's masters is above it"
    return None
