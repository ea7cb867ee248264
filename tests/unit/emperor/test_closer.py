import contextlib
import os
import socket
import struct
import threading

import pytest

from emperor.closer import Closer
from tests.harness import wait_until

LINGER = struct.pack("ii", 1, 3600)


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
def stuck():
    """A factory of connections with unsent data, whose close waits for an hour."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)

    def make():
        sock = socket.create_connection(listener.getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"x" * 65536)
        return sock.detach()

    yield make
    listener.close()


def test_it_closes_what_it_is_given():
    closer, pipe = Closer(), os.pipe()
    for descriptor in (-1, *pipe):
        closer.close(descriptor, "blog")
    wait_until(lambda: not any(map(is_open, pipe)), 10, "both ends closed")


def test_a_connection_that_lingers_is_cut(stuck):
    closer, connections = Closer(), [stuck() for _ in range(10)]
    for descriptor in connections:
        closer.close(descriptor, "evil")
    wait_until(lambda: not any(map(is_open, connections)), 10, "all connections closed")


def test_a_listener_that_others_share_keeps_its_linger():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        listener.listen(1)
        copy = os.dup(listener.fileno())
        Closer().close(copy, "blog")
        wait_until(lambda: not is_open(copy), 10, "the copy closed")
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(LINGER)) == LINGER


def test_an_owner_whose_close_blocks_delays_nobody_else(monkeypatch):
    held, blocks, close = threading.Event(), os.pipe(), os.close
    honest, waiting = os.pipe(), os.pipe()

    def closing(descriptor):
        if descriptor == blocks[0]:
            held.wait(30)
        close(descriptor)

    monkeypatch.setattr(os, "close", closing)
    closer = Closer()
    for descriptor in (*blocks, *waiting):
        closer.close(descriptor, "evil")
    for descriptor in honest:
        closer.close(descriptor, "blog")
    wait_until(lambda: not any(map(is_open, honest)), 10, "the honest owner's closed")
    assert all(map(is_open, (*blocks, *waiting)))
    held.set()
    wait_until(lambda: not any(map(is_open, (*blocks, *waiting))), 10, "the rest closed")
