"""Idleness: counters and time in, a verdict out."""

from vassal.idle import Idle


def test_nothing_for_long_enough_is_idle():
    idle = Idle(10)
    idle.begin(0.0)
    assert not idle.look((0,), 1.0, busy=False)
    assert not idle.look((0,), 10.9, busy=False)
    assert idle.look((0,), 11.0, busy=False)


def test_a_request_and_one_that_takes_long_are_no_idleness():
    idle = Idle(10)
    idle.begin(0.0)
    assert not idle.look((1,), 9.0, busy=False)
    assert not idle.look((2,), 18.0, busy=False)
    assert not idle.look((2,), 100.0, busy=True)
    assert not idle.look((2,), 109.0, busy=False)
    assert idle.look((2,), 110.0, busy=False)


def test_without_a_limit_it_never_is():
    idle = Idle(0)
    idle.begin(0.0)
    assert not idle.look((), 1e9, busy=False)


def test_how_long_it_takes_to_be_idle():
    idle = Idle(10)
    idle.begin(5.0)
    assert idle.left(6.0) == 9.0
    assert idle.left(99.0) == 0.0
    assert Idle(0).left(99.0) == float("inf")
