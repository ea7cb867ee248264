"""What options of the file change on the wire."""

import socket
import struct

import pytest

from tests.clients import HttpClient, http_get, http_post
from tests.harness import wait_until


def accepted_options(worker, level, option):
    """What the worker set on its listener, whose options are inherited by what it accepts (tcp(7), socket(7))."""
    assert http_get(worker.http, "/").body == b"hello"
    return worker.sockets[0].getsockopt(level, option)


@pytest.mark.parametrize("wanted", [True, False])
def test_socket_options(start_worker, wanted):
    worker = start_worker(tcp_nodelay=wanted, so_keepalive=wanted)
    assert bool(accepted_options(worker, socket.IPPROTO_TCP, socket.TCP_NODELAY)) is wanted
    assert bool(accepted_options(worker, socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is wanted


def test_added_headers_are_in_every_response(start_worker):
    worker = start_worker(add_header=["X-Frame-Options: DENY", "X-Own: a"])
    for path in ("/hello", "/generator", "/raise", "/204"):
        response = http_get(worker.http, path)
        assert (response.header("x-frame-options"), response.header("x-own")) == ("DENY", "a"), path
    with worker.client() as client:
        client.send(b"not HTTP\r\n\r\n")
        assert client.response().header("x-own") == "a"


def leave_in_the_middle(worker):
    """As a client that resets the connection while the app writes without end."""
    with socket.create_connection(worker.http) as sock:
        sock.sendall(b"GET /writes HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def written(worker):
    return http_get(worker.http, "/written").body


def test_a_write_to_nobody_is_an_error_in_the_app(start_worker):
    worker = start_worker(threads=2)
    leave_in_the_middle(worker)
    wait_until(lambda: written(worker) == b"ClientGone", 10, lambda: repr(written(worker)))
    worker.logs("left during the response to GET '/writes'")


def test_disable_write_exception_and_ignore_write_errors(start_worker):
    worker = start_worker(threads=2, disable_write_exception=True, ignore_write_errors=True)
    leave_in_the_middle(worker)
    wait_until(lambda: written(worker) == b"all", 10, lambda: repr(written(worker)))
    assert "left during" not in worker.log


@pytest.mark.parametrize("kept", [1000, 1_000_000])
def test_post_buffering_says_what_is_kept_in_memory(start_worker, kept):
    worker = start_worker(post_buffering=kept)
    body = b"x" * 100_000
    expected = b"BytesIO" if kept > len(body) else b"file"
    assert http_post(worker.http, "/kind", body).body == expected
    assert http_post(worker.http, "/kind", b"small").body == b"BytesIO"


def test_fields_that_the_server_sets_are_replaced_or_left_out(start_worker):
    """``add-header = Connection: Keep-Alive`` stands in many files; what is sent is what the server does."""
    worker = start_worker(add_header=["Connection: Keep-Alive", "Keep-Alive: timeout=5", "Server: shop", "X-Own: a"])
    with HttpClient(worker.http) as client:
        kept = client.get("/")
        assert (kept.header("Connection"), kept.header("Keep-Alive"), kept.header("X-Own")) == (None, None, "a")
        assert kept.header("Server") == "shop"
        closed = client.request("GET", "/", headers={"Connection": "close"})
        assert closed.header("Connection") == "close"
