"""The lifecycle's table: complete, drawn as it is, and right in whatever history."""

import copy
import functools
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emperor import ledger, lifecycle, states, turn
from emperor.kinds import Kind
from emperor.states import Alarm, Phase, Purpose, State
from tests.unit.emperor.life import ASKED, LIMITS, ON_DEMAND, Life, manifest
from vassal import link

DOC = Path(__file__).parents[3] / "docs" / "lifecycle.md"


# --- the table ---------------------------------------------------------------------------------------------------


def test_every_pair_is_named():
    assert set(lifecycle.TABLE) == {(state, kind) for state in State for kind in Kind}


def test_impossible_says_where():
    with pytest.raises(lifecycle.ImpossibleError, match=r"blog: Ready while waiting"):
        lifecycle.impossible(turn.Turn(Life().vassal, 0.0, 0.0), states.Ready(1, 60))


def test_the_document_shows_this_table():
    shown = DOC.read_text().partition("<!-- table -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == lifecycle.drawn(), 'paste what `python -c "from emperor.lifecycle import *; print(drawn())"` prints'


def test_the_document_shows_these_transitions():
    shown = set(re.findall(r"^ {4}(\S+) --> (\S+)$", DOC.read_text(), re.MULTILINE))
    seen = explored().edges
    names = {(str(old) if old else "[*]", str(new) if new else "[*]") for old, new in seen}
    assert names == shown, "\n".join(f"    {old} --> {new}" for old, new in sorted(names))


# --- all histories, up to what makes no difference -----------------------------------------------------------------


class Explored:
    """What all histories came to: one life for each likeness, and every step and every (state, kind) on the way."""

    def __init__(self):
        self.lives = {}
        self.edges, self.pairs = set(), set()

    def meet(self, life):
        """Keep a life; True where none of its likeness was met before."""
        self.edges |= life.edges
        self.pairs |= life.pairs
        return life.vassal is not None and self.lives.setdefault(likeness(life), life) is life


def likeness(life):
    """What can make a difference to what follows: no numbers, and no times, since alarms are tried in any order."""
    v = life.vassal

    def role(one):
        return one and (one.loyal, one.loyal and proved(life), one.strategy == "drain", one.purpose)

    def path(number, one):
        last = (False, 0) if one.phase is Phase.KILLED else (one.final, min(one.owed, 1))
        return (one.phase, one.clear, *last, (Alarm.MERCY, number) in v.alarms)

    leaving = tuple(path(*one) for one in sorted(v.leaving.items()))
    flags = (
        v.again,
        v.held,
        v.gone,
        v.queued,
        v.strategy in ("drain", "chain") and v.strategy,
        v.shut,
        v.active,
        v.manifest.problem is None,
        v.failures > 0 and v.serving is None,
    )
    flags += (life.crowd, life.sorts, v.sleepy, v.jobs, v.chaining, v.tidy, v.limits.on_demand)
    flags += (v.called and "park" in life.sorts,)  # a vassal that never sleeps starts in one way only
    alarms = frozenset(alarm for alarm, _ in v.alarms if alarm is not Alarm.MERCY)
    return v.state, role(v.serving), role(v.coming), leaving, flags, alarms


def proved(life):
    return life.now - life.vassal.serving.ready_at >= ledger.PROOF


def branches(life):
    """One event of each sort that could be true now."""
    v = life.vassal
    version = v.manifest.version[0] + 1
    yield from (states.Touched(manifest(version)), states.Touched(manifest(version, "a FIFO")), states.Vanished())
    yield from (states.Reload(None), states.Start(), states.Stop(), states.Forgive())
    if "drain" in life.sorts:
        yield states.Reload("drain")
    if "chain" in life.sorts and v.serving:
        yield states.Reload("chain")
    yield from (states.Slot(), states.Loyal(0), states.Called())
    if v.coming:
        yield from of_coming(life, v.coming.number)
    if v.serving:
        yield from of_serving(life, v.serving.number)
    if v.wake_at is not None:
        yield states.Rescheduled(60.0)
    for number in v.leaving:
        yield from (states.Released(number, 3, ("job",)), states.Exited(number, "exited"))


def of_coming(life, number):
    yield from (states.Facts(number, 7, life.sorts[0]), states.Ready(number, 10), states.Exited(number, "exited"))
    yield from (states.Failed(number, stage, "why") for stage in ("load", "collision", "spawn"))
    if "park" in life.sorts:
        yield from (states.Parking(number, 60.0, 7), states.Parking(number))


def of_serving(life, number):
    yield from (states.Loyal(number), states.Exited(number, "exited"))
    if "beat" in life.sorts:
        yield states.Heartbeat(number)
    if "park" in life.sorts:
        yield states.Parking(number, 60.0, 7)
    if life.vassal.chaining:
        yield from (states.Chained(number), states.Chained(number, edited=True), states.Chained(number, "why"))


def fork(life):
    twin = copy.copy(life)
    twin.owners, twin.edges, twin.pairs = set(life.owners), set(), set()
    return twin


def successors(life):
    """What can become of it: by an event, by any of its alarms, whichever rings first, and by mere time."""
    for event in branches(life):
        if lifecycle.TABLE[life.state, life.kind(event)] is not lifecycle.ignore:
            yield fork(life).feed(event)
    for (alarm, number), at in life.vassal.alarms.items():
        twin = fork(life)
        twin.now = max(life.now, at)
        yield twin.feed(states.Due(alarm, number))
    if life.vassal.serving and life.vassal.serving.loyal and not proved(life):
        twin = fork(life)
        twin.now += ledger.PROOF
        yield twin


@functools.cache
def explored():
    """Every vassal that can be reached with at most `Life.crowd` generations leaving."""
    found = Explored()
    frontier = [
        Life(crowd=2, sorts=("overlap",)),
        Life(sorts=("drain",)),
        Life(manifest(1, "a FIFO"), sorts=("drain",)),
    ]
    frontier += [Life(limits=limits, sorts=("drain", "park")) for limits in (ON_DEMAND, ASKED)]
    frontier.append(Life(sorts=("chain", "beat")))
    for life in frontier:
        found.meet(life)
    while frontier:
        life = frontier.pop()
        found.pairs |= {(life.state, life.kind(event)) for event in branches(life)}
        for twin in successors(life):
            if found.meet(twin) and len(twin.vassal.leaving) <= twin.crowd:
                frontier.append(twin)
    return found


def test_exactly_the_impossible_never_happens():
    possible = {pair for pair, handler in lifecycle.TABLE.items() if handler is not lifecycle.impossible}
    assert explored().pairs == possible


def test_whatever_happened_it_ends_where_the_last_wish_says():
    for life in explored().lives.values():
        check_the_end(fork(life))


# --- any history -------------------------------------------------------------------------------------------------


def alphabet(life):
    """Every event that could be fed now, lies and late words included."""
    v = life.vassal
    numbers = sorted({0, v.next_number, max(v.next_number - 1, 0), *v.leaving})
    version = v.manifest.version[0] + 1
    events = [
        states.Touched(manifest(version)),
        states.Touched(manifest(version)),
        states.Touched(manifest(version, "a FIFO")),
        states.Vanished(),
        states.Reload(None),
        states.Reload("drain"),
        states.Reload("overlap"),
        states.Start(),
        states.Stop(),
        states.Forgive(),
        states.Reload("chain"),
        states.Called(),
        *[states.Slot()] * 6,
        *(states.Due(alarm, number) for alarm in Alarm for number in numbers),
    ]
    if v.serving:
        numbers.append(v.serving.number)
    for number in numbers:
        events += [states.Failed(number, stage, "why") for stage in (*link.STAGES, "?")]
        events += [states.Facts(number, 7, strategy) for strategy in ("", "drain", "overlap", "chain")]
        events += [states.Ready(number, 10)] * 8
        events += [states.Loyal(number), states.Heartbeat(number)] * 2
        events += [states.Released(number, 3, ("job",))] * 4
        events += [states.Parking(number, 60.0, 3), states.Parking(number), states.Parking(number, -1.0)]
        events += [states.Chained(number), states.Chained(number, "why"), states.Chained(number, edited=True)]
        events += [states.Exited(number, "exited")] * 5
    return events


def happen(life, choice, dice):
    events = alphabet(life)
    if choice % 7 == 0:
        life.wait((0.5, 2.5, 6.0, 70.0)[choice % 4])
        return
    event = events[choice * 7919 % len(events)]
    if isinstance(event, states.Exited) and life.vassal.next_number <= event.gen:
        return  # the emperor's own word: it does not lie
    life.feed(event, dice=dice())


def settle(life):
    """A kind environment: whoever is asked to go goes, whoever starts becomes ready."""
    for _ in range(200):
        v = life.vassal
        if v is None:
            return
        if v.queued:
            life.feed(states.Slot())
        elif v.coming and v.coming.purpose is Purpose.JOBS:
            life.feed(states.Parking(v.coming.number))
        elif v.coming:
            life.feed(states.Ready(v.coming.number, 10))
        elif v.chaining:
            life.feed(states.Chained(v.serving.number))
        elif v.leaving:
            number = min(v.leaving)
            if v.leaving[number].phase is Phase.RELEASING:
                life.feed(states.Released(number))
            else:
                life.feed(states.Exited(number, "exited"))
        elif v.next_retry is not None and (v.state is not State.BROKEN or v.manifest.problem is None):
            life.wait(v.next_retry - life.now)
        else:
            return
    raise AssertionError(f"it never comes to rest: {life.vassal}")


def check_the_end(life):
    """Settled, the vassal is what the last wish says, and stays so."""
    wish = life.vassal
    settle(life)
    end = life.vassal
    if wish.gone:
        assert end is None
    elif wish.held:
        assert end.state is State.STOPPED
    elif wish.manifest.problem is not None:
        assert end.state in (State.BROKEN, State.RUNNING, State.PARKED)
    elif end.state is State.PARKED:
        assert end.sleepy
        settle(life.feed(states.Called()))
        assert life.state is State.RUNNING
    else:
        assert end.state is State.RUNNING
        assert end.active
        rolled_back = wish.state is State.RUNNING and wish.failure is not None
        if not rolled_back:
            assert end.serving.manifest == wish.manifest, "the newest manifest wins"
    if end is not None and end.serving is not None:
        spawned = life.spawned
        life.wait(10_000)
        assert life.spawned == spawned, "nobody asked for another reload"


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=60), st.booleans(), st.sampled_from((LIMITS, ON_DEMAND, ASKED)))
def test_any_history_keeps_the_rules_and_ends_where_the_last_wish_says(choices, problem, limits):
    chance = random.Random(len(choices))
    life = Life(manifest(1, "a FIFO") if problem else None, limits)
    for choice in choices:
        if life.vassal is None:
            return
        happen(life, choice, chance.random)
    if life.vassal is None:
        return
    check_the_end(life)
