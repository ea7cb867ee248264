"""The uwsgi protocol and the PROXY protocol over real sockets."""

import json
import os
import socket
import struct

import pytest

from tests.clients import HttpClient, http_get, uwsgi_packet, uwsgi_request
from vassal.protocol.uwsgi import SELECTORS


def environ_of(response):
    assert response.status == 200, response.body
    return json.loads(response.body)


# --- uwsgi -------------------------------------------------------------------------------------------------------


def test_variables_reach_the_app_unchanged(start_worker):
    worker = start_worker()
    environ = environ_of(
        uwsgi_request(
            worker.uwsgi,
            "/environ?a=b",
            REMOTE_USER="jo",
            OWN="ö",
            UWSGI_SCHEME="https",
            SCRIPT_NAME="/app",
            HTTP_X_A="1",
        )
    )
    assert environ["REMOTE_USER"] == "jo"
    assert environ["OWN"] == "ö"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SCRIPT_NAME"] == "/app"
    assert environ["QUERY_STRING"] == "a=b"
    assert environ["REMOTE_ADDR"] == "192.0.2.7"
    assert environ["SERVER_NAME"] == "test"
    assert environ["SERVER_PORT"] == "80"
    assert environ["HTTP_X_A"] == "1"


def test_the_wire_selects_no_code_and_replaces_no_object(start_worker, tmp_path):
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('executed')\n")
    worker = start_worker(mount=[["/other", "apps:do_look"]])
    dangerous = dict.fromkeys(SELECTORS, str(evil)) | {
        "wsgi.input": "x",
        "wsgi.errors": "x",
        "wsgi.file_wrapper": "x",
        "wsgi.url_scheme": "gopher",
        "HTTP_PROXY": "http://evil.test",
    }
    environ = environ_of(uwsgi_request(worker.uwsgi, "/environ", **dangerous))
    assert not SELECTORS & environ.keys()
    assert environ["wsgi.url_scheme"] == "http"
    assert "HTTP_PROXY" not in environ
    assert "executed" not in worker.log


def test_what_a_web_server_says_of_a_body_enters_unchanged(start_worker):
    """It has read the chunks itself; the length counts."""
    worker = start_worker()
    about = {"REQUEST_METHOD": "POST", "PATH_INFO": "/environ", "HTTP_TRANSFER_ENCODING": "chunked"}
    for body in (b"hello", b"x" * 300_000):
        with worker.client(worker.uwsgi) as client:
            client.send(uwsgi_packet({**about, "CONTENT_LENGTH": str(len(body))}) + body)
            environ = environ_of(client.response())
            assert environ["CONTENT_LENGTH"] == str(len(body))
            assert environ["HTTP_TRANSFER_ENCODING"] == "chunked"


def test_a_body_by_its_length(start_worker):
    worker = start_worker()
    body = os.urandom(300_000)
    assert uwsgi_request(worker.uwsgi, "/echo", method="POST", body=body).body == body
    assert uwsgi_request(worker.unix if False else worker.uwsgi, "/generator").body == b"a" + b"b" * 10 + b"c"
    assert uwsgi_request(worker.uwsgi, "/", method="HEAD").status == 200


def test_a_response_ends_the_connection_and_has_no_chunks(start_worker):
    response = uwsgi_request(start_worker().uwsgi, "/generator")
    assert response.header("transfer-encoding") is None
    assert response.closes


def test_a_packet_of_64_kib(start_worker):
    environ = environ_of(uwsgi_request(start_worker().uwsgi, "/environ", HTTP_COOKIE="a" * 64_000))
    assert environ["HTTP_COOKIE"] == "a" * 64_000


def test_a_packet_byte_by_byte(start_worker):
    worker = start_worker()
    with worker.client(worker.uwsgi) as client:
        for byte in uwsgi_packet({"REQUEST_METHOD": "POST", "PATH_INFO": "/echo", "CONTENT_LENGTH": "2"}) + b"ab":
            client.send(bytes((byte,)))
        assert client.response().body == b"ab"


def test_ping(start_worker):
    worker = start_worker()
    with worker.client(worker.uwsgi) as client:
        client.send(struct.pack("<BHB", 100, 0, 0))
        assert client.sock.recv(16) == b"\x64\x00\x00\x01"
        assert client.sock.recv(16) == b""


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("<BHB", 5, 0, 0),
        struct.pack("<BHB", 0, 0, 0),
        struct.pack("<BHB", 0, 3, 0) + b"abc",
        struct.pack("<BHB", 0, 4, 0) + b"\xff\xff\x00\x00",
        struct.pack("<BHB", 0, 5, 0) + b"\x01\x00A\xff\xff",
        struct.pack("<BHB", 0, 3, 0) + b"\x01\x00A",
        uwsgi_packet({"PATH_INFO": "/"}),
        uwsgi_packet({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "-1"}),
        uwsgi_packet({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "1e3"}),
        uwsgi_packet({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "+3"}),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_malformed_packet_costs_its_connection_only(start_worker, packet):
    worker = start_worker()
    with worker.client(worker.uwsgi) as client:
        client.send(packet)
        assert client.response().status == 400
        assert client.sock.recv(1) == b""
    assert uwsgi_request(worker.uwsgi, "/").body == b"hello"


def test_limit_post(start_worker):
    worker = start_worker(limit_post=10)
    assert uwsgi_request(worker.uwsgi, "/echo", method="POST", body=b"x" * 11).status == 413
    assert uwsgi_request(worker.uwsgi, "/echo", method="POST", body=b"x" * 10).status == 200


def test_mounts(start_worker):
    mount = [["/a", "apps:do_environ"], ["/a/b", "apps:do_look"]]
    worker = start_worker(mount=mount, manage_script_name=True)
    environ = environ_of(http_get(worker.http, "/a/x"))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a", "/x")
    environ = environ_of(http_get(worker.http, "/a"))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a", "")
    assert environ_of(http_get(worker.http, "/a/b/c"))["path"] == "/c"
    assert http_get(worker.http, "/").body == b"hello", "a longer name is no mount"
    by_name = start_worker(mount=mount)
    assert environ_of(uwsgi_request(by_name.uwsgi, "/x", SCRIPT_NAME="/a"))["SCRIPT_NAME"] == "/a"
    assert uwsgi_request(by_name.uwsgi, "/").body == b"hello"


# --- PROXY -------------------------------------------------------------------------------------------------------

V2 = b"\r\n\r\n\0\r\nQUIT\n"
INET = socket.inet_aton("192.0.2.9") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 4711, 80)
INET6 = socket.inet_pton(socket.AF_INET6, "2001:db8::9") * 2 + struct.pack("!HH", 4711, 80)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80\r\n", "192.0.2.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 4711 80\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN whatever stands here\r\n", "127.0.0.1"),
        (V2 + struct.pack("!BBH", 0x21, 0x11, len(INET)) + INET, "192.0.2.9"),
        (V2 + struct.pack("!BBH", 0x21, 0x11, len(INET) + 5) + INET + b"\x04\0\x02ab", "192.0.2.9"),
        (V2 + struct.pack("!BBH", 0x21, 0x21, len(INET6)) + INET6, "2001:db8::9"),
        (V2 + struct.pack("!BBH", 0x20, 0, 0), "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
)
def test_the_client_behind_a_proxy(start_worker, header, client, bytewise):
    worker = start_worker(enable_proxy_protocol=True)
    with worker.client() as connection:
        data = header + b"GET /environ HTTP/1.1\r\nHost: x\r\n\r\n"
        for piece in (bytes((byte,)) for byte in data) if bytewise else (data,):
            connection.send(piece)
        assert environ_of(connection.response())["REMOTE_ADDR"] == client
        assert environ_of(connection.get("/environ"))["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.999 10.0.0.1 4711 80\r\n",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 99999 80\r\n",
        b"PROXY TCP4 192.0.2.9\r\n",
        b"PROXY  TCP4 192.0.2.9 10.0.0.1 1 80\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY " + b"x" * 200,
        V2 + struct.pack("!BBH", 0x31, 0x11, len(INET)) + INET,
        V2 + struct.pack("!BBH", 0x21, 0x11, 4) + INET[:4],
    ],
)
def test_a_proxy_that_says_nothing_sensible_is_refused(start_worker, header):
    worker = start_worker(enable_proxy_protocol=True)
    with worker.client() as client:
        client.send(header + b"GET /environ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 400


def test_a_stranger_cannot_speak_for_others(start_worker):
    worker = start_worker(enable_proxy_protocol=True, trusted_proxies=["192.0.2.0/24"])
    with HttpClient(worker.http) as client:
        client.send(b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 400
    assert http_get(worker.http, "/").body == b"hello"
