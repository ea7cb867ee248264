"""A wall clock that jumps: it is noticed, whoever waits for a moment of it counts anew, and nothing else happens."""

import pytest

from emperor import clock, states
from emperor.states import State
from tests.unit.emperor.life import parked, running


class Loop:
    """A loop whose time goes on when the test says so."""

    def __init__(self):
        self.now = 100.0
        self.later = []

    def time(self):
        return self.now

    def call_later(self, seconds, act):
        self.later.append((self.now + seconds, act))

    def go_on(self, seconds):
        self.now += seconds
        due = [act for at, act in self.later if at <= self.now]
        self.later = [(at, act) for at, act in self.later if at > self.now]
        for act in due:
            act()


@pytest.fixture
def watched():
    loop, jumps, wall = Loop(), [], {"ahead": 1_000_000.0}
    clock.Clock(loop, jumps.append, lambda: loop.now + wall["ahead"]).watch()
    return loop, jumps, wall


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1.7e9])
def test_each_jump_is_told_once(watched, jump):
    loop, jumps, wall = watched
    loop.go_on(clock.EVERY)
    assert jumps == []
    wall["ahead"] += jump
    for _ in range(3):
        loop.go_on(clock.EVERY)
    assert jumps == [jump]
    assert len(loop.later) == 1, "one timer, whatever happens"


def test_what_is_slewed_is_no_jump(watched):
    loop, jumps, wall = watched
    for _ in range(100):
        wall["ahead"] += 0.01  # NTP slews by half a millisecond a second at most
        loop.go_on(clock.EVERY)
    assert jumps == []


def test_a_parked_vassal_runs_its_jobs_at_the_new_moment():
    life = parked(wake=7200.0).feed(states.Rescheduled(10.0))
    life.wait(9)
    assert not life.queued
    life.wait(2)
    assert life.queued
    assert life.feed(states.Slot()).did(states.Spawn)[0].purpose is states.Purpose.JOBS


def test_a_clock_that_is_set_back_puts_the_wake_off():
    life = parked(wake=10.0).feed(states.Rescheduled(7200.0))
    life.wait(100)
    assert not life.queued


@pytest.mark.parametrize("make", [parked, running])
def test_who_waits_for_no_moment_does_not_notice(make):
    life = make()
    before = life.vassal
    assert life.feed(states.Rescheduled(10.0)).vassal == before
    assert life.state in (State.PARKED, State.RUNNING)
