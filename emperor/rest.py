"""How a vassal falls asleep and wakes, and how its workers are replaced in place: handlers of the lifecycle's table.

The danger here is a caller who is forgotten: whoever knocks at a parked vassal leaves `called`, and every way out of
what was under way then leads to a start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emperor.states import CHAIN, OVERLAP, Alarm, Commit, Outcome, Purpose, State
from emperor.turn import EARLY

if TYPE_CHECKING:
    from emperor.states import Chained, Due, Event, Parking, Rescheduled
    from emperor.turn import Turn


def wake(turn: Turn, _event: Event) -> None:
    """Somebody is at its door: start it, as soon as the file has been read where that is under way."""
    turn.change(called=True)
    if turn.vassal.coming is not None:
        if turn.vassal.coming.purpose is Purpose.INSPECT:
            return
        turn.release_jobs()
    turn.dequeue()
    turn.want()


def run_jobs(turn: Turn, event: Due) -> None:
    """A cron job of a sleeping vassal is due: start it for that alone."""
    turn.disarm(event.alarm, event.gen)
    if turn.vassal.coming is not None or turn.vassal.queued or not turn.clear or turn.releasing:
        turn.arm(event.alarm, event.gen, turn.now + 1.0)
        return
    turn.change(jobs=True)
    turn.want()


def reschedule(turn: Turn, event: Rescheduled) -> None:
    """The wall clock was set: its next cron job is due at another moment than was thought."""
    turn.arm(Alarm.WAKE, 0, turn.now + event.wake)


def settle_down(turn: Turn, event: Parking) -> None:
    """It has read its file and bound, or run its jobs: the vassal sleeps on, unless somebody called meanwhile."""
    coming, again = turn.coming, turn.vassal.again
    turn.drop_coming(kill=False)
    turn.bow_out(coming.number)
    if coming.purpose is Purpose.INSPECT:
        turn.act(Commit(coming.number))
        turn.change(failure=None, tidy=False)
    turn.rest(event)
    turn.act(Outcome(coming.number, ok=True, text="parked: the next connection starts it"))
    if again or turn.vassal.called:
        turn.want()


def park(turn: Turn, event: Parking) -> None:
    """It is idle and ends: the emperor waits for its callers. So early after its start that is a failure."""
    old = turn.serving
    early = old.ready_at is None or turn.now - old.ready_at < EARLY
    turn.bow_out(old.number)
    turn.change(serving=None, active=False, chaining=0, sleepy=True)
    turn.rest(event)
    if early:
        turn.change(failures=turn.vassal.failures + 1)
        turn.back_off()


def park_late(turn: Turn, event: Parking) -> None:
    """It ends while its successor is wanted: that one is all there is, or looks for itself whether to sleep."""
    coming = turn.vassal.coming
    turn.bow_out(turn.serving.number)
    turn.change(serving=None, active=False, chaining=0, sleepy=True)
    turn.change(minute=max(turn.vassal.minute, event.minute))
    if coming is None:
        turn.dequeue()
        turn.want()
    else:
        turn.disarm(Alarm.START, coming.number)
        turn.change(state=State.STARTING)


def chained(turn: Turn, event: Chained) -> None:
    """Its workers are replaced, or not: tell. Where its file was edited, a new generation has to come after all."""
    end_chain(turn, event.reason, event.detail, edited=event.edited)


def overdue_chain(turn: Turn, _event: Due) -> None:
    """It never said how the replacement of its workers ended: take it for a failure."""
    end_chain(turn, "it did not say how the replacement of its workers ended", "", edited=False)


def end_chain(turn: Turn, reason: str, detail: str, *, edited: bool) -> None:
    """The serving generation replaces its workers no more. A reload by another strategy may be under way."""
    number, again = turn.serving.number, turn.vassal.chaining > 1
    turn.disarm(Alarm.CHAIN, number)
    turn.change(chaining=0)
    alone = turn.vassal.coming is None and not turn.vassal.queued and turn.vassal.next_retry is None and turn.clear
    if edited and alone:
        turn.say("its file, or a socket's path, is not what it was: a new generation takes over")
        turn.change(strategy=OVERLAP)
        turn.want()
        return
    if reason and not edited:
        turn.note("load", reason, detail)
        turn.act(Outcome(None, ok=False, text=reason))
        turn.say(f"generation {number} keeps the workers that it has: {reason}")
    elif not edited:
        turn.change(failure=None, serving=replace(turn.serving, manifest=turn.vassal.manifest))
        turn.act(Outcome(None, ok=True, text=f"generation {number} has replaced its workers"))
        turn.say(f"generation {number} has replaced its workers")
    if again and alone:
        turn.change(strategy=CHAIN)
        turn.want()
    elif alone:
        turn.change(state=State.RUNNING, strategy="")
