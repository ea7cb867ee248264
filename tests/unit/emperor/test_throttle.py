"""Pace and backoff: places are always given back, order is kept, waits stay in their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor import throttle
from emperor.throttle import PATIENCE, Pace, backoff

DICE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 1), (1, 1), (2, 2), (3, 4), (8, 128), (9, 180), (10, 180), (10**9, 180)]
)
def test_a_wait_doubles_up_to_the_longest(failures, seconds):
    assert backoff(failures, 1000, 180_000, 0.0) == seconds


@given(st.integers(0, 10**6), st.integers(0, 10**7), st.integers(0, 10**7), DICE)
def test_a_wait_keeps_its_bounds(failures, base, longest, dice):
    wait = backoff(failures, base, longest, dice)
    plain = backoff(failures, base, longest, 0.0)
    assert throttle.SHORTEST <= wait <= max(longest / 1000, throttle.SHORTEST)
    assert plain * (1 - throttle.JITTER) <= wait <= plain


def test_dice_spread_the_longest_wait_too():
    assert backoff(50, 1000, 180_000, 0.99) < backoff(50, 1000, 180_000, 0.0)


def test_two_for_each_core_in_the_order_of_their_requests():
    pace = Pace(2)
    for name in "abcdef":
        pace.request(name)
    assert pace.due(0.0) == ["a", "b", "c", "d"]
    assert pace.due(0.0) == []
    pace.finished("c")
    assert pace.due(0.0) == ["e"]


def test_asking_again_keeps_the_position():
    pace = Pace(1)
    for name in "abcda":
        pace.request(name)
    assert pace.due(0.0) == ["a", "b"]
    assert pace.next(0.0) == PATIENCE


def test_a_long_start_gives_its_place_away():
    pace = Pace(1)
    for name in "abc":
        pace.request(name)
    assert pace.due(10.0) == ["a", "b"]
    assert pace.next(11.0) == 10.0 + PATIENCE
    assert pace.due(14.9) == []
    assert pace.due(15.0) == ["c"]


def test_a_start_counts_from_when_it_began():
    pace = Pace(1)
    for name in "abc":
        pace.request(name)
    pace.due(0.0)
    pace.started("a", 3.0)
    pace.started("b", 2.0)
    assert pace.next(3.0) == 2.0 + PATIENCE
    assert pace.due(6.9) == []
    assert pace.due(7.0) == ["c"]


def test_starts_outside_the_queue_count_too():
    pace = Pace(1)
    for number, name in enumerate("xyz"):
        pace.started(name, float(number))
    pace.request("a")
    assert pace.next(2.0) == 1.0 + PATIENCE
    assert pace.due(0.5 + PATIENCE) == []
    assert pace.due(1.0 + PATIENCE) == ["a"]


def test_cancelled_is_forgotten_in_the_queue_and_among_the_starts():
    pace = Pace(1)
    for name in "abcd":
        pace.request(name)
    pace.due(0.0)
    pace.cancel("c", 0.0)
    pace.cancel("a", 0.0)
    pace.cancel("nobody", 0.0)
    assert pace.due(0.0) == ["d"]


def test_finished_does_not_withdraw_a_new_request():
    pace = Pace(1)
    pace.request("a")
    pace.due(0.0)
    pace.request("a")
    pace.finished("a")
    assert pace.due(0.0) == ["a"]


def test_nobody_waits_no_deadline():
    pace = Pace(1)
    assert pace.next(0.0) is None
    pace.request("a")
    assert pace.next(7.0) == 7.0
    pace.due(7.0)
    assert pace.next(7.0) is None


CALLS = st.lists(
    st.tuples(st.sampled_from(["request", "cancel", "started", "finished", "wait"]), st.sampled_from("abcdefgh")),
    max_size=60,
)


def without(waiting, granted):
    """Who still waits. Whoever was granted a place has waited, and nobody twice."""
    assert len(set(granted)) == len(granted)
    assert set(granted) <= set(waiting)
    return [name for name in waiting if name not in granted]


@given(CALLS)
def test_whoever_waits_gets_a_place_by_the_time_that_next_says(calls):
    pace = Pace(1)
    now = 0.0
    waiting = []
    for call, name in calls:
        if call == "request":
            pace.request(name)
            if name not in waiting:
                waiting.append(name)
        elif call == "cancel":
            pace.cancel(name, now)
            waiting = [one for one in waiting if one != name]
        elif call == "started":
            pace.started(name, now)
        elif call == "finished":
            pace.finished(name)
        else:
            now += 0.7
            granted = pace.due(now)
            assert len(granted) <= pace.places
            waiting = without(waiting, granted)
    while waiting:
        wake = pace.next(now)
        assert now <= wake <= now + PATIENCE
        now = wake
        granted = pace.due(now)
        assert granted
        waiting = without(waiting, granted)
    assert pace.next(now) is None


def test_those_that_nobody_waits_for_start_last_and_one_at_a_time():
    pace = Pace(2)
    for name in ("a", "b", "c"):
        pace.request(name, last=True)
    pace.request("called")
    assert pace.due(0.0) == ["called"]
    assert pace.due(0.0) == []
    pace.finished("called")
    assert pace.due(1.0) == ["a"]
    assert pace.due(1.0) == []
    assert pace.next(1.0) == 1.0 + PATIENCE
    pace.request("called")
    assert pace.due(1.0) == ["called"]
    pace.cancel("b", 1.0)
    pace.finished("called")
    pace.finished("a")
    assert pace.next(2.0) == 2.0
    assert pace.due(2.0) == ["c"]


def slow(pace, names):
    """Let all of these have started slowly, and hold no place any more; returns the time."""
    now = 0.0
    for name in names:
        pace.started(name, now)
        now += PATIENCE
        pace.cancel(name, now)
    return now


def test_who_is_slow_leaves_a_place_to_others():
    pace = Pace(2)
    now = slow(pace, "abcdef")
    for name in "abcdef":
        pace.request(name)
    assert pace.due(now) == ["a", "b", "c"], "all places but one"
    assert pace.next(now) == now + PATIENCE
    pace.request("quick")
    assert pace.next(now) == now
    assert pace.due(now) == ["quick"]
    pace.cancel("quick", now)
    assert pace.due(now) == []
    assert pace.due(now + PATIENCE) == ["d", "e", "f"], "they wait for their own kind only"


def test_who_was_slow_once_is_not_for_ever():
    pace = Pace(1)
    now = slow(pace, "ab")
    pace.request("a")
    assert pace.due(now) == ["a"]
    pace.cancel("a", now + 1)
    for name in ("b", "a"):
        pace.request(name)
    assert pace.due(now + 1) == ["a", "b"], "who is quick comes first"
    pace.forget("b")
    pace.request("b")
    assert pace.due(now + 1) == ["b"]


def test_who_took_too_long_is_slow_though_nobody_waited():
    """Places are taken back only where somebody asks for one."""
    pace = Pace(1)
    pace.started("a", 0.0)
    pace.cancel("a", 60.0)
    pace.started("b", 61.0)
    pace.cancel("b", 99.0)
    for name in "ab":
        pace.request(name)
    assert pace.due(99.0) == ["a"]
