"""The listener of the statistics in a loop like the master's: nobody who reads slowly, or not at all, is waited for."""

import errno
import selectors
import socket
import threading
import time

import pytest

from tests.harness import wait_until
from vassal import statsserver
from vassal.statsserver import PATIENCE, READERS, StatsServer

BODY = b'{"some":"facts"}'
LARGE = b"x" * (32 << 20)


class Master:
    """A loop with a clock that the test sets forward."""

    def __init__(self, body=BODY, *, http=False):
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(100)
        self.address = self.listener.getsockname()
        self.ahead = 0.0
        self.asked = 0
        self.body = body
        self.server = StatsServer(self.listener, self.selector, self.answer, http=http, clock=self.clock)
        self.server.open()

    def clock(self):
        return time.monotonic() + self.ahead

    def answer(self):
        self.asked += 1
        return self.body

    def turn(self, seconds=0.0):
        """One turn of the loop, as `vassal.master` makes it; True: something happened."""
        self.server.look(self.clock())
        ready = self.selector.select(seconds)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def settle(self):
        while self.turn(0.02):
            pass

    def connect(self):
        client = socket.create_connection(self.address)
        client.settimeout(5)
        return client

    def readers(self):
        return len(self.selector.get_map()) - (self.listener in self.selector.get_map())


@pytest.fixture
def make():
    made = []

    def master(*arguments, **named):
        made.append(Master(*arguments, **named))
        return made[-1]

    yield master
    for one in made:
        one.server.close()
        one.server.leave()
        one.listener.close()
        one.selector.close()


def test_a_client_gets_it_and_the_end(make):
    master = make()
    with master.connect() as client:
        master.settle()
        assert client.makefile("rb").read() == BODY
    master.settle()
    assert master.readers() == 0
    assert master.server.deadline() is None


def test_what_a_client_says_does_not_take_the_answer_back(make):
    master = make()
    with master.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
        master.settle()
        client.sendall(b"more")
        master.settle()
        assert client.makefile("rb").read() == BODY


def test_a_large_answer_to_a_client_that_reads(make):
    master = make(LARGE)
    got = []

    def read():
        with master.connect() as client:
            got.append(len(client.makefile("rb").read()))

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: master.turn(0.02) or got, 30, "the whole of it")
    while not got:
        master.turn(0.02)
    thread.join()
    assert got == [len(LARGE)]


def test_who_does_not_read_is_not_waited_for(make):
    master = make(LARGE)
    stuck = [master.connect() for _ in range(3)]
    master.settle()
    assert master.readers() == 3
    master.body = BODY
    master.ahead += 1.0  # what was told is old by now
    with master.connect() as client:
        master.settle()
        assert client.makefile("rb").read() == BODY
    assert master.server.deadline() <= master.clock() + PATIENCE
    master.ahead += PATIENCE
    master.settle()
    assert master.readers() == 0
    for client in stuck:
        client.close()


def test_a_client_that_leaves_in_the_middle(make):
    master = make(LARGE)
    master.connect().close()
    client = master.connect()
    master.settle()
    client.close()
    master.settle()
    assert master.readers() == 0


def test_no_more_readers_than_there_may_be_and_the_newest_is_served(make):
    master = make(LARGE)
    stuck = []
    for _ in range(READERS + 3):
        stuck.append(master.connect())
        master.settle()
    assert master.readers() == READERS
    master.body, master.ahead = BODY, 1.0
    with master.connect() as client:
        master.settle()
        assert client.makefile("rb").read() == BODY
    for one in stuck:
        one.close()


def test_many_who_ask_at_once_get_one_answer(make):
    master = make()
    clients = [master.connect() for _ in range(5)]
    master.settle()
    assert [client.makefile("rb").read() for client in clients] == [BODY] * 5
    assert master.asked <= 2
    for client in clients:
        client.close()


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /\n\n"])
def test_http_waits_for_the_request(make, request_):
    master = make(http=True)
    with master.connect() as client:
        master.settle()
        assert master.asked == 0
        client.sendall(request_[:6])
        master.settle()
        assert master.asked == 0
        client.sendall(request_[6:])
        master.settle()
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK\r\n")
        assert body == BODY


def test_http_head(make):
    master = make(http=True)
    with master.connect() as client:
        client.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        master.settle()
        assert client.makefile("rb").read().endswith(b"\r\n\r\n")


def test_http_that_never_asks_or_asks_too_much_is_ended(make):
    master = make(http=True)
    silent, noisy = master.connect(), master.connect()
    noisy.sendall(b"x" * 20000)
    master.settle()
    assert master.readers() == 1
    master.ahead = PATIENCE
    master.settle()
    assert master.readers() == 0
    assert silent.recv(10) == b""
    silent.close()
    noisy.close()


def test_a_mistake_in_the_facts_does_not_end_the_master(make, capfd):
    master = make()
    master.answer = None
    master.server._answer = lambda: 1 // 0
    with master.connect() as client:
        master.settle()
        assert client.makefile("rb").read() == b"{}"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_out_of_descriptors_it_pauses_and_comes_back(make, monkeypatch):
    master = make()
    real = master.listener

    class Short:
        def accept(self):
            raise OSError(errno.EMFILE, "Too many open files")

        def __getattr__(self, name):
            return getattr(real, name)

    with master.connect() as client:
        monkeypatch.setattr(master.server, "_listener", Short())
        master.selector.modify(real, selectors.EVENT_READ, master.server._called)
        assert master.turn(1)
        assert not master.turn(0.05)  # the listener is readable, and nobody spins
        assert master.server.deadline() is not None
        monkeypatch.setattr(master.server, "_listener", real)
        master.ahead = statsserver.AGAIN
        master.settle()
        assert client.makefile("rb").read() == BODY


def test_after_close_nobody_is_accepted_and_who_is_there_is_answered(make):
    master = make(LARGE)
    with master.connect() as client:
        master.turn(1)
        master.server.close()
        got = bytearray()
        client.setblocking(False)
        deadline = time.monotonic() + 30
        while len(got) < len(LARGE):
            assert time.monotonic() < deadline
            master.turn(0.001)
            try:
                got += client.recv(1 << 20)
            except BlockingIOError:
                continue
    with master.connect() as late:
        master.settle()
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.recv(1)
