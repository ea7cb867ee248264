"""How many clients may be waited for by threads of the app at once (`vassal.awaited`). Stand-ins, no processes."""

import threading
from types import SimpleNamespace

import pytest

from vassal import awaited


class Peer:
    """A socket that keeps what it is given to send."""

    def __init__(self):
        self.told = b""

    def send(self, data, _flags):
        self.told += data
        return len(data)


@pytest.fixture
def connect():
    """Makes connections of one worker with two threads."""
    crew = SimpleNamespace(awaiting=set(), threads=2, lock=threading.Lock())
    loop = SimpleNamespace(
        crew=crew,
        gateway=SimpleNamespace(let_go=lambda _conn: None),
        limits=SimpleNamespace(http_timeout=1.0, limit_post=0),
    )
    return lambda: SimpleNamespace(loop=loop, sock=Peer(), sent=False)


def test_a_second_client_is_told_to_send_at_once_while_a_thread_may_wait_for_the_first(connect):
    first, second = connect(), connect()
    assert awaited.open_for(first, None) is not None
    assert awaited.open_for(second, None) is None
    assert (first.sock.told, second.sock.told) == (b"", awaited.CONTINUE)


def test_whose_response_has_begun_is_waited_for_by_nobody(connect):
    first, second = connect(), connect()
    awaited.open_for(first, None)
    first.sent = True  # its client may have read the response, and be back, before the thread has put everything away
    assert awaited.open_for(second, None) is not None
    assert second.sock.told == b""


def test_whose_body_has_come_is_waited_for_no_longer(connect):
    first, second = connect(), connect()
    awaited.open_for(first, None).complete()
    assert awaited.open_for(second, None) is not None


def test_whose_response_is_complete_takes_no_place(connect):
    conn = connect()
    awaited.open_for(conn, None).abandon()
    assert conn.loop.crew.awaiting == set()
