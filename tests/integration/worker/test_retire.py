"""Starting, retiring, recycling, and losing the master."""

import os
import resource
import select
import signal
import socket
import threading
import time

import pytest

from tests.clients import HttpClient, connect, http_get
from tests.harness import wait_until
from tests.integration.worker.conftest import PATIENCE, make_listeners
from vassal.channel import Accept, Failed, Leaving, Loaded, Retire
from vassal.scoreboard import Scoreboard


def test_nothing_is_accepted_before_it_is_told_to(make_worker):
    worker = make_worker()
    assert worker.hear() == Loaded()
    with worker.client() as client:
        client.send_request("GET", "/")
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(PATIENCE)
        worker.say(Accept())
        client._file = client.sock.makefile("rb")
        assert client.response().body == b"hello"


@pytest.mark.parametrize("lazy", [True, False])
def test_an_app_may_be_loaded_before(start_worker, lazy):
    assert http_get(start_worker(lazy=lazy).http, "/").body == b"hello"


def test_an_app_that_cannot_be_loaded(make_worker):
    worker = make_worker(module="no_such_module")
    failed = worker.hear()
    assert isinstance(failed, Failed)
    assert failed.stage == "load"
    assert "no_such_module" in failed.reason
    assert worker.wait() == 22


def test_without_an_app_everything_is_404(start_worker):
    response = http_get(start_worker(module=None).http, "/")
    assert response.status == 404


def test_need_app(make_worker):
    worker = make_worker(module=None, need_app=True)
    assert "need-app" in worker.hear().reason
    assert worker.wait() == 22


def test_retiring_with_nothing_to_do_is_quick(start_worker):
    worker = start_worker(threads=4)
    assert http_get(worker.http, "/").status == 200
    worker.retire(60)
    assert worker.wait(3) == 0


@pytest.mark.parametrize("how", ["channel", "signal", "eof"])
def test_what_was_accepted_is_answered(start_worker, how):
    worker = start_worker(threads=2)
    with worker.client() as running, worker.client() as idle, worker.client() as used:
        assert used.get("/").status == 200
        running.send_request("GET", "/sleep?1")
        assert http_get(worker.http, "/").status == 200  # after which the other two have been accepted
        if how == "channel":
            worker.retire(10)
        elif how == "signal":
            worker.process.send_signal(signal.SIGTERM)
        else:
            worker.channel.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not worker.listens(), PATIENCE, "the listeners to be closed")
        for client in (idle, used):  # within the grace they may send one more request
            response = client.get("/")
            assert response.body == b"hello"
            assert response.closes
            assert client.sock.recv(1) == b""
        response = running.response()
        assert response.body == b"slept"
        assert response.closes
    assert worker.wait(5) == 0


def test_only_the_last_pipelined_response_closes(start_worker):
    worker = start_worker()
    with worker.client() as client:
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in (b"/sleep?0.5", b"/", b"/", b"/")))
        wait_until(lambda: http_get_busy(worker), message="the request to run")
        worker.retire(10)
        answers = [client.response() for _ in range(4)]
        assert [a.closes for a in answers] == [False, False, False, True]
    assert worker.wait(5) == 0


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("files", [(), (("/files", "/nowhere", False),)])
def test_pipelined_requests_are_answered_beyond_the_grace(start_worker, threads, files):
    """Two clients that have sent all that they ask for: each waits for its turn, and not for its client."""
    worker = start_worker(threads=threads, static_map=files, grace=0.2)
    count, requests = 400, b"GET /sleep?0.002 HTTP/1.1\r\nHost: x\r\n\r\n"
    with worker.client() as one, worker.client() as two:
        for client in (one, two):
            client.send(requests * count)
            assert client.response().status == 200
        began = time.monotonic()
        worker.retire(20)
        for client in (one, two):
            answers = [client.response() for _ in range(count - 1)]
            assert [a.closes for a in answers] == [False] * (count - 2) + [True]
        assert time.monotonic() - began > 0.2, "they came within the grace: that proves nothing"
    assert worker.wait(5) == 0


def http_get_busy(worker):
    """Whether the worker has accepted: its listener's queue is empty."""
    with open("/proc/net/tcp") as file:
        port = f":{worker.http[1]:04X}"
        lines = [line.split() for line in file if line.split()[1].endswith(port) and line.split()[3] == "0A"]
    return all(line[4].endswith("00000000") for line in lines)


def test_idle_connections_are_closed_after_the_grace(start_worker):
    worker = start_worker()
    with worker.client() as idle, worker.client() as half:
        assert idle.get("/").status == 200
        half.send(b"GET / HTTP/1.1\r\n")
        assert http_get(worker.http, "/").status == 200
        worker.retire(1)
        assert idle.sock.recv(1) == b""
        assert worker.wait(4) == 0


def test_mercy_ends_what_does_not_end(start_worker):
    worker = start_worker(threads=2)
    with worker.client() as stuck:
        stuck.send_request("GET", "/sleep?60")
        wait_until(lambda: http_get_busy(worker))
        assert http_get(worker.http, "/").status == 200
        worker.retire(1)
        assert worker.wait(5) == 0
    worker.logs("mercy is over")


def test_hundreds_of_connections_at_the_moment_of_retiring_are_all_answered(make_worker, tmp_path):
    """Two workers on the same listeners; one retires in the middle of a storm of connections."""
    listeners = make_listeners(tmp_path)
    try:
        first = make_worker(listeners=listeners).start()
        second = make_worker(listeners=listeners).start()
        failures = []
        done = []

        def storm():
            for _ in range(60):
                try:
                    assert http_get(first.http, "/", timeout=10).body == b"hello"
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))
                done.append(1)

        threads = [threading.Thread(target=storm) for _ in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(done) > 60)
        first.retire(10)
        for thread in threads:
            thread.join(60)
        assert not failures
        assert first.wait() == 0
        assert http_get(second.http, "/").body == b"hello"
    finally:
        for sock in listeners:
            sock.close()


@pytest.fixture
def pair(make_worker, tmp_path):
    """Two workers with the same listeners and scoreboard; the first is inside the app, for `stuck`."""
    listeners = make_listeners(tmp_path)
    memory = os.memfd_create("scoreboard")
    os.truncate(memory, 65536)
    try:
        first = make_worker(listeners=listeners, processes=2, board=(1, 2, memory)).start()
        with first.client() as stuck:
            stuck.send_request("GET", "/sleep?5")
            wait_until(lambda: Scoreboard(2, 1, memory).worker(1).busy, 10, "the first worker to be busy")
            second = make_worker(listeners=listeners, processes=2, board=(2, 2, memory)).start()
            wait_until(lambda: Scoreboard(2, 1, memory).worker(2).accepting, 10, "the second worker to accept")
            yield stuck, second
    finally:
        os.close(memory)
        for sock in listeners:
            sock.close()


def waits(client):
    """Whether nothing has come for `client` yet."""
    return not select.select([client.sock], [], [], 0)[0]


def test_connections_go_to_the_worker_that_is_free(pair):
    """A worker whose threads are all in the app takes nothing from one that is idle."""
    stuck, free = pair
    for _ in range(50):
        assert http_get(free.http, "/").body == b"hello"
    assert waits(stuck)
    assert stuck.response().body == b"slept"


def test_connections_are_left_to_a_free_worker_that_gets_no_processor_for_a_moment(pair):
    stuck, free = pair
    os.kill(free.pid, signal.SIGSTOP)
    with free.client() as client:
        client.send_request("GET", "/")
        time.sleep(0.1)  # longer than a busy worker leaves connections to others that are busy, too
        os.kill(free.pid, signal.SIGCONT)
        assert client.response().body == b"hello"
        assert waits(stuck)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_requests": 5}, "max-requests"),
        ({"max_requests": 4, "max_requests_delta": 1}, "max-requests"),
        ({"max_worker_lifetime": 1}, "max-worker-lifetime"),
        ({"reload_on_rss": 1}, "reload-on-rss"),
    ],
)
def test_recycling_asks_once_and_goes_on_serving(start_worker, settings, reason):
    worker = start_worker(**settings)
    with worker.client() as client:
        for _ in range(8):
            assert client.get("/").body == b"hello"
        leaving = worker.hear()
        assert isinstance(leaving, Leaving)
        assert reason in leaving.reason
        assert client.get("/").body == b"hello", "it serves until it is told to retire"
    worker.say(Retire(5))
    assert worker.wait() == 0


def test_running_out_of_descriptors_is_survived(start_worker):
    worker = start_worker()
    assert http_get(worker.http, "/").status == 200
    soft = len(list(__import__("pathlib").Path(f"/proc/{worker.pid}/fd").iterdir())) + 20
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, soft))
    with worker.client() as kept:
        assert kept.get("/").body == b"hello"
        many = [connect(worker.http) for _ in range(60)]
        try:
            worker.logs("cannot accept a connection")
        finally:
            for sock in many:
                sock.close()
        wait_until(lambda: _answers(worker), PATIENCE, "the worker to recover")


def _answers(worker):
    try:
        return http_get(worker.http, "/", timeout=2).body == b"hello"
    except (ConnectionError, TimeoutError):
        return False


def test_sigint_and_sighup_are_the_masters_business(start_worker):
    worker = start_worker()
    worker.process.send_signal(signal.SIGINT)
    worker.process.send_signal(signal.SIGHUP)
    with HttpClient(worker.http) as client:
        assert client.get("/").body == b"hello"
