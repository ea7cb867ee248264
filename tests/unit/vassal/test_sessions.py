"""Who is left of a dead master, from facts alone."""

from vassal.sessions import Process, left_over

FORK_SERVER, MASTER, OTHER = 10, 20, 30


def process(pid, *, session, group=None, parent=FORK_SERVER, start=1, state="S"):
    return Process(pid, state, parent, session if group is None else group, session, start)


def left(*processes, spared=()):
    workers, others = left_over(processes, MASTER, FORK_SERVER, {MASTER, OTHER}, spared)
    return [p.pid for p in workers], [p.pid for p in others]


def test_workers_and_others():
    worker = process(21, session=MASTER, group=MASTER)
    daemon = process(22, session=MASTER, group=22)
    escaped = process(23, session=23)
    assert left(worker, daemon, escaped) == ([21], [22, 23])


def test_smart_daemons_are_spared_with_their_sessions():
    smart = process(40, session=40, start=7)
    its_child = process(41, session=40)
    assert left(smart, its_child, spared={(40, 7)}) == ([], [])


def test_a_pid_that_was_recycled_is_not():
    assert left(process(40, session=40, start=8), spared={(40, 7)}) == ([], [40])


def test_nobody_is_spared_in_a_masters_session():
    assert left(process(22, session=MASTER, group=22, start=7), spared={(22, 7)}) == ([], [22])
    claims_to_be = process(31, session=OTHER, group=31, start=7)
    stranger = process(32, session=OTHER, group=32)
    assert left(claims_to_be, stranger, spared={(31, 7)}) == ([], [])
    assert left(process(24, session=24), claims_to_be, spared={(31, 7)}) == ([], [24])
