"""Who leads sends what was kept before it waits for anything."""

from vassal import scoreboard
from vassal.heads import Stamp
from vassal.loop import Limits, Loop
from vassal.scoreboard import Scoreboard


class Client:
    """As much of a connection as the outbox needs."""

    def __init__(self, sends):
        self.sock = self
        self.buffer, self.body, self.entry, self.watched, self.request = b"", None, None, 1, object()
        self.sends = sends
        self.got = b""
        self.ended = None

    def send(self, data, _flags):
        sent = self.sends(data)
        self.got += data[:sent]
        return sent

    def finish(self, _me, *, keep, linger):
        self.ended = keep, linger

    def send_later(self, _me, out, *, keep, linger):
        self.ended = "later", keep, linger
        out.close()

    def close(self):
        self.ended = "closed"


def a_loop():
    board = Scoreboard(1, 1)
    loop = Loop(Limits(), Stamp(), 1, lambda thread: board.row(1, thread))
    loop.crew.main.now = 100.0
    return loop, loop.crew.main


def gone(_data):
    raise ConnectionResetError


def wrong(_data):
    raise RuntimeError("a mistake of ours")


def test_a_new_leader_sends_before_it_polls():
    loop, me = a_loop()
    client = Client(len)
    loop.outbox.put(client, b"answer", me, keep=True, linger=True)

    class Poll:
        def poll(self, _timeout, _most):
            assert client.got == b"answer"
            loop.crew.stopping = True
            return []

    loop.epoll = Poll()
    loop.lead(me)
    assert loop.crew.stopping


def test_what_waits_is_sent_when_the_first_has_waited_long_enough():
    loop, me = a_loop()
    clients = [Client(len) for _ in range(3)]
    for client, now in zip(clients, (100.0, 100.0004, 100.0006), strict=True):
        me.now = now
        loop.outbox.put(client, b"answer", me, keep=True, linger=True)
        assert client.request is None
        assert client.got == (b"answer" if now == 100.0006 else b"")
    assert [client.got for client in clients] == [b"answer"] * 3
    assert loop.outbox.kept == []


def test_each_ends_as_it_must_whatever_happens_to_the_others(capfd):
    loop, me = a_loop()
    good, closing, slow, left, broken, last = clients = [
        Client(len), Client(len), Client(lambda _data: 2), Client(gone), Client(wrong), Client(len),
    ]  # fmt: skip
    for client in clients:
        loop.outbox.put(client, b"answer", me, keep=client is not closing, linger=client is closing)
    loop.outbox.send(me)
    assert (good.got, good.ended) == (b"answer", None)
    assert (closing.got, closing.ended) == (b"answer", (False, True))
    assert (slow.got, slow.ended) == (b"an", ("later", True, False))
    assert left.ended == broken.ended == "closed"
    assert last.got == b"answer"
    assert me.tx == 3 * len(b"answer") + 2
    assert "a mistake of ours" in capfd.readouterr().err
    assert me.counts[scoreboard.TX] == 0  # it is published with the rest of the turn
