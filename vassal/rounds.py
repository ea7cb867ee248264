"""What a master looks after from time to time: touched files, stuck workers, too many hands or too few, heartbeats.

Wiring only, like the master whose part this is. The one danger is a timer that nobody needs: a vassal that sleeps must
not be woken to find that nothing has happened, so how long until the next round depends on what there is to look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import harakiri, link, logs, touch
from vassal.idle import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.chaining import Chaining
    from vassal.children import Children
    from vassal.generation import Generation
    from vassal.logbook.keeper import Keeper
    from vassal.masterhooks import MasterHooks
    from vassal.pool import Pool
    from vassal.scoreboard import Scoreboard
    from vassal.slumber import Slumber
    from vassal.tally import Tally
    from vassal.vitals import Vitals

STATS_EVERY = 2.0
"""Seconds between two looks at the counters; `Stats` goes out only where they changed."""
LOYAL_EVERY = 0.2
"""The same until the first request: an early death must be known for what it is."""
SOON = 0.1
"""Seconds from the round that lets a sleeping generation end to the next, which finds that it has."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a master that its rounds look at or act on."""

    pool: Pool
    board: Scoreboard
    children: Children
    slumber: Slumber
    chaining: Chaining
    tally: Tally
    vitals: Vitals
    hooks: MasterHooks
    log: Keeper


class Rounds:
    """`report` (now) tells the emperor what has changed, `post` anything else; `renew` asks for a new generation."""

    def __init__(
        self,
        generation: Generation,
        parts: Parts,
        report: Callable[[float], None],
        post: Callable[[link.Record], None],
        renew: Callable[[str], None],
    ) -> None:
        settings = generation.settings
        self._settings = settings
        self._loyalty = generation.loyalty
        self._parts = parts
        self._report = report
        self._post = post
        self._renew = renew
        self._touches = touch.Touches(settings.touch_reload, generation.directory, generation.source)
        chained = (*settings.touch_workers_reload, *settings.touch_chain_reload)
        self._code_touches = touch.Touches(chained, generation.directory, "")
        self._judge_at = 0.0
        self.due = 0.0
        """CLOCK_MONOTONIC seconds of the next one."""

    def look(self, now: float) -> None:
        """Make a round if it is time."""
        if now >= self.due:
            self.due = now + self._pace(now)
            self._round(now)

    def _pace(self, now: float) -> float:
        """Seconds until the next round: as rare as what depends on it allows."""
        settings = self._settings
        parts = self._parts
        touched = bool(self._touches or self._code_touches or parts.hooks.watches)
        if parts.slumber.asleep and not parts.children.by_slot:
            rest = max(parts.slumber.left(now), SOON)
            if not parts.tally.loyal:
                return min(self._loyalty, rest)
            return min(settings.heartbeat or NEVER, touch.EVERY if touched else NEVER, rest)
        if not parts.tally.loyal:
            return LOYAL_EVERY
        often = bool(settings.harakiri or settings.evil_reload_on_rss or touched or settings.idle or parts.pool.cheaper)
        often = often or parts.log.often
        return min(STATS_EVERY, settings.heartbeat or STATS_EVERY, 1.0 if often else STATS_EVERY)

    def _round(self, now: float) -> None:
        settings = self._settings
        parts = self._parts
        parts.log.look(now)
        self._report(now)
        if settings.heartbeat:
            self._post(link.Heartbeat())
        self._strike(now)
        self._count_hands(now)
        if settings.evil_reload_on_rss:
            parts.children.weigh(settings.evil_reload_on_rss << 20)
        if parts.pool.closing:
            return
        parts.hooks.look_at_files()
        if self._touches and (path := self._touches.changed()) is not None:
            self._renew(f"touch-reload of {path}")
        if self._code_touches and (path := self._code_touches.changed()) is not None:
            parts.chaining.want(f"touch of {path}")

    def _strike(self, now: float) -> None:
        """End the workers that could not end a request themselves, because its C code holds their interpreter."""
        limit = self._settings.harakiri
        parts = self._parts
        for slot, child in parts.children.by_slot.items():
            if not harakiri.overdue(parts.board, slot, now, limit):
                continue
            logs.say(f"worker in slot {slot} (pid {child.pid}) holds its interpreter beyond harakiri: killed")
            parts.vitals.struck(slot)
            for busy in parts.board.worker(slot).busy:
                if now - busy.since >= limit:
                    parts.log.killed(child.pid, slot, now - busy.since)
            harakiri.execute(parts.board, slot, child.pidfd, now, limit)

    def _count_hands(self, now: float) -> None:
        """Judge whether there are too many workers, or too few."""
        settings = self._settings
        parts = self._parts
        if parts.pool.closing or not (settings.idle or parts.pool.cheaper):
            return
        serving = parts.pool.serving
        views = [parts.board.worker(worker.slot) for worker in serving]
        counters = (*parts.tally.past, *(view.requests + view.accepted for view in views))
        parts.slumber.look(counters, now, busy=any(view.works for view in views))
        if now >= self._judge_at:
            self._judge_at = now + settings.cheaper_overload
            full = sum(len(view.busy) >= settings.threads for view in views)
            last = max((worker.number for worker in serving), default=0)
            works = any(view.works for worker, view in zip(serving, views, strict=True) if worker.number == last)
            parts.children.act(parts.pool.judge(full, now, last_works=works))
