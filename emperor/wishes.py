"""What people and files want of a vassal: the handlers for touches, commands and the retries that stand for them.

The danger here: a wish that is lost because something else is under way. So whatever cannot be begun now is remembered
in the record, where `Turn.want` finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emperor.states import Alarm, Outcome, Purpose, Reload, State, Touched
from emperor.turn import SUPERSEDE

if TYPE_CHECKING:
    from emperor.states import Due, Event, Stop
    from emperor.turn import Turn


def keep(turn: Turn, event: Touched) -> None:
    """Remember the newest manifest for the next start; `stop` holds through touches."""
    turn.change(manifest=event.manifest)


def renew(turn: Turn, event: Event) -> None:
    """Forget failures and want a new generation: queue it, or drain the old one first."""
    if isinstance(event, Touched):
        turn.change(manifest=event.manifest)
    if isinstance(event, Reload):
        turn.change(strategy=event.strategy or turn.vassal.strategy)
    turn.change(failures=0)
    turn.want()


def remember(turn: Turn, event: Touched | Reload) -> None:
    """Something is coming already: let it, for a while, and go again then. With nothing coming: `renew`."""
    if turn.vassal.coming is None:
        renew(turn, event)
        return
    if isinstance(event, Touched):
        turn.change(manifest=event.manifest)
        if event.manifest.problem is not None:
            turn.drop_coming(kill=True)
            turn.want()
            return
    else:
        turn.change(strategy=event.strategy or turn.vassal.strategy)
    number = turn.coming.number
    turn.change(again=True)
    if (Alarm.SUPERSEDED, number) not in turn.vassal.alarms:
        turn.arm(Alarm.SUPERSEDED, number, turn.now + SUPERSEDE)


def reinspect(turn: Turn, event: Touched | Reload) -> None:
    """It sleeps: read the file anew without waking it; cron jobs that run may end."""
    if isinstance(event, Touched):
        turn.change(manifest=event.manifest)
    if turn.vassal.coming is not None and turn.vassal.coming.purpose is Purpose.INSPECT:
        remember(turn, event)
        return
    if turn.vassal.coming is not None:
        turn.release_jobs()
    turn.change(failures=0, jobs=False)
    turn.want()


def return_(turn: Turn, event: Touched) -> None:
    """The file is there (again): start anew, unless stopped by command, once nobody is in the way."""
    turn.change(manifest=event.manifest, gone=False, failures=0)
    turn.proceed()


def vanish(turn: Turn, _event: Event) -> None:
    """The file is gone: end all generations, then forget the vassal."""
    turn.change(gone=True)
    turn.say("its file is gone: stopping")
    turn.wind_down("its file is gone")


def stop(turn: Turn, event: Stop) -> None:
    """End all generations and hold until `start`."""
    turn.change(held=True)
    turn.say("stopping" if event.ending else "stopping, until it is started by command")
    turn.wind_down("stopped meanwhile")


def unhold(turn: Turn, _event: Event) -> None:
    """Take back a stop: start as soon as nobody is in the way."""
    turn.change(held=False, failures=0, state=State.STOPPING)
    turn.proceed()


def retry(turn: Turn, _event: Due) -> None:
    """The wait is over: try again; failures still count."""
    turn.want()


def hasten(turn: Turn, _event: Event) -> None:
    """A reload that waits for its next try is tried now; any other is under way already."""
    if turn.vassal.next_retry is not None:
        turn.change(failures=0)
        turn.want()


def deny(turn: Turn, _event: Event) -> None:
    """Refuse to reload what is stopped or ends; what is drained starts anew anyway."""
    vassal = turn.vassal
    if vassal.held:
        turn.act(Outcome(None, ok=False, text=f"{vassal.name} is stopped; start it first: emperor start {vassal.name}"))
    elif vassal.gone:
        turn.act(Outcome(None, ok=False, text=f"{vassal.name} ends: its file is gone"))
