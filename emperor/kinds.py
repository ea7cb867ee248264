"""What an event means for its vassal: the rows of the lifecycle's table.

The danger here: what comes from a link may be a lie. `classify` decides by the generation's *role*; one that speaks out
of turn, or after its time, must come out as `Kind.STALE`, never as something that the table calls impossible.
"""

from __future__ import annotations

import enum

from emperor.states import (
    Alarm,
    Called,
    Chained,
    Due,
    Event,
    Exited,
    Facts,
    Failed,
    Forgive,
    Generational,
    Heartbeat,
    Loyal,
    Parking,
    Purpose,
    Ready,
    Released,
    Reload,
    Rescheduled,
    Slot,
    Start,
    Stop,
    Touched,
    Vanished,
    Vassal,
)


class Kind(enum.StrEnum):
    """What can happen, by the role of the generation that it happens to."""

    TOUCHED = "touched"
    VANISHED = "vanished"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    SLOT = "slot"
    FACTS = "facts"
    READY = "ready"
    COMING_PARKING = "coming_parking"
    COMING_FAILED = "coming_failed"
    COMING_EXITED = "coming_exited"
    SERVING_EXITED = "serving_exited"
    SERVING_LOYAL = "serving_loyal"
    SERVING_BEAT = "serving_beat"
    SERVING_PARKING = "serving_parking"
    SERVING_CHAINED = "serving_chained"
    LEAVING_RELEASED = "leaving_released"
    LEAVING_EXITED = "leaving_exited"
    START_OVERDUE = "start_overdue"
    SUPERSEDED_DUE = "superseded_due"
    RETRY_DUE = "retry_due"
    MERCY_OVERDUE = "mercy_overdue"
    BEAT_OVERDUE = "beat_overdue"
    CHAIN_OVERDUE = "chain_overdue"
    WAKE_DUE = "wake_due"
    RESCHEDULED = "rescheduled"
    CALLED = "called"
    FORGIVE = "forgive"
    STALE = "stale"


_PLAIN: dict[type[Event], Kind] = {
    Touched: Kind.TOUCHED,
    Vanished: Kind.VANISHED,
    Reload: Kind.RELOAD,
    Start: Kind.START,
    Stop: Kind.STOP,
    Slot: Kind.SLOT,
    Forgive: Kind.FORGIVE,
    Called: Kind.CALLED,
}
_OF_COMING: dict[type[Event], Kind] = {
    Facts: Kind.FACTS,
    Ready: Kind.READY,
    Parking: Kind.COMING_PARKING,
    Failed: Kind.COMING_FAILED,
    Exited: Kind.COMING_EXITED,
}
_OF_SERVING: dict[type[Event], Kind] = {
    Exited: Kind.SERVING_EXITED,
    Loyal: Kind.SERVING_LOYAL,
    Heartbeat: Kind.SERVING_BEAT,
    Parking: Kind.SERVING_PARKING,
    Chained: Kind.SERVING_CHAINED,
}
_OF_LEAVING: dict[type[Event], Kind] = {Released: Kind.LEAVING_RELEASED, Exited: Kind.LEAVING_EXITED}
_ALARMS = {
    Alarm.START: Kind.START_OVERDUE,
    Alarm.SUPERSEDED: Kind.SUPERSEDED_DUE,
    Alarm.RETRY: Kind.RETRY_DUE,
    Alarm.MERCY: Kind.MERCY_OVERDUE,
    Alarm.HEARTBEAT: Kind.BEAT_OVERDUE,
    Alarm.WAKE: Kind.WAKE_DUE,
    Alarm.CHAIN: Kind.CHAIN_OVERDUE,
}
_UNFIT: dict[Purpose, tuple[type[Event], ...]] = {
    Purpose.SERVE: (Parking,),
    Purpose.JOBS: (Ready,),
}
"""What a coming generation of that purpose cannot say in truth."""


def classify(vassal: Vassal, event: Event, now: float) -> Kind:
    """Return what `event` means for `vassal` at `now` (monotonic seconds)."""
    if isinstance(event, Due):
        at = vassal.alarms.get((event.alarm, event.gen))
        return Kind.STALE if at is None or at > now else _ALARMS[event.alarm]
    if isinstance(event, Rescheduled):
        return Kind.STALE if vassal.wake_at is None else Kind.RESCHEDULED
    if not isinstance(event, Generational):
        return _PLAIN[type(event)]
    if vassal.coming is not None and vassal.coming.number == event.gen:
        if isinstance(event, _UNFIT.get(vassal.coming.purpose, ())):
            return Kind.STALE
        return _OF_COMING.get(type(event), Kind.STALE)
    if vassal.serving is not None and vassal.serving.number == event.gen:
        if isinstance(event, Chained) and not vassal.chaining:
            return Kind.STALE
        return _OF_SERVING.get(type(event), Kind.STALE)
    if event.gen in vassal.leaving:
        return _OF_LEAVING.get(type(event), Kind.STALE)
    return Kind.STALE
