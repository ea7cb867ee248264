"""Many clients on one worker with two threads: idle ones, slow ones, ones that do not read."""

import resource
import time

import pytest

from tests.clients import connect, http_get

IDLE, SLOW_HEADS, SLOW_READERS = 1000, 500, 500


@pytest.fixture
def descriptors():
    """Room for all of them on both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + SLOW_HEADS + SLOW_READERS + 300
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} file descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_fresh_clients_are_answered_beside_two_thousand_slow_ones(start_worker):
    worker = start_worker(threads=2)
    socks = []
    try:
        for number in range(IDLE + SLOW_HEADS + SLOW_READERS):
            sock = connect(worker.http)
            socks.append(sock)
            if number < IDLE:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            elif number < IDLE + SLOW_HEADS:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow:")
            else:
                sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        for _ in range(50):
            assert http_get(worker.http, "/").body == b"hello"
        assert time.monotonic() - began < 20, "fresh clients starve"
        for sock in socks[:IDLE:100]:  # the idle ones are still served
            assert sock.recv(12) == b"HTTP/1.1 200"
            sock.recv(4096)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        for sock in socks[IDLE : IDLE + SLOW_HEADS : 100]:
            sock.sendall(b" done\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        for sock in socks[IDLE + SLOW_HEADS :: 100]:
            got = 0
            while got < 1 << 20:
                got += len(sock.recv(1 << 20))
    finally:
        for sock in socks:
            sock.close()
