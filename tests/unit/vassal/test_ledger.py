"""The accounts of the workers: a number goes on where its process is replaced."""

import pytest

from vassal.ledger import Account, Ledger
from vassal.scoreboard import WorkerView


def view(requests, running=0, *, started=1.0, exceptions=0, harakiri=0, tx=0):
    return WorkerView(1, started, True, 0, 0, requests, exceptions, tx, running, harakiri, 0.0, ())


def test_a_number_that_nobody_has_borne():
    assert Ledger().total(1, []) == Account()


def test_counts_go_on_when_a_process_is_replaced():
    ledger = Ledger()
    ledger.ended(1, view(5, 500, started=10.0, exceptions=1, harakiri=1, tx=50))
    sums = ledger.total(1, [view(2, 100, started=20.0, tx=5)])
    assert (sums.requests, sums.running_us, sums.exceptions, sums.harakiri, sums.tx) == (7, 600, 1, 1, 55)
    assert (sums.spawns, sums.started) == (2, 20.0)
    assert ledger.total(2, []).requests == 0


def test_two_processes_that_bear_one_number_are_one_worker():
    sums = Ledger().total(1, [view(2, started=5.0), view(7, started=3.0)])
    assert (sums.requests, sums.spawns, sums.started) == (9, 2, 5.0)


def test_looking_changes_no_count():
    ledger = Ledger()
    for _ in range(3):
        assert ledger.total(1, [view(2, 100)]).requests == 2


def test_a_request_that_the_master_ended():
    ledger = Ledger()
    ledger.struck(1)
    ledger.ended(1, view(1, harakiri=1))
    assert ledger.total(1, []).harakiri == 2


@pytest.mark.parametrize("times", [[100, 300, 200], [5], [7, 7, 7, 1000]])
def test_the_mean_time_is_that_of_uwsgi_where_each_request_is_seen(times):
    ledger = Ledger()
    expected = float(times[0])
    for count, took in enumerate(times, 1):
        expected = (expected + took) / 2
        sums = ledger.total(1, [view(count, sum(times[:count]))])
    assert sums.average_us == pytest.approx(expected)


def test_many_requests_between_two_looks_move_the_mean_to_theirs():
    ledger = Ledger()
    ledger.total(1, [view(1, 1_000_000)])
    assert ledger.total(1, [view(1001, 1_000_000 + 1000 * 50)]).average_us == pytest.approx(50)


def test_without_a_request_the_mean_stays():
    ledger = Ledger()
    first = ledger.total(1, [view(4, 400)]).average_us
    assert ledger.total(1, [view(4, 400)]).average_us == first == 100
    ledger.ended(1, view(4, 400))
    assert ledger.total(1, []).average_us == 100
