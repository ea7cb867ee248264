import os

import pytest

from vassal import scoreboard
from vassal.crew import Member
from vassal.scoreboard import Busy, Scoreboard


def test_a_child_writes_and_the_parent_reads():
    board = Scoreboard(2, 3)
    pid = os.fork()
    if pid == 0:
        for thread in range(4):  # the last is the spare
            row = board.row(2, thread)
            row.counts[scoreboard.REQUESTS] = thread + 1
            row.counts[scoreboard.TX] = 2**40
            row.times[scoreboard.LAST] = float(thread)
        board.row(2, 1).times[scoreboard.SINCE] = 12.5
        board.row(2, None).counts[scoreboard.ACCEPTING] = 1
        board.row(2, None).counts[scoreboard.PID] = os.getpid()
        os._exit(0)
    os.waitpid(pid, 0)
    view = board.worker(2)
    assert (view.requests, view.tx, view.last_request) == (10, 4 * 2**40, 3.0)
    assert view.busy == (Busy(1, 12.5),)
    assert view.accepting
    assert view.pid == pid
    assert board.worker(1).requests == 0
    board.reset(2)
    assert board.worker(2).requests == 0
    assert not board.worker(2).busy


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_an_empty_scoreboard_is_an_error(workers, threads):
    with pytest.raises(ValueError, match="scoreboard"):
        Scoreboard(workers, threads)


def test_there_is_nothing_beyond_its_edges():
    board = Scoreboard(2, 2)
    for number in (0, 3, -1):
        with pytest.raises(IndexError):
            board.worker(number)
    for thread in (-2, 3):
        with pytest.raises(IndexError):
            board.row(1, thread)


def test_a_thread_that_only_polls_has_no_last_request():
    """The master lets a worker go idle by this: polling must not look like work."""
    board = Scoreboard(1, 1)
    member = Member(0, board.row(1, 0))
    member.now = 77.0
    member.publish()
    assert board.worker(1).last_request == 0.0
    member.last = member.now
    member.requests = 1
    member.publish()
    assert board.worker(1).last_request == 77.0
    assert board.worker(1).requests == 1
