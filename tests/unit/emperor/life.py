"""A vassal's life on paper: an injected clock, the throttle's part played, every step checked against the rules."""

from emperor import lifecycle, states
from emperor.kinds import Kind, classify
from emperor.ledger import MOST_LEAVING
from emperor.manifest import Manifest
from emperor.states import Alarm, Limits, Phase, Purpose, State
from vassal import link

LIMITS = Limits(throttle_ms=1000, max_throttle_ms=180_000, mercy=60, start_timeout=60, required_heartbeat=30)
ON_DEMAND = Limits(required_heartbeat=30, on_demand="bound")
ASKED = Limits(required_heartbeat=30, on_demand="asked", root=True)
QUIET = (states.Say,)


def manifest(version=1, problem=None):
    return Manifest("blog", "/e/blog.ini", (version, 1, 1, 0, 0), (0, 0), None if problem else (1, 1), problem)


class Life:
    """One vassal, a clock, and what was done. Every step is checked against the rules that always hold."""

    def __init__(self, born=None, limits=LIMITS, crowd=1, sorts=()):
        self.crowd = crowd  # generations leaving at once, at most, where all histories are replayed
        self.sorts = sorts  # of rarer events that these histories have
        self.now = 1000.0
        self.queued = False
        self.spawned = 0
        self.owners = set()  # generations that may run jobs
        self.edges = set()
        self.pairs = set()
        self.actions = []
        self.vassal = None
        self._take(None, *lifecycle.born("blog", born or manifest(), limits, self.now))

    def _take(self, before, vassal, actions):
        self.vassal = vassal
        self.actions = [one for one in actions if not isinstance(one, QUIET)]
        for action in self.actions:
            self._execute(action)
        old = before.state if before else None
        new = vassal.state if vassal else None
        if old is not new:
            self.edges.add((old, new))
        if vassal is not None:
            self._check(vassal)
        assert vassal is None or self.queued is vassal.queued

    def _execute(self, action):
        if isinstance(action, states.Enqueue):
            assert not self.queued
            self.queued = True
            assert action.last is (self.vassal.state is State.PARKED and not self.vassal.called)
        elif isinstance(action, states.Dequeue):
            self.queued = False
        elif isinstance(action, states.Spawn):
            self.spawned += 1
            assert action.gen == self.spawned
            if action.purpose is not Purpose.UNLINK:
                assert action.purpose is self.vassal.coming.purpose
        elif isinstance(action, states.Kill):
            self.owners.discard(action.gen)
        elif isinstance(action, states.Send):
            if isinstance(action.record, link.Activate):
                self.owners.add(action.gen)
                assert self.owners == {action.gen}, "two generations run the same jobs"
            elif isinstance(action.record, link.Retire):
                self.owners.discard(action.gen)

    def _check(self, v):
        coming, serving = v.coming is not None, v.serving is not None
        stuck = not all(one.clear for one in v.leaving.values())
        ending = [one for one in v.leaving.values() if one.phase is not Phase.KILLED]
        crowded = len(ending) >= MOST_LEAVING
        retry = (Alarm.RETRY, 0) in v.alarms
        inspects = coming and v.coming.purpose is not Purpose.SERVE
        assert {
            State.PARKED: not (serving or retry) and not (coming and v.queued) and (not coming or inspects),
            State.WAITING: v.queued and not coming and not serving,
            State.STARTING: coming and not serving and not v.queued,
            State.RUNNING: serving and not coming and not v.queued,
            State.RELOADING: serving
            and (coming or v.queued or stuck or crowded or retry or v.chaining)
            and [coming, v.queued, retry].count(True) <= 1,
            State.STOPPING: not (serving or coming or v.queued) and v.leaving and (v.gone or v.held or stuck),
            State.BACKOFF: not (serving or coming or v.queued),
            State.BROKEN: not (serving or coming or v.queued),
            State.STOPPED: v.held and not (serving or coming or v.queued or v.leaving),
        }[v.state], v
        # Everything that waits has a deadline, and nothing else has one.
        assert retry is (v.state in (State.BACKOFF, State.BROKEN)) or v.state is State.RELOADING
        assert (coming and (Alarm.SUPERSEDED, v.coming.number) in v.alarms) is v.again
        assert not v.again or coming
        assert not v.chaining or (serving and (Alarm.CHAIN, v.serving.number) in v.alarms)
        if coming:
            parked = v.state is State.PARKED and v.coming.purpose is Purpose.INSPECT
            assert ((Alarm.START, v.coming.number) in v.alarms) is (serving or parked)
            assert v.coming.purpose is not Purpose.JOBS or v.state is State.PARKED
        assert v.state is State.PARKED or not (v.jobs or (Alarm.WAKE, 0) in v.alarms)
        assert not v.listens or v.sleepy
        for number, one in v.leaving.items():
            assert ((Alarm.MERCY, number) in v.alarms) or (one.phase is Phase.KILLED and one.clear)
        known = {0, *v.leaving} | {one.number for one in (v.coming, v.serving) if one}
        assert {number for _, number in v.alarms} <= known
        assert not (v.held or v.gone) or v.state in (State.STOPPING, State.STOPPED)

    def kind(self, event):
        return classify(self.vassal, event, self.now)

    def feed(self, *events, dice=0.0):
        for event in events:
            before = self.vassal
            if isinstance(event, states.Released | states.Exited | states.Parking):
                self.owners.discard(event.gen)
            if isinstance(event, states.Slot):
                # The throttle took it from the queue to give it a place.
                self.queued = False
            kind = self.kind(event)
            self.pairs.add((before.state, kind))
            self._take(before, *lifecycle.step(before, event, self.now, dice))
            self._check_serving(before, kind, event)
        return self

    def _check_serving(self, before, kind, event):
        """Who serves goes on unless it dies, is replaced, or somebody wants its end."""
        old = before.serving
        if old is None or (self.vassal and self.vassal.serving and self.vassal.serving.number == old.number):
            return
        if kind in (Kind.READY, Kind.SERVING_EXITED, Kind.SERVING_PARKING, Kind.STOP, Kind.VANISHED):
            return
        collides = kind is Kind.COMING_FAILED and event.stage == "collision"
        asked = before.strategy or old.strategy
        if kind is Kind.RELOAD:
            asked = event.strategy or asked
        assert collides or asked == "drain", f"{kind} ended the generation that served"

    def wait(self, seconds):
        """Let time pass; alarms ring when they are due."""
        until = self.now + seconds
        while self.vassal is not None and self.vassal.next_alarm is not None and self.vassal.next_alarm <= until:
            self.now = max(self.now, self.vassal.next_alarm)
            self.feed(*self.vassal.overdue(self.now)[:1])
        self.now = until
        return self

    def up(self, mercy=60, strategy=""):
        """Bring the queued start to ready."""
        self.feed(states.Slot())
        number = self.vassal.coming.number
        return self.feed(states.Facts(number, 60, strategy), states.Ready(number, mercy))

    @property
    def state(self):
        return self.vassal.state if self.vassal else None

    def did(self, kind):
        return [one for one in self.actions if isinstance(one, kind)]

    def sent(self):
        return [(one.gen, one.record) for one in self.did(states.Send)]


def running(limits=LIMITS, **how):
    life = Life(limits=limits)
    return life.up(**how)


def parked(wake=None, limits=ON_DEMAND):
    """A vassal on demand that has been looked at."""
    life = Life(limits=limits).feed(states.Slot())
    return life.feed(states.Parking(life.vassal.coming.number, wake), states.Exited(life.spawned, "exited"))


def reloading(version=2, **how):
    return running(**how).feed(states.Touched(manifest(version)), states.Slot())
