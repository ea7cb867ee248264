"""The life of a vassal: one table from (state, kind of event) to a handler, and the handlers.

Pure: `step` takes a record, an event, the time and a throw of dice, and returns the new record and what is to be
done. docs/lifecycle.md shows the table; a test keeps them equal. The danger here: a pair that nobody thought of. So
every pair is there: handled, ignored, or named impossible, in which case the roles that `kinds.classify` gives
exclude it whatever a hostile generation says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emperor.kinds import Kind, classify
from emperor.ledger import clamp
from emperor.rest import chained, overdue_chain, park, park_late, reschedule, run_jobs, settle_down, wake
from emperor.states import (
    Alarm,
    Dequeue,
    Due,
    Event,
    Exited,
    Facts,
    Failed,
    Heartbeat,
    Kill,
    Leaving,
    Limits,
    Outcome,
    Phase,
    Purpose,
    Ready,
    Released,
    ShutListeners,
    State,
    Vassal,
)
from emperor.turn import BROKEN_STAGES, JOBS_RETRY, KILL_PATIENCE, Turn
from emperor.wishes import deny, hasten, keep, reinspect, remember, renew, retry, return_, stop, unhold, vanish

if TYPE_CHECKING:
    from collections.abc import Callable

    from emperor.manifest import Manifest
    from emperor.states import Action

    Handler = Callable[[Turn, Any], None]


class ImpossibleError(Exception):
    """An event met a state in which it cannot happen: a defect of the emperor, not of a vassal."""


def born(name: str, manifest: Manifest, limits: Limits, now: float) -> tuple[Vassal, list[Action]]:
    """Return a new vassal that wants to start, and what is to be done first. `now` in monotonic seconds."""
    state = State.PARKED if limits.on_demand == "bound" else State.WAITING
    turn = Turn(Vassal(name, manifest, state, now, limits, sleepy=bool(limits.on_demand)), now, 0.0)
    turn.want()
    return turn.vassal, turn.actions


def step(vassal: Vassal, event: Event, now: float, dice: float) -> tuple[Vassal | None, list[Action]]:
    """Return `vassal` after `event`, and what is to be done, in order.

    Args:
        vassal: Its record.
        event: What happened. The events of one vassal come one after the other.
        now: Monotonic seconds.
        dice: In [0, 1), for jitter.

    Returns:
        The new record, None when the vassal is to be forgotten; and the actions.

    Raises:
        ImpossibleError: the table says that this cannot be.
    """
    turn = Turn(vassal, now, dice)
    TABLE[vassal.state, classify(vassal, event, now)](turn, event)
    return (None if turn.forgotten else turn.vassal), turn.actions


def ignore(turn: Turn, event: Event) -> None:
    """Nothing to do: it is so already, or it comes too late."""


def impossible(turn: Turn, event: Event) -> None:
    """No such event can meet this state."""
    raise ImpossibleError(f"{turn.vassal.name}: {type(event).__name__} while {turn.vassal.state}")


# --- a generation comes ------------------------------------------------------------------------------------------


def spawn(turn: Turn, _event: Event) -> None:
    """The throttle says go: start the next generation. A place that was not asked for is given back."""
    if turn.vassal.queued:
        turn.spawn()
    else:
        turn.act(Dequeue())


def give_back(turn: Turn, _event: Event) -> None:
    """A place in the throttle that is not wanted any more: give it back."""
    turn.act(Dequeue())


def learn(turn: Turn, event: Facts) -> None:
    """It has read its file: take its start timeout and strategy. One for cron jobs has started with that."""
    coming = turn.coming
    timeout = clamp(event.start_timeout) or coming.start_timeout
    turn.change(coming=replace(coming, start_timeout=timeout, strategy=event.strategy))
    if (Alarm.START, coming.number) in turn.vassal.alarms:
        turn.arm(Alarm.START, coming.number, coming.started + timeout)
    if coming.purpose is Purpose.JOBS:
        turn.act(Dequeue())  # its jobs may run for hours, and those of others are due as well


def take_over(turn: Turn, event: Ready) -> None:
    """It is ready: it serves, its predecessor is released. Touched meanwhile: go again."""
    again = turn.vassal.again
    turn.take_over(event.mercy)
    if again:
        turn.want()


def fail(turn: Turn, event: Failed) -> None:
    """It cannot come up: roll back; no older one: broken or backoff. Collision: drain, or anew. Not forked: again."""
    if event.stage == "collision" and turn.vassal.serving is not None:
        turn.drop_coming(kill=True)
        turn.say(f"{event.reason}: these cannot serve side by side, so this reload ends the old generation first")
        turn.drain(shut=True)
        return
    if event.stage == "collision":
        if turn.vassal.failures == 0 and turn.coming.purpose is not Purpose.JOBS:
            # What was in its way is gone now (the listeners of another user, whose vassal this was); but only once.
            turn.say(f"generation {event.gen} cannot take over its addresses ({event.reason}): starting anew")
            turn.drop_coming(kill=True)
            turn.change(failures=1, shut=True)
            turn.want()
            return
        turn.act(ShutListeners())
    lose_coming(turn, event.stage, event.reason, event.detail, kill=True, held=bool(event.holder))


def fail_silently(turn: Turn, event: Exited) -> None:
    """It ended before it was ready, without a reason: roll back; without an older one: backoff."""
    lose_coming(turn, "exit", f"{event.text} before it was ready; its log may say why", "", kill=False)


def overdue(turn: Turn, _event: Due) -> None:
    """It takes too long while an older one serves: roll back."""
    reason = f"not ready within {turn.coming.start_timeout} s (start-timeout)"
    lose_coming(turn, "ready", reason, "", kill=True)


def supersede(turn: Turn, _event: Due) -> None:
    """It is out of date and still not ready: kill it and start the newest manifest."""
    turn.say(f"generation {turn.coming.number} is out of date and not ready yet: starting anew")
    turn.drop_coming(kill=True)
    turn.want()


def lose_coming(turn: Turn, stage: str, reason: str, detail: str, *, kill: bool, held: bool = False) -> None:  # noqa: PLR0913
    """The coming generation failed: keep why, tell who waits, and go where its vassal can go from there.

    `held`: another vassal holds its address, and may give it up any moment.
    """
    vassal = turn.vassal
    number, purpose = turn.coming.number, turn.coming.purpose
    turn.drop_coming(kill=kill)
    turn.note(stage, reason, detail)
    turn.act(Outcome(number, ok=False, text=reason))
    turn.say(f"generation {number} failed ({stage}): {reason}")
    if purpose is Purpose.JOBS:
        turn.arm(Alarm.WAKE, 0, turn.now + JOBS_RETRY)
    elif vassal.again:
        turn.change(failures=0)
        turn.want()
    elif vassal.serving is not None:
        turn.say(f"generation {vassal.serving.number} serves on")
        if stage == "spawn" or held:
            # Not this file's fault alone, so the wish for it stands: nobody would touch it again.
            turn.change(failures=vassal.failures + 1)
            turn.back_off()
        else:
            turn.change(state=State.RUNNING, strategy="")
            turn.keep_workers()
    elif stage in BROKEN_STAGES:
        turn.give_up()
    else:
        turn.change(failures=vassal.failures + 1)
        turn.back_off()


# --- a generation serves -----------------------------------------------------------------------------------------


def trust(turn: Turn, _event: Event) -> None:
    """It says that it has proved itself. Failures are forgotten once it has served for a moment, too."""
    turn.change(serving=replace(turn.serving, loyal=True))
    if turn.proved:
        turn.change(failures=0)


def beat(turn: Turn, event: Heartbeat) -> None:
    """Its master turns: from the first heartbeat on, the next one is awaited."""
    patience = turn.vassal.limits.required_heartbeat
    if patience > 0:
        turn.arm(Alarm.HEARTBEAT, event.gen, turn.now + patience)


def stall(turn: Turn, event: Due) -> None:
    """Its heartbeat stopped: kill it; its end is then a death like any other."""
    turn.disarm(event.alarm, event.gen)
    turn.say(f"generation {event.gen}: no heartbeat for {turn.vassal.limits.required_heartbeat} s: killed")
    turn.act(Kill(event.gen))


def lose_serving(turn: Turn, event: Exited) -> None:
    """It died: the coming one is all there is; else start anew, at once if it was loyal, or after a wait."""
    vassal = turn.vassal
    dead, proved = turn.serving, turn.proved
    turn.disarm_all(dead.number)
    # Its clients are waiting: it comes back to serve, whether it may park or not.
    turn.change(serving=None, active=False, chaining=0, called=True)
    turn.change(failures=0 if proved else vassal.failures + 1)
    turn.note("crash", f"generation {dead.number} {event.text}")
    turn.say(f"generation {dead.number} {event.text}")
    if vassal.coming is not None:
        # Its deadline only guards the time in which somebody else could serve.
        turn.disarm(Alarm.START, vassal.coming.number)
        turn.change(state=State.STARTING)
    elif proved or vassal.state is State.RELOADING:
        turn.want()
    else:
        turn.back_off()


# --- a generation leaves -----------------------------------------------------------------------------------------


def released(turn: Turn, event: Released) -> None:
    """It runs no more jobs: its successor may, and it retires. Or it has unlinked its sockets: start anew."""
    vassal = turn.vassal
    leaving = replace(vassal.leaving[event.gen], owed=max(vassal.leaving[event.gen].owed - 1, 0))
    turn.leave(event.gen, leaving)
    if leaving.phase is Phase.RELEASING:
        running = tuple(dict.fromkeys((*vassal.running, *event.running)))
        turn.change(minute=max(vassal.minute, event.minute), running=running)
        turn.retire(event.gen, leaving, final=False, clear=True)
        turn.activate()
    elif leaving.phase is Phase.RETIRING and leaving.final and leaving.owed == 0:
        turn.leave(event.gen, replace(leaving, clear=True))
        turn.change(tidy=not vassal.limits.root)
        turn.proceed()


def gone(turn: Turn, event: Exited) -> None:
    """It ended: whoever waited for that goes on."""
    turn.left(event.gen)
    turn.activate()
    turn.proceed()


def out_of_mercy(turn: Turn, event: Due) -> None:
    """It did not end in time: kill it. If not even that ends it, go on without it."""
    leaving = turn.vassal.leaving[event.gen]
    turn.disarm(event.alarm, event.gen)
    if leaving.phase is Phase.KILLED:
        turn.say(f"generation {event.gen} does not end although killed: going on without it")
        turn.leave(event.gen, replace(leaving, clear=True))
    else:
        turn.say(f"generation {event.gen} did not end in time ({leaving.mercy} s): killed")
        turn.act(Kill(event.gen))
        turn.leave(event.gen, Leaving(Phase.KILLED, leaving.mercy, leaving.final, leaving.clear))
        turn.arm(Alarm.MERCY, event.gen, turn.now + KILL_PATIENCE)
    turn.activate()
    turn.proceed()


# --- the table ---------------------------------------------------------------------------------------------------

_no = impossible
_ROWS: dict[Kind, tuple[Handler, ...]] = {
    # parked, waiting, starting, running, reloading, stopping, backoff, broken, stopped
    Kind.TOUCHED: (reinspect, renew, remember, renew, remember, return_, renew, renew, keep),
    Kind.VANISHED: (vanish,) * 9,
    Kind.RELOAD: (reinspect, ignore, remember, renew, remember, deny, renew, renew, deny),
    Kind.START: (wake, ignore, ignore, ignore, hasten, unhold, renew, renew, unhold),
    Kind.STOP: (stop, stop, stop, stop, stop, stop, stop, stop, ignore),
    Kind.SLOT: (spawn, spawn, give_back, give_back, spawn, give_back, give_back, give_back, give_back),
    Kind.FACTS: (learn, _no, learn, _no, learn, _no, _no, _no, _no),
    Kind.READY: (take_over, _no, take_over, _no, take_over, _no, _no, _no, _no),
    Kind.COMING_PARKING: (settle_down, _no, settle_down, _no, _no, _no, _no, _no, _no),
    Kind.COMING_FAILED: (fail, _no, fail, _no, fail, _no, _no, _no, _no),
    Kind.COMING_EXITED: (fail_silently, _no, fail_silently, _no, fail_silently, _no, _no, _no, _no),
    Kind.SERVING_EXITED: (_no, _no, _no, lose_serving, lose_serving, _no, _no, _no, _no),
    Kind.SERVING_LOYAL: (_no, _no, _no, trust, trust, _no, _no, _no, _no),
    Kind.SERVING_BEAT: (_no, _no, _no, beat, beat, _no, _no, _no, _no),
    Kind.SERVING_PARKING: (_no, _no, _no, park, park_late, _no, _no, _no, _no),
    Kind.SERVING_CHAINED: (_no, _no, _no, chained, chained, _no, _no, _no, _no),
    Kind.LEAVING_RELEASED: (released,) * 8 + (_no,),
    Kind.LEAVING_EXITED: (gone,) * 8 + (_no,),
    Kind.START_OVERDUE: (overdue, _no, _no, _no, overdue, _no, _no, _no, _no),
    Kind.SUPERSEDED_DUE: (supersede, _no, supersede, _no, supersede, _no, _no, _no, _no),
    Kind.RETRY_DUE: (_no, _no, _no, _no, retry, _no, retry, retry, _no),
    Kind.MERCY_OVERDUE: (out_of_mercy,) * 8 + (_no,),
    Kind.BEAT_OVERDUE: (_no, _no, _no, stall, stall, _no, _no, _no, _no),
    Kind.CHAIN_OVERDUE: (_no, _no, _no, overdue_chain, overdue_chain, _no, _no, _no, _no),
    Kind.WAKE_DUE: (run_jobs, _no, _no, _no, _no, _no, _no, _no, _no),
    Kind.RESCHEDULED: (reschedule, _no, _no, _no, _no, _no, _no, _no, _no),
    Kind.CALLED: (wake, ignore, ignore, ignore, ignore, ignore, ignore, ignore, ignore),
    Kind.FORGIVE: (ignore, ignore, ignore, ignore, hasten, ignore, renew, renew, ignore),
    Kind.STALE: (ignore,) * 9,
}
TABLE: dict[tuple[State, Kind], Handler] = {
    (state, kind): handler for kind, row in _ROWS.items() for state, handler in zip(State, row, strict=True)
}
"""The whole policy. Every pair is there."""


def drawn() -> str:
    """Return the table in Markdown, with a legend from the handlers' own first lines, for docs/lifecycle.md."""
    cells: dict[Handler, str] = {ignore: "·", impossible: "∅"}
    lines = ["| | " + " | ".join(State) + " |", "|---" * (len(State) + 1) + "|"]
    used: dict[str, Handler] = {}
    for kind in Kind:
        handlers = [TABLE[state, kind] for state in State]
        lines.append(f"| **{kind}** | " + " | ".join(cells.get(one) or _label(one) for one in handlers) + " |")
        used.update({_label(one): one for one in handlers if one not in cells})
    legend = [f"- `{label}`: {(handler.__doc__ or '').splitlines()[0]}" for label, handler in sorted(used.items())]
    return "\n".join([*lines, "", *legend])


def _label(handler: Handler) -> str:
    return handler.__name__.rstrip("_").replace("_", " ")
