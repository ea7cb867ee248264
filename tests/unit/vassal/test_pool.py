"""The pool: events in, actions out; no process, no clock."""

from hypothesis import given
from hypothesis import strategies as st

from vassal.pool import CALM, LONGEST_WAIT, Admit, Chain, Cheaper, Dismiss, Kill, Phase, Pool, Start


def up(wanted: int = 2) -> Pool:
    pool = Pool(wanted, 60)
    for action in pool.decide(0.0):
        assert isinstance(action, Start)
        pool.loaded(action.slot, 0.0)
    return pool


def test_starts_what_is_wanted():
    assert [action.number for action in Pool(3, 60).decide(0.0)] == [1, 2, 3]


def test_a_loaded_worker_is_admitted():
    pool = Pool(1, 60)
    (start,) = pool.decide(0.0)
    assert pool.loaded(start.slot, 1.0) == [Admit(start.slot)]


def test_a_worker_that_dies_after_a_while_is_replaced_at_once():
    pool = up()
    pool.gone(1, 100.0)
    assert [action.number for action in pool.decide(100.0)] == [1]


def test_a_worker_that_dies_at_once_waits_longer_each_time():
    pool = up(1)
    now = 0.0
    waits = []
    for _ in range(10):
        slot = next(iter(pool.workers))
        pool.gone(slot, now)
        assert pool.decide(now) == []
        deadline = pool.deadline()
        waits.append(deadline - now)
        now = deadline
        (start,) = pool.decide(now)
        pool.loaded(start.slot, now)
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(waits) == LONGEST_WAIT


def test_a_worker_that_asks_is_replaced_before_it_leaves_and_one_at_a_time():
    pool = up(2)
    pool.asked(1)
    pool.asked(2)
    (start,) = pool.decide(5.0)
    assert pool.decide(5.0) == []
    assert len(pool.serving) == 2
    admit, dismiss = pool.loaded(start.slot, 6.0)
    assert (admit, dismiss) == (Admit(start.slot), Dismiss(1, 60))
    (other,) = pool.decide(6.0)
    assert other.number == 2


def test_a_replacement_that_fails_costs_only_itself():
    pool = up(1)
    pool.asked(1)
    (start,) = pool.decide(5.0)
    pool.gone(start.slot, 6.0)
    assert pool.workers[1].phase is Phase.SERVING
    assert pool.decide(6.0) == []
    assert pool.deadline() is not None
    (again,) = pool.decide(pool.deadline())
    assert again.number == 1


def test_a_moment_that_has_passed_wakes_nobody_while_another_starts():
    pool = up()
    pool.asked(1)
    (start,) = pool.decide(100.0)
    pool.gone(start.slot, 100.0)  # the replacement of 1 has died at once
    pool.gone(2, 100.5)
    (again,) = pool.decide(100.5)
    assert again.number == 2
    assert pool.decide(200.0) == []  # one at a time, and 2 still starts
    assert pool.deadline() is None
    pool.loaded(again.slot, 200.0)
    assert pool.deadline() == 101.0
    assert [action.number for action in pool.decide(200.0)] == [1]
    assert pool.deadline() is None


def test_a_moment_that_has_passed_wakes_nobody_while_the_board_is_full():
    pool = Pool(1, 60)
    now = 0.0
    while len(pool.workers) < pool.slots:
        (start,) = pool.decide(now)
        pool.loaded(start.slot, now)
        pool.asked(start.slot)
        now += 1
    (serving,) = pool.serving
    pool.gone(serving.slot, now - 1)  # at once
    (start,) = pool.decide(now + 10)
    assert start.number == 1
    leaving = pool.deadline()
    assert leaving is not None
    assert leaving > now


def test_who_does_not_leave_is_killed_once():
    pool = up(1)
    assert pool.close(10, 0.0) == [Dismiss(1, 10)]
    assert pool.decide(9.9) == []
    assert pool.deadline() == 10.0
    assert pool.decide(10.0) == [Kill(1)]
    assert pool.decide(11.0) == []


def test_closing_starts_nothing_and_a_shorter_mercy_wins():
    pool = up(2)
    pool.close(60, 0.0)
    pool.close(5, 1.0)
    assert pool.deadline() == 6.0
    pool.gone(1, 2.0)
    assert pool.decide(2.0) == []


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["gone", "asked", "loaded", "tick"]), st.integers(0, 8)), max_size=60),
)
def test_never_more_than_the_board_holds_and_never_two_starting_for_one_number(wanted, history):
    pool = Pool(wanted, 60)
    now = 0.0
    for kind, pick in history:
        now += 1.0
        slots = sorted(pool.workers)
        if kind == "tick" or not slots:
            pool.decide(now)
        elif kind == "gone":
            pool.gone(slots[pick % len(slots)], now)
        elif kind == "asked":
            pool.asked(slots[pick % len(slots)])
        else:
            pool.loaded(slots[pick % len(slots)], now)
        assert len(pool.workers) <= pool.slots
        starting = [worker.number for worker in pool.workers.values() if worker.phase is Phase.STARTING]
        assert len(starting) == len(set(starting))
        serving = [worker.number for worker in pool.serving]
        assert len(serving) == len(set(serving))
        if len(serving) + len(starting) < wanted:
            # Somebody is missing: then the pool has something to do, now or at a deadline.
            assert any(isinstance(action, Start) for action in pool.decide(now)) or pool.deadline() is not None


def test_no_deadline_for_what_cannot_be_done_yet():
    pool = up(2)
    pool.asked(1)
    (start,) = pool.decide(5.0)
    pool.gone(start.slot, 5.5)
    pool.gone(2, 5.6)
    (other,) = pool.decide(5.6)  # worker 2 starts again, and takes its time
    assert other.number == 2
    now = 60.0
    assert pool.decide(now) == []
    assert pool.deadline() is None or pool.deadline() > now


def test_a_worker_that_still_loads_is_killed_when_the_pool_closes():
    pool = Pool(1, 60)
    pool.decide(0.0)
    assert pool.close(60, 1.0) == [Kill(1)]


# --- fewer, more, none -------------------------------------------------------------------------------------------


def test_a_cheap_pool_shows_with_one_that_it_can_serve_and_sleeps():
    pool = Pool(3, 60, cheap=True)
    (start,) = pool.decide(0.0)
    pool.loaded(start.slot, 1.0)
    assert pool.sleep(1.0) == [Dismiss(start.slot, 60)]
    assert pool.asleep
    assert pool.decide(2.0) == []
    pool.wake()
    assert [action.number for action in pool.decide(3.0)] == [1, 2, 3], "whoever leaves is no hindrance"


def test_a_worker_that_was_started_before_the_sleep_goes_when_it_is_loaded():
    pool = up(1)
    pool.asked(1)
    (start,) = pool.decide(1.0)
    pool.sleep(1.0)
    assert pool.loaded(start.slot, 2.0) == [Admit(start.slot), Dismiss(start.slot, 60)]


def test_cheaper_grows_when_all_are_busy_and_shrinks_after_a_while():
    pool = Pool(4, 60, cheaper=Cheaper(least=1, initial=2, step=2))
    for action in pool.decide(0.0):
        pool.loaded(action.slot, 0.0)
    assert len(pool.serving) == 2
    assert pool.judge(1, 1.0) == []
    pool.judge(2, 2.0)
    assert pool.judge(2, 3.0) == [], "the new ones have to come first"
    for action in pool.decide(3.0):
        pool.loaded(action.slot, 3.0)
    assert len(pool.serving) == 4
    gone = [action for _ in range(30) for action in pool.judge(0, 4.0)]
    assert [type(action) for action in gone] == [Dismiss] * 3
    assert pool.wanted == 1


def test_one_quiet_look_is_not_enough_to_send_a_worker_away():
    pool = Pool(2, 60, cheaper=Cheaper(least=1, initial=2))
    for action in pool.decide(0.0):
        pool.loaded(action.slot, 0.0)
    for _ in range(5):
        for _ in range(CALM - 1):
            assert pool.judge(0, 1.0) == []
        assert pool.judge(1, 1.0) == []
    for _ in range(5):
        for _ in range(CALM - 1):
            assert pool.judge(0, 1.0) == []
        assert pool.judge(0, 1.0, last_works=True) == [], "a slow download needs no thread"
    assert pool.wanted == 2


def test_as_many_cheaper_as_processes_is_no_cheaper():
    assert Pool(2, 60, cheaper=Cheaper(least=2)).cheaper is None


# --- the code has changed ----------------------------------------------------------------------------------------


def test_a_chain_replaces_one_after_the_other():
    pool = up(3)
    pool.chain()
    replaced = 0
    while pool.chain_ended is None:
        (start,) = pool.decide(5.0)
        assert pool.decide(5.0) == []
        assert len(pool.serving) == 3
        admit, dismiss = pool.loaded(start.slot, 6.0)
        assert isinstance(admit, Admit)
        assert isinstance(dismiss, Dismiss)
        pool.gone(dismiss.slot, 6.0)
        replaced += 1
    assert (replaced, pool.chain_ended) == (3, Chain(broken=False))
    assert pool.decide(7.0) == []


def test_the_first_failure_breaks_a_chain_and_the_rest_stays():
    pool = up(3)
    pool.chain()
    (start,) = pool.decide(5.0)
    pool.gone(start.slot, 6.0)
    assert pool.chain_ended == Chain(broken=True)
    assert len(pool.serving) == 3
    assert pool.decide(1000.0) == []


def test_a_replacement_that_hangs_is_killed():
    pool = Pool(1, 60, start_timeout=7)
    (start,) = pool.decide(0.0)
    pool.loaded(start.slot, 0.0)
    pool.chain()
    (new,) = pool.decide(1.0)
    assert pool.deadline() == 8.0
    assert pool.decide(8.0) == [Kill(new.slot)]


def test_a_chain_without_workers_is_over_at_once():
    pool = up(1)
    pool.sleep(1.0)
    pool.chain()
    assert pool.chain_ended == Chain(broken=False)


def test_a_broken_chain_leaves_the_workers_with_old_code_where_they_are():
    pool = up(3)
    pool.cheaper = Cheaper(1)
    pool.chain()
    (start,) = pool.decide(1.0)
    pool.gone(start.slot, 2.0)
    assert pool.chain_ended == Chain(broken=True)
    for moment in range(3, 20):
        assert pool.judge(0, float(moment)) == [], "one that goes would come back with the code that failed"


def test_a_mended_chain_waits_for_nothing():
    pool = up(1)
    now = 1.0
    for _ in range(4):
        pool.chain()
        (start,) = pool.decide(now)
        pool.gone(start.slot, now)
        now += 0.1
    pool.chain()
    assert [action.number for action in pool.decide(now)] == [1]


def test_a_stuck_worker_is_replaced_whatever_failed():
    pool = up(2)
    pool.keep = True
    pool.asked(1)
    pool.asked(1, stuck=True)
    assert [action.number for action in pool.decide(5.0)] == [1]


def test_kept_workers_are_replaced_when_they_die_and_in_a_chain_and_else_not():
    pool = up(2)
    pool.keep = True
    pool.asked(1)
    assert pool.decide(5.0) == []
    pool.gone(2, 100.0)
    assert [action.number for action in pool.decide(100.0)] == [2]
    pool.loaded(2, 101.0)
    pool.chain()
    while pool.chain_ended is None:
        (start,) = pool.decide(102.0)
        pool.loaded(start.slot, 103.0)
    assert not pool.keep
