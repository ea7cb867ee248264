"""What generations say, as events of their vassals' lives.

The one danger is believing it: everything here comes from the vassals' processes, so what is kept is cut to length,
what is asked for is paced, and what breaks the contract ends its sender.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from emperor import states
from emperor.logroom import Seldom
from emperor.names import printable
from vassal import link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emperor.fleet import Fleet
    from emperor.generation import Run

WISH_PACE = 2.0
"""Seconds between two reloads that a vassal asks for itself; one that comes earlier waits for its time."""
GIVEN = "standard error"
"""How a vassal calls the log that it was given, one of `emperor-log-dir`: trouble with it is that of all."""
TROUBLE_LIMIT = 500
"""Characters of a line about a vassal's log."""
REASON_LIMIT = 2000
"""Characters of a vassal's own words that are kept and shown."""
FARTHEST = 400 * 86400.0
"""Seconds to a cron job of a parked vassal, at most: no crontab has a longer pause but for 29 February."""


class Hearing:
    """Hears for `fleet`. Everything here runs on the loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.voices: dict[str, Seldom] = {}
        """What each vassal's own trouble is told by."""
        self.wished: dict[str, float] = {}
        """When the last reload that each vassal asked for itself was, or is to be (seconds of the loop's clock)."""
        self.dues: dict[str, int] = {}
        """Epoch second at which the next cron job of a parked vassal is due, as it said when it parked."""
        self.blocked: dict[str, str] = {}
        """Vassals whose reload waits for an address, and who has it."""

    def heard(self, run: Run, record: link.Record) -> None:  # noqa: C901, PLR0912 (one case a record)
        """Translate a record into an event (`emperor.generation.Owner`)."""
        name, number = run.name, run.number
        feed = self._fleet.feed
        match record:
            case link.Facts():
                self._fleet.beside.said_of_log(name, record.log[: link.PATH_MAX], record.uid)
                feed(name, states.Facts(number, record.start_timeout, record.strategy))
            case link.Listening():
                self._arbitrate(run)
            case link.Ready():
                if run.purpose is states.Purpose.INSPECT:
                    self._fleet.hooks.serves(run)  # it was not only to look, after all
                    self._fleet.chronicle.ran(name, time.time())
                self._fleet.chronicle.ready(name, time.time())
                self.blocked.pop(name, None)
                if not run.doomed:
                    self._fleet.beside.ready(name)
                    feed(name, states.Ready(number, record.mercy))
            case link.Failed():
                reason = printable(record.reason[:REASON_LIMIT])
                holder = self._named_holder(name, reason) if record.stage == "bind" else None
                if holder is not None:
                    self._contend(run, holder, f"{reason}: by vassal {holder}")
                    return
                self.blocked.pop(name, None)
                feed(name, states.Failed(number, record.stage, reason, record.detail))
            case link.Loyal():
                self._fleet.chronicle.loyal(name, time.time())
                feed(name, states.Loyal(number))
            case link.Released():
                feed(name, states.Released(number, record.minute, record.running))
            case link.Parking():
                if not run.doomed:
                    self.dues[name] = record.wake
                    feed(name, states.Parking(number, _until(record.wake), record.minute))
            case link.Chained():
                reason = printable(record.reason[:REASON_LIMIT])
                feed(name, states.Chained(number, reason, record.detail, record.edited))
            case link.CronReport():
                self._fleet.beside.said_of_cron(name, record, serves=self._serves(run))
            case link.DaemonReport():
                self._daemons(run, record)
            case link.Heartbeat():
                self._fleet.chronicle.beat(name, time.time())
                feed(name, states.Heartbeat(number))
            case link.Trouble():
                self._trouble(name, record.text)
            case link.ReloadWanted():
                self._wish(run, record.reason)
            case _:
                pass

    def _daemons(self, run: Run, record: link.DaemonReport) -> None:
        """Its daemons: those of the generation that serves are shown, and the smart ones of any are looked at."""
        self._fleet.beside.said_of_daemons(run.name, record, serves=self._serves(run))
        if run.facts is not None and not run.doomed:
            masters = {other.pid for other in self._fleet.runs.get(run.name, {}).values() if other.pid}
            self._fleet.spared.claimed(run.name, record.kept, masters, run.facts.uid)

    def _trouble(self, name: str, text: str) -> None:
        """A vassal cannot write its own log: say it in the emperor's; a full disk is one trouble for all of them."""
        own, shared = self.voices.setdefault(name, Seldom(self._fleet.say)), self._fleet.log_trouble
        general = shared.general or (self._fleet.settings.log_dir is not None and GIVEN in text)
        (shared if general else own).complain(f"vassal {name}: {printable(text[:TROUBLE_LIMIT])}")

    def _serves(self, run: Run) -> bool:
        """Whether it is the one that serves; where none does, anyone may speak."""
        vassal = self._fleet.vassals.get(run.name)
        return vassal is None or vassal.serving is None or vassal.serving.number == run.number

    def _wish(self, run: Run, reason: str) -> None:
        """A generation wants to be succeeded: not more often than `WISH_PACE`, or its vassal would do nothing else."""
        vassal = self._fleet.vassals.get(run.name)
        if run.wishes or vassal is None or vassal.serving is None or vassal.serving.number != run.number:
            return
        run.wishes = True
        self._fleet.say(f"vassal {run.name}: reload wanted ({reason[:200]})")
        at = max(self._fleet.loop.time(), self.wished.get(run.name, 0.0) + WISH_PACE)
        self.wished[run.name] = at
        self._fleet.loop.call_at(at, self._grant_wish, run)

    def _grant_wish(self, run: Run) -> None:
        run.wishes = False
        vassal = self._fleet.vassals.get(run.name)
        if vassal is not None and vassal.serving is not None and vassal.serving.number == run.number:
            self._fleet.feed(run.name, states.Reload(None))

    def clock_moved(self, jump: float) -> None:
        """The wall clock was set by `jump` seconds: count again until when parked vassals with cron jobs wait."""
        self._fleet.say(f"the clock was set by {jump:+.0f} s: cron jobs of parked vassals are counted anew")
        for name, due in tuple(self.dues.items()):
            wake = _until(due)
            if wake is not None:
                self._fleet.feed(name, states.Rescheduled(wake))

    def _arbitrate(self, run: Run) -> None:
        """Two vassals that name one address: the later is told which the other is."""
        for entry in run.pending or ():
            holder = self._fleet.store.holder(entry.key, run.name)
            if holder is not None and entry.key in {kept.key for kept in self._fleet.store.of(holder)}:
                self._contend(run, holder, f"address {entry.key} is already in use: by vassal {holder}")
                run.kill()
                return

    def _contend(self, run: Run, holder: str, reason: str) -> None:
        """`run` wants what `holder` has. If that one waits for an address of this one in turn, this one gives way."""
        vassal = self._fleet.vassals.get(run.name)
        stage = "bind"
        if vassal is not None and vassal.serving is not None:
            self.blocked[run.name] = holder
            if circular(run.name, self.blocked):
                del self.blocked[run.name]
                stage, reason = "collision", f"{reason}, which waits for an address of this one"
        self._fleet.feed(run.name, states.Failed(run.number, stage, reason, "", holder))

    def _named_holder(self, name: str, reason: str) -> str | None:
        words = reason.split()
        if "in use" not in reason or "address" not in words:
            return None
        named = words[words.index("address") + 1 :][:1]
        return self._fleet.store.holder(named[0], name) if named else None

    def misbehaved(self, run: Run, reason: str) -> None:
        """Kill a generation that broke the contract (`emperor.generation.Owner`)."""
        if run.doomed:
            return
        run.fault = printable(reason[:REASON_LIMIT])
        self._fleet.say(
            f"vassal {run.name}: generation {run.number} broke the contract of its link: {run.fault}; killing it"
        )
        run.drop_pending()
        self._fleet.sweep(run)


def circular(name: str, blocked: Mapping[str, str]) -> bool:
    """Tell whether those who keep each other waiting, from `name` on, lead back to `name`."""
    holder = blocked.get(name)
    for _ in blocked:
        if holder is None or holder == name:
            break
        holder = blocked.get(holder)
    return holder == name


def _until(wake: int) -> float | None:
    """Return the seconds from now to the epoch second `wake`; None for 0, none."""
    return min(max(wake - time.time(), 0.0), FARTHEST) if wake > 0 else None
