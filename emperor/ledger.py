"""A vassal's record while it is changed, and the actions that come of it: what `emperor.turn` writes with.

The danger here: a change that does not go through `change`. It keeps `since` true, and drops what only a parked vassal
may have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emperor.states import Alarm, Failure, Phase, Say, State

if TYPE_CHECKING:
    from emperor.states import Action, Generation, Leaving, Vassal

PROOF = 1.0
"""Seconds that a loyal generation must have served for its death to be no failed start: its word proves nothing."""
LONGEST = 24 * 3600
"""Seconds; what a vassal may claim as its mercy or start timeout, so that no claim makes it immortal."""
MOST_LEAVING = 8
"""Generations that may answer their last requests at a time. The next reload waits for the oldest, which keeps its
mercy: nobody's request is cut short because somebody else touches a file all day."""


class Ledger:
    """The record `vassal` as it is by now, and the `actions` so far. `forgotten`: it is to be dropped altogether."""

    __slots__ = ("actions", "dice", "forgotten", "now", "vassal")

    def __init__(self, vassal: Vassal, now: float, dice: float) -> None:
        self.vassal = vassal
        self.now = now
        self.dice = dice
        self.actions: list[Action] = []
        self.forgotten = False

    @property
    def coming(self) -> Generation:
        """The coming generation, where the table guarantees one."""
        if self.vassal.coming is None:
            raise RuntimeError(f"{self.vassal.name}: no generation is coming")
        return self.vassal.coming

    @property
    def serving(self) -> Generation:
        """The serving generation, where the table guarantees one."""
        if self.vassal.serving is None:
            raise RuntimeError(f"{self.vassal.name}: no generation serves")
        return self.vassal.serving

    @property
    def proved(self) -> bool:
        """Whether the serving generation is loyal, and for long enough to be believed."""
        serving = self.serving
        return serving.loyal and serving.ready_at is not None and self.now - serving.ready_at >= PROOF

    @property
    def clear(self) -> bool:
        """Whether a start would get in nobody's way."""
        return all(leaving.clear for leaving in self.vassal.leaving.values())

    @property
    def crowded(self) -> bool:
        """Whether so many generations are leaving that no reload may add another one."""
        return sum(one.phase is not Phase.KILLED for one in self.vassal.leaving.values()) >= MOST_LEAVING

    def act(self, *actions: Action) -> None:
        """Add `actions`."""
        self.actions.extend(actions)

    def say(self, text: str) -> None:
        """Add a line for the log."""
        self.actions.append(Say(text))

    def change(self, **changes: Any) -> None:
        """Replace fields of the record; `since` follows `state`."""
        if changes.get("state", self.vassal.state) is not self.vassal.state:
            changes["since"] = self.now
            if self.vassal.state is State.PARKED:
                self.disarm(Alarm.WAKE)
                changes.setdefault("jobs", False)
        self.vassal = replace(self.vassal, **changes)

    def arm(self, alarm: Alarm, number: int, at: float) -> None:
        """Set an alarm, or move it."""
        self.change(alarms={**self.vassal.alarms, (alarm, number): at})

    def disarm(self, alarm: Alarm, number: int = 0) -> None:
        """Drop one alarm, if it is set."""
        if (alarm, number) in self.vassal.alarms:
            self.change(alarms={key: at for key, at in self.vassal.alarms.items() if key != (alarm, number)})

    def disarm_all(self, number: int) -> None:
        """Drop all alarms of one generation."""
        kept = {key: at for key, at in self.vassal.alarms.items() if key[1] != number}
        if len(kept) < len(self.vassal.alarms):
            self.change(alarms=kept)

    def note(self, stage: str, reason: str, detail: str = "") -> None:
        """Keep why it failed."""
        self.change(failure=Failure(stage, reason, detail, self.now))

    def bounded(self, mercy: int) -> int:
        """Return the seconds that a generation gets, which claims `mercy`."""
        tolerance = self.vassal.limits.curse_tolerance
        return min(clamp(mercy), tolerance) if tolerance else clamp(mercy)

    def leave(self, number: int, leaving: Leaving) -> None:
        """Put a generation among the leaving, or replace its entry."""
        self.change(leaving={**self.vassal.leaving, number: leaving})

    def left(self, number: int) -> None:
        """A leaving generation has ended."""
        self.disarm_all(number)
        self.change(leaving={key: value for key, value in self.vassal.leaving.items() if key != number})


def clamp(seconds: int) -> int:
    """Return what a vassal claims as a time, within reason: 0 to `LONGEST` seconds."""
    return min(max(seconds, 0), LONGEST)
