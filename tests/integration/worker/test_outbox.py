"""Responses that wait for others: none waits for a slow app, none is lost, each is sent once."""

import os
import signal
import socket
import struct
import time

import pytest

from tests.harness import wait_until

POLLS = {232, 281, 22}
"""Numbers of epoll_wait and epoll_pwait on x86-64, of epoll_pwait on arm64."""


def at_once(worker, *targets):
    """Let the worker find requests for all `targets` in one turn; return their clients."""
    clients = [worker.client() for _ in targets]
    for client in clients:
        client.request("GET", "/hello")  # it is accepted, and no stranger any more
    # It polls again, so the kernel has forgotten in which order these clients came before.
    wait_until(lambda: _asleep(worker), 10, lambda: f"{worker.pid} sleeps")
    worker.process.send_signal(signal.SIGSTOP)
    for client, target in zip(clients, targets, strict=True):
        client.send_request("GET", target)
    worker.process.send_signal(signal.SIGCONT)
    return clients


def _asleep(worker):
    with open(f"/proc/{worker.pid}/syscall") as file:
        number = file.read().split()[0]
    return number.isdigit() and int(number) in POLLS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("slow", ["/sleep?3", "/tail?3"])
def test_a_quick_response_does_not_wait_for_the_slow_call_behind_it(start_worker, threads, slow):
    worker = start_worker(threads=threads)
    began = time.monotonic()
    quick, late = at_once(worker, "/hello", slow)
    with quick, late:
        assert quick.response().body == b"hello"
        assert time.monotonic() - began < 3, "it came while the other one slept"
        assert late.response().body in (b"slept", b"xxxx")


def test_all_that_are_found_in_one_turn_are_answered(start_worker):
    worker = start_worker()
    clients = at_once(worker, *["/hello", "/generator", "/tail?0", "/empty"] * 25)
    bodies = []
    for client in clients:
        with client:
            bodies.append(client.response().body)
    assert bodies == [b"hello", b"abbbbbbbbbbc", b"xxxx", b""] * 25


@pytest.mark.parametrize("threads", [1, 2])
def test_a_complete_response_does_not_wait_for_an_app_that_goes_on(start_worker, threads):
    worker = start_worker(threads=threads)
    with worker.client() as client:
        began = time.monotonic()
        client.send_request("GET", "/tail?2")
        assert client.response().body == b"xxxx"
        assert time.monotonic() - began < 2, "it came while the app slept"
        assert client.request("GET", "/hello").body == b"hello"


def test_a_client_with_little_room_gets_all_of_it_while_the_app_goes_on(start_worker):
    worker = start_worker(threads=1)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # so the kernel does not take the whole at once
        sock.settimeout(20)
        sock.connect(worker.http)
        began = time.monotonic()
        sock.sendall(b"GET /tail?4,65000 HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while data.count(b"x") < 65000:
            data += sock.recv(1024)
        assert time.monotonic() - began < 4, "it came while the app slept"
        assert data.partition(b"\r\n\r\n")[2] == b"x" * 65000


def test_an_app_that_fails_after_its_response_was_complete(start_worker):
    worker = start_worker()
    with worker.client() as client:
        assert client.request("GET", "/tail?raise").body == b"xxxx"
        assert client.sock.recv(1) == b"", "an app that failed loses its connection"
    worker.logs("after the end")
    with worker.client() as client:
        assert client.request("GET", "/tail?more").body == b"xxxx"
        assert client.request("GET", "/hello").body == b"hello"
    worker.logs("more than its Content-Length 4 says")


def test_clients_that_leave_before_their_response_cost_nothing(start_worker):
    worker = start_worker(threads=1)
    before = _descriptors(worker)
    for target in ("/hello", "/tail?0.05", "/tail?0") * 10:
        client = worker.client()
        client.send_request("GET", target)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    with worker.client() as client:
        assert client.request("GET", "/hello").body == b"hello"
    wait_until(lambda: _descriptors(worker) <= before, 10, lambda: f"{_descriptors(worker)} descriptors, not {before}")


def _descriptors(worker):
    return len(os.listdir(f"/proc/{worker.pid}/fd"))


def test_bodies_differ_under_the_same_head(start_worker):
    worker = start_worker()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    with worker.client() as client:
        for number in range(10):  # from the third on, the head is known
            client.send(head + b"%05d" % number)
            assert client.response().body == b"%05d" % number
        client.send(b"".join(head + b"%05d" % number for number in range(10)))
        assert [client.response().body for _ in range(10)] == [b"%05d" % number for number in range(10)]
        client.send(head)
        client.send(b"apart")
        assert client.response().body == b"apart"
        client.send(head + b"ab")
        client.send(b"cdeGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().body == b"abcde"
        assert client.response().body == b"hello"
