"""Between two looks of the leader an app thread may give a connection back: what was true of it is true no more."""

import socket
import threading

import pytest

from tests.unit.worker.test_outbox import a_loop
from vassal.client import BODY, EPOLLIN, IDLE, RUNNING, SENDING
from vassal.connection import Connection
from vassal.harakiri import Harakiri
from vassal.loop import FRESH, Port
from vassal.net import Listener


@pytest.fixture
def loop_and_me():
    loop, me = a_loop()
    loop.grace_ends = 1e9
    yield loop, me
    for conn in tuple(loop.conns.values()):
        conn.close()


def connected(loop, state):
    """A connection in `state`, and its client."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    port = Port(Listener(ours, "http", "test"), {}, lambda _data, _talk: None, lambda _conn, _address: None)
    conn = loop.conns[ours.fileno()] = Connection(loop, port, ours, ours.fileno())
    conn.state = state
    theirs.settimeout(5)
    return conn, theirs


@pytest.mark.parametrize("state", [IDLE, SENDING])
def test_a_deadline_that_was_renewed_meanwhile_has_not_passed(loop_and_me, state):
    loop, me = loop_and_me
    conn, theirs = connected(loop, state)
    with theirs:
        conn.deadline = 200.0  # the leader has seen an older one
        conn.expire(100.0, me)
        assert conn.state == state
        conn.expire(200.0, me)
        assert theirs.recv(1) == b""


def test_a_client_whose_body_was_asked_for_meanwhile_keeps_its_deadline(loop_and_me):
    loop, _me = loop_and_me
    conn, theirs = connected(loop, BODY)
    with theirs:
        conn.deadline = 160.0
        conn._expire_stream(100.0)
        assert conn.deadline == 160.0
        conn.state = RUNNING
        conn._expire_stream(100.0)
        assert conn.deadline == float("inf")


def test_who_was_answered_just_now_is_not_idle_when_descriptors_run_out(loop_and_me):
    loop, me = loop_and_me
    keep = loop.limits.keep_alive
    fresh, theirs = connected(loop, IDLE)
    old, other = connected(loop, IDLE)
    with theirs, other:
        fresh.deadline = me.now + keep - FRESH / 2
        old.deadline = me.now + keep - 2 * FRESH
        loop._starve(OSError(24, "Too many open files"), me)
        assert other.recv(1) == b""
        assert loop.conns[fresh.fd] is fresh


def test_who_is_answered_while_the_worker_retires_gets_the_grace_only(loop_and_me):
    loop, me = loop_and_me
    loop.on_done = lambda _in_time: None
    conn, theirs = connected(loop, RUNNING)
    with theirs:
        loop.retire(me.now, 60.0)
        conn.deadline = me.now + loop.limits.keep_alive  # an app thread that did not know yet
        conn.state = IDLE
        conn.watch(EPOLLIN)
        loop._timers(me.now, me)
        assert conn.deadline == loop.grace_ends < me.now + 60


def test_nothing_is_read_while_requests_wait(loop_and_me):
    """Else a client that pipelines more than we answer fills our memory, and its end closes before it is answered."""
    loop, me = loop_and_me
    conn, theirs = connected(loop, IDLE)
    with theirs:
        theirs.sendall(b"more")
        theirs.shutdown(socket.SHUT_WR)
        conn.buffer = b"GET / HTTP/1.1\r\n"
        conn.turn(me)
        assert (conn.buffer, conn.state) == (b"GET / HTTP/1.1\r\n", IDLE)
        conn.resume(me)  # its turn: it is no whole request yet
        conn.turn(me)
        assert conn.buffer == b"GET / HTTP/1.1\r\nmore"


def test_without_threads_the_lead_stays(loop_and_me, monkeypatch, capfd):
    """Where limit-as or a container allows none, requests are answered all the same."""
    loop, me = loop_and_me
    conn, theirs = connected(loop, RUNNING)

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with theirs:
        for threads in (1, 2):
            loop.crew.threads = threads
            me.claim.append(conn)
            assert loop.crew.take_lead(me)
            loop.crew.pass_lead(conn)
            assert loop.crew.leader is me
            assert loop.crew.members == [me]
    assert capfd.readouterr().err.count("no thread can be started") == 1


def test_a_look_that_fails_ends_nobody(loop_and_me, capfd):
    loop, me = loop_and_me

    def look(_now):
        raise OSError(24, "Too many open files")

    loop.on_scan = look
    loop.next_scan = 0.0
    loop._timers(me.now, me)
    assert "Too many open files" in capfd.readouterr().err


def test_the_ticker_outlives_its_errors(loop_and_me, capfd):
    """Without it a slow call of the leader would hold everybody up."""
    crew, ticks = loop_and_me[0].crew, []

    def on_tick(now):
        ticks.append(now)
        if len(ticks) == 1:
            raise KeyError("as wanted")
        crew.stopping = True

    crew.on_tick = on_tick
    crew._tick()
    assert len(ticks) == 2
    assert "as wanted" in capfd.readouterr().err


def test_harakiri_answers_before_the_stuck_thread_can_close(loop_and_me, capfd):
    """After a close the descriptor's number may be another client's."""
    loop, me = loop_and_me
    conn, theirs = connected(loop, RUNNING)
    me.serving = conn
    me.ident = threading.get_ident()
    me.times[0], held = 50.0, []

    class Sock:
        def __getattr__(self, name):
            held.append(loop.crew.lock.locked())
            return getattr(ours, name)

    ours, conn.sock = conn.sock, Sock()
    with theirs:
        assert Harakiri(loop.crew, 1)._strike(me, 5.0)
        assert theirs.recv(12) == b"HTTP/1.1 504"
    assert held
    assert all(held)
    assert "harakiri" in capfd.readouterr().err
