"""Who runs what: the lead, slow apps, slow clients, downloads beside them, deadlines, Expect, harakiri."""

import signal
import socket
import threading
import time

import pytest

from tests.clients import HttpClient, http_get
from tests.integration.worker.apps import LARGE
from tests.integration.worker.conftest import PATIENCE
from vassal.channel import Leaving


def open_many(worker, targets):
    """One client for each target, its request sent."""
    clients = []
    for target in targets:
        client = worker.client()
        client.send_request("GET", target)
        clients.append(client)
    return clients


def close_all(clients):
    for client in clients:
        client.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_download_goes_on_while_every_thread_is_in_the_app(start_worker, threads):
    worker = start_worker(threads=threads)
    with worker.client() as download:
        download.send_request("GET", "/file")
        download.sock.recv(1)  # it has begun
        sleepers = open_many(worker, ["/sleep?2"] * threads)
        began = time.monotonic()
        # More than the kernel buffers of both ends hold, so the server must go on sending.
        left = LARGE - 1
        while left > 0:
            left -= len(download.sock.recv(1 << 20))
        assert all(not _readable(client) for client in sleepers), "the sleepers still sleep"
        assert time.monotonic() - began < 2
        assert [client.response().body for client in sleepers] == [b"slept"] * threads
        close_all(sleepers)


def _readable(client):
    client.sock.setblocking(False)
    try:
        return bool(client.sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(PATIENCE)


def test_bodies_arrive_and_deadlines_run_while_every_thread_is_in_the_app(start_worker):
    worker = start_worker(threads=1, http_timeout=1)
    with worker.client() as slow, worker.client() as sleeper:
        slow.send(b"GET / HT")
        sleeper.send_request("GET", "/sleep?3")
        assert slow.response().status == 408
        assert not _readable(sleeper)
        assert sleeper.response().body == b"slept"


@pytest.mark.parametrize("threads", [1, 3])
def test_the_app_runs_in_its_own_threads_only(start_worker, threads):
    worker = start_worker(threads=threads)
    clients = open_many(worker, ["/sleep?0.05", "/thread"] * 20)
    answers = [client.response().body for client in clients]
    close_all(clients)
    assert answers.count(b"slept") == 20
    if threads == 1:
        assert answers.count(b"main") == 20


def test_threads_run_side_by_side(start_worker):
    worker = start_worker(threads=4)
    began = time.monotonic()
    clients = open_many(worker, ["/sleep?0.5"] * 8)
    assert [client.response().body for client in clients] == [b"slept"] * 8
    close_all(clients)
    assert time.monotonic() - began < 3, "eight calls of half a second took turns"


def test_a_quick_page_does_not_stand_in_line_behind_slow_ones(start_worker):
    worker = start_worker(threads=1)
    slow = open_many(worker, ["/sleep?0.2"] * 15)
    time_limit = time.monotonic() + 2.5  # all slow ones take 3 s
    assert http_get(worker.http, "/").body == b"hello"
    assert time.monotonic() < time_limit
    for client in slow:
        assert client.response().body == b"slept"
    close_all(slow)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_mix_of_everything_is_answered_right(start_worker, threads):
    """Leads change hands all the time; every client must get its own answer."""
    worker = start_worker(threads=threads)
    failures = []

    def talk(number):
        try:
            with HttpClient(worker.http) as client:
                for turn in range(30):
                    kind = (number + turn) % 5
                    if kind == 0:
                        assert client.get("/sleep?0.007").body == b"slept"
                    elif kind == 1:
                        text = f"{number}-{turn}".encode()
                        assert client.request("POST", "/echo", body=text).body == text
                    elif kind == 2:
                        assert len(client.get("/stream?40").body) == 40 * 65536
                    elif kind == 3:
                        answers = client.pipeline(
                            [("GET", "/"), ("GET", "/sleep?0.006"), ("HEAD", "/"), ("GET", "/thread")]
                        )
                        assert [a.status for a in answers] == [200] * 4
                    else:
                        assert len(client.get("/file?52000000").body) == LARGE - 52000000
        except (OSError, AssertionError) as error:
            failures.append(f"{number}: {error!r}")

    talkers = [threading.Thread(target=talk, args=(number,)) for number in range(12)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join(60)
    assert not failures, worker.log


def test_pipelined_requests_are_answered_in_order(start_worker):
    worker = start_worker(threads=2)
    with worker.client() as client:
        targets = [f"/environ?{n}" if n % 3 else "/sleep?0.02" for n in range(30)]
        answers = client.pipeline([("GET", target) for target in targets])
        for target, response in zip(targets, answers, strict=True):
            expected = b"slept" if "sleep" in target else f'"QUERY_STRING": "{target[9:]}"'.encode()
            assert expected in response.body


@pytest.mark.parametrize("threads", [1, 2])
def test_who_has_said_all_still_gets_all_answers(start_worker, threads):
    """The end of what a client sends is the end of its requests, not of its interest."""
    worker = start_worker(threads=threads)
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    for size in (1, 1000, 100_000):
        with worker.client() as client:
            asked = b"".join(head + b"%02d" % number for number in range(30))
            for at in range(0, len(asked), size):
                client.send(asked[at : at + size])
            client.sock.shutdown(socket.SHUT_WR)
            assert [client.response().body for _ in range(30)] == [b"%02d" % number for number in range(30)]
            assert client.sock.recv(1) == b""


def test_slow_clients_do_not_disturb_others(start_worker):
    worker = start_worker(threads=1)
    slow = [worker.client() for _ in range(100)]
    for client in slow[:50]:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    for client in slow[50:]:
        client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")  # and it does not read
    for _ in range(5):
        assert http_get(worker.http, "/").body == b"hello"
    for client in slow[:50]:
        client.send(b"done\r\n\r\n")
        assert client.response().body == b"hello"
    for client in slow[50:]:
        assert client.response().status == 200
    close_all(slow)


def test_a_request_byte_by_byte(start_worker):
    worker = start_worker()
    with worker.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for (
            byte
        ) in b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n":
            client.send(bytes((byte,)))
        assert client.response().body == b"hello"
        assert client.get("/").body == b"hello"


# --- timeouts ----------------------------------------------------------------------------------------------------


def test_slow_heads_and_bodies_end_with_408(start_worker):
    worker = start_worker(http_timeout=1)
    with worker.client() as head, worker.client() as body, worker.client() as silent:
        head.send(b"GET / HTTP/1.1\r\n")
        body.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert head.response().status == 408
        assert body.response().status == 408
        assert silent.sock.recv(1) == b""


def test_what_is_said_of_a_bad_head_request_has_no_body(start_worker):
    worker = start_worker()
    with worker.client() as client:
        client.send(b"HEAD / HTTP/1.1\r\n\r\n")
        assert client.response(head=True).status == 400
        assert client._file.read() == b""


def test_idle_connections_end(start_worker):
    worker = start_worker(http_keepalive=2)
    with worker.client() as client:
        assert not client.get("/").closes
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize("words", ["keep-alive, close", "close, keep-alive"])
def test_close_counts_for_more_than_keep_alive(start_worker, words):
    worker = start_worker()
    for version in ("1.0", "1.1"):
        with worker.client() as client:
            client.send(f"GET / HTTP/{version}\r\nHost: x\r\nConnection: {words}\r\n\r\n".encode())
            assert client.response().closes
            assert client.sock.recv(1) == b""


@pytest.mark.parametrize("threads", [1, 2])
def test_an_empty_line_behind_a_body_is_no_beginning_of_a_request(start_worker, threads):
    worker = start_worker(threads=threads, http_timeout=1, http_keepalive=2)
    upload = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    with worker.client() as together, worker.client() as later, worker.client() as torn:
        together.send(upload + b"\r\n")
        assert together.response().body == b"hello"
        for client, pieces in ((later, (b"\r\n",)), (torn, (b"\r", b"\n"))):
            client.send(upload)
            assert client.response().body == b"hello"
            for piece in pieces:
                client.send(piece)
                assert http_get(worker.http, "/").body == b"hello"  # meanwhile it has been read
        for client in (together, later, torn):
            assert client.get("/").body == b"hello"
            client.send(upload + b"\r\n")
            assert client.response().body == b"hello"
        for client in (together, later, torn):
            assert client.sock.recv(1) == b"", "it is idle, and ends as such: without a 408"


def test_no_keep_alive(start_worker):
    worker = start_worker(http_keepalive=0)
    with worker.client() as client:
        assert client.get("/").closes
        assert client.sock.recv(1) == b""


def test_a_reader_that_stops_is_cut_off(start_worker):
    worker = start_worker(socket_timeout=1)
    with worker.client() as file, worker.client() as write:
        file.send_request("GET", "/file")
        write.send_request("GET", "/endless")
        assert file.sock.recv(1) == b"H"
        assert write.sock.recv(1) == b"H"
        worker.logs("left during the response to GET '/endless'")
        assert http_get(worker.http, "/").body == b"hello"


# --- Expect: 100-continue ----------------------------------------------------------------------------------------

EXPECT = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_continue_is_sent_when_the_app_reads(start_worker, threads):
    worker = start_worker(threads=threads)
    with worker.client() as client:
        for _ in range(2):
            client.send(EXPECT % b"/echo")
            assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
            # Meanwhile nobody else is kept waiting.
            assert http_get(worker.http, "/environ" if threads > 1 else "/").status == 200 if threads > 1 else True
            client.send(b"hello")
            assert client.response().body == b"hello"


def test_no_continue_is_sent_when_the_app_does_not_read(start_worker):
    worker = start_worker()
    with worker.client() as client:
        client.send(EXPECT % b"/ignore")
        response = client.response()
        assert response.body == b"ignored"
        assert response.closes, "whether the body comes is unknown"
        assert client.sock.recv(1) == b""


def test_promised_bodies_leave_a_thread_for_others(start_worker):
    worker = start_worker(threads=2)
    with worker.client() as first, worker.client() as second, worker.client() as third:
        for client in (first, second, third):
            client.send(EXPECT % b"/echo")
            assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        assert http_get(worker.http, "/").body == b"hello"
        for client in (third, second, first):
            client.send(b"hello")
            assert client.response().body == b"hello"
        for _ in range(3):  # and then it is asked for by the app again
            second.send(EXPECT % b"/ignore")
            assert second.response().body == b"ignored"
            second.__exit__()
            second.__init__(worker.http)


def test_a_body_that_came_unasked_needs_no_continue(start_worker):
    worker = start_worker()
    with worker.client() as client:
        client.send(EXPECT % b"/echo" + b"hello")
        assert client.sock.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_promised_body_of_unknown_length_that_is_too_long_gets_413(start_worker, threads):
    worker = start_worker(threads=threads, limit_post=4)
    with worker.client() as client:
        client.send(EXPECT.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") % b"/echo")
        assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
        response = client.response()
        assert (response.status, response.closes) == (413, True)


def test_a_promised_body_that_never_comes_is_an_error_in_the_app(start_worker):
    worker = start_worker(http_timeout=1)
    with worker.client() as client:
        client.send(EXPECT % b"/echo")
        assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        assert client.response().status == 500
    with worker.client() as client:
        client.send(EXPECT % b"/echo")
        assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
    worker.logs("the client left in the middle of its body")
    assert http_get(worker.http, "/").body == b"hello"


# --- harakiri ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sleep?30", "/cleared?30"])
def test_harakiri_answers_504_names_the_line_and_asks_to_be_replaced(start_worker, path):
    worker = start_worker(threads=2, harakiri=1)
    with worker.client() as stuck, worker.client() as other:
        stuck.send_request("GET", path)
        response = stuck.response()
        assert response.status == 504
        assert other.get("/").body == b"hello", "the other threads go on"
    leaving = worker.hear()
    assert isinstance(leaving, Leaving)
    assert "harakiri" in leaving.reason
    worker.logs("apps.py")
    assert "do_" + path[1:].partition("?")[0] in worker.log
    worker.retire(10)
    assert worker.wait() == 0, "it does not wait for the stuck thread"


def test_harakiri_strikes_a_thread_that_computes(start_worker):
    worker = start_worker(threads=1, harakiri=1)
    with worker.client() as stuck:
        stuck.send_request("GET", "/spin?30")
        assert stuck.response().status == 504
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_harakiri_never_mixes_into_a_response_that_has_begun(start_worker):
    worker = start_worker(threads=1, harakiri=1)
    with worker.client() as client:
        client.send_request("GET", "/endless")
        while data := client.sock.recv(1 << 20):
            assert b"504" not in data
    worker.logs("harakiri")
