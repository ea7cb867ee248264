"""What the kernel says of memory and of connections that wait, with real sockets and a real process."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from tests.harness import wait_until
from vassal import gauges


def listener(kind, tmp_path):
    if kind == "tcp":
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
    elif kind == "tcp6":
        sock = socket.socket(socket.AF_INET6)
        try:
            sock.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{tmp_path}/s" if kind == "unix" else f"\0{tmp_path}")
    sock.listen(7)
    return sock


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix", "abstract"])
def test_connections_that_wait_are_counted(kind, tmp_path):
    with listener(kind, tmp_path) as sock:
        assert gauges.queue(sock) == (0, 7)
        clients = [socket.socket(sock.family) for _ in range(3)]
        for client in clients:
            client.connect(sock.getsockname())
        wait_until(lambda: gauges.queue(sock) == (3, 7), 5, lambda: f"three to wait: {gauges.queue(sock)}")
        sock.accept()[0].close()
        assert gauges.queue(sock) == (2, 7)
        for client in clients:
            client.close()


def test_what_cannot_be_asked_is_nothing(tmp_path):
    closed = socket.socket()
    closed.close()
    assert gauges.queue(closed) == (0, 0)
    with socket.socket(socket.AF_UNIX) as unbound:
        assert gauges.queue(unbound) == (0, 0)


@pytest.mark.parametrize("reply", [b"", b"\0" * 16, b"\x24\0\0\0\x02\0" + b"\0" * 30, b"\xff" * 60, b"\x14" * 40])
def test_a_reply_that_holds_no_queue(reply):
    assert gauges.parse_queue(reply) == (0, 0)


def test_memory_of_a_process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: gauges.memory(child.pid)[0] > 1 << 20, 10, "a Python that has started")
        rss, vsz = gauges.memory(child.pid)
        seen = psutil.Process(child.pid).memory_info()
        assert rss == pytest.approx(seen.rss, rel=0.5)
        assert vsz == pytest.approx(seen.vms, rel=0.5)
    finally:
        child.communicate(b"\n")
    assert gauges.memory(child.pid) == (0, 0)
    assert gauges.memory(os.getpid())[0] > 0
