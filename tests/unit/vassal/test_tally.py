"""The tally: views in, facts out."""

from vassal.scoreboard import WorkerView
from vassal.tally import Tally


def view(requests, exceptions=0):
    return WorkerView(1, 0.0, True, 0, 0, requests, exceptions, 0, 0, 0, 0.0, ())


def test_what_ended_workers_did_still_counts():
    tally = Tally(10.0, own=0)
    tally.ended(view(5, 1))
    news = tally.news([view(2, 1)], (7,), asleep=False)
    assert (news.requests, news.exceptions, news.workers, news.pids) == (7, 2, 1, (7,))


def test_no_news_is_not_told_unless_somebody_asks():
    tally = Tally(10.0, own=0)
    assert tally.news([view(1)], (7,), asleep=False) is not None
    assert tally.news([view(1)], (7,), asleep=False) is None
    assert tally.news([view(1)], (7,), asleep=False, always=True) is not None
    assert tally.news([view(1)], (7,), asleep=True).cheap


def test_loyal_by_a_request_or_by_time_and_once():
    tally = Tally(10.0, own=0)
    assert not tally.proves_loyal([view(0)], 9.9)
    assert tally.proves_loyal([view(0)], 10.0)
    assert not tally.proves_loyal([view(5)], 11.0)
    assert Tally(10.0, own=0).proves_loyal([view(1)], 0.1)


def test_the_ready_check_proves_nothing():
    tally = Tally(10.0, own=1)
    assert not tally.proves_loyal([view(1)], 0.1)
    tally.ended(view(1))
    assert tally.proves_loyal([view(1)], 0.1)
