"""PEP 3333 over a real socket."""

import hashlib
import json
import os
import socket

import pytest

from tests.clients import http_get, http_post
from tests.harness import wait_until
from tests.integration.worker.apps import BIG, LARGE
from tests.integration.worker.conftest import PATIENCE
from vassal.awaited import CONTINUE


@pytest.fixture
def worker(start_worker):
    return start_worker()


def test_a_plain_response(worker):
    with worker.client() as client:
        response = client.get("/")
        assert (response.status, response.reason, response.body) == (200, "OK", b"hello")
        assert response.header("server") == "emperor"
        assert response.header("date").endswith(" GMT")
        assert client.get("/").body == b"hello", "the connection is kept"


@pytest.mark.parametrize("kind", ["", "write", "generator", "readline"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_wsgiref_validate_finds_nothing(worker, kind, method):
    with worker.client() as client:
        response = client.request(method, f"/valid?{kind}", body=b"some\nbody\n" if method == "POST" else b"")
        assert response.status == 200, worker.log
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/write", b"one two three"),
        ("/generator", b"a" + b"b" * 10 + b"c"),
        ("/pieces", b"abc"),
        ("/empty", b""),
        ("/filelike", b"filelike " * 10000),
        ("/filelength", b"23456"),
        ("/excinfo", b"oh"),
        ("/lazy", b"lazy"),
        ("/bytes", b"bytes"),
    ],
)
def test_bodies(worker, path, body):
    with worker.client() as client:
        assert client.get(path).body == body
        assert client.get(path).body == body, "the connection is kept"
    with worker.client() as client:  # HTTP/1.0: the end of the connection ends the body
        client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert client.response().body == body
        assert client.sock.recv(1) == b""


def test_a_list_has_a_length_and_a_generator_has_chunks(worker):
    with worker.client() as client:
        assert client.get("/pieces").header("content-length") == "3"
        assert client.get("/empty").header("content-length") == "0"
        assert client.get("/generator").header("transfer-encoding") == "chunked"
        assert client.get("/file?52428796").header("content-length") == "4"


@pytest.mark.parametrize("path", ["/", "/pieces", "/generator", "/write", "/big", "/file", "/empty"])
def test_head_has_no_body(worker, path):
    with worker.client() as client:
        assert client.request("HEAD", path).status == 200
        assert client.get("/").body == b"hello"


def test_a_head_says_nothing_of_a_body_that_the_app_left_out(worker):
    with worker.client() as client:
        for path in ("/aware", "/empty"):
            head = client.request("HEAD", path)
            assert head.header("content-length") is None, "what a GET would get is not known"
        assert client.get("/aware").header("content-length") == "5"
        assert client.request("HEAD", "/pieces").header("content-length") == "3"


@pytest.mark.parametrize("request_line", ["HEAD /events", "GET /events?204%20Gone", "GET /events?304%20Same"])
def test_a_stream_of_which_nothing_can_be_sent_is_not_waited_for(worker, request_line):
    with worker.client() as client:
        client.send(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.response(head=True)
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize("path", ["/late", "/late_length", "/short", "/closing_raise?/dev/null"])
def test_a_head_is_complete_whatever_the_app_does_behind_it(worker, path):
    for version in (b"1.1", b"1.0"):
        with worker.client() as client:
            client.send(b"HEAD %b HTTP/%b\r\nHost: x\r\nConnection: close\r\n\r\n" % (path.encode(), version))
            assert client.response(head=True).status == 200
            assert client.sock.recv(1) == b"", "an end, no reset"


@pytest.mark.parametrize(("path", "status"), [("/204", 204), ("/304", 304)])
def test_statuses_without_a_body(worker, path, status):
    with worker.client() as client:
        response = client.get(path)
        assert response.status == status
        assert response.header("content-length") is None
        assert response.header("transfer-encoding") is None
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize(
    "path",
    [
        "/raise",
        "/exit",
        "/twice",
        "/nostart",
        "/none",
        "/text",
        "/badheader",
        "/badname",
        "/badstatus",
        "/unknown",
        "/cleared",
    ],
)
def test_an_error_in_the_app_is_a_500_without_details(worker, path):
    with worker.client() as client:
        response = client.get(path)
        assert response.status == 500
        assert b"secret" not in response.body
        assert b"Traceback" not in response.body
        assert response.header("x-split") is None
        assert response.header("set-cookie") is None
        assert client.get("/").body == b"hello", "the connection survives"
    worker.logs("Traceback")


def test_catch_exceptions_shows_the_traceback(start_worker):
    assert b"the secret of the app" in http_get(start_worker(catch_exceptions=True).http, "/raise").body


@pytest.mark.parametrize("path", ["/late", "/late_length", "/short", "/fileshort"])
def test_an_error_after_the_head_breaks_the_connection_visibly(worker, path):
    with worker.client() as client, pytest.raises(ConnectionError):
        client.get(path)


def test_an_error_after_the_head_resets_where_only_the_end_ends_the_body(worker):
    with worker.client() as client:
        client.send(b"GET /late HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            _read_to_the_end(client.sock)


def _read_to_the_end(sock):
    while sock.recv(65536):
        pass


def test_too_long_a_body_is_cut(worker):
    with worker.client() as client:
        assert client.get("/long").body == b"long"
        assert client.get("/").body == b"hello"


def test_headers_of_the_app(worker):
    with worker.client() as client:
        own = client.get("/own")
        assert own.all("date") == ["yesterday"]
        assert own.all("server") == ["mine"]
        assert own.header("transfer-encoding") is None
        assert client.get("/cookies").all("set-cookie") == ["a=1", "b=2"]
        assert client.get("/padded").body == b"hello"
        assert client.get("/close").closes
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize("path", ["/closing", "/closing_raise"])
def test_close_is_always_called(worker, tmp_path, path):
    mark = tmp_path / "mark"
    with worker.client() as client:
        client.send_request("GET", f"{path}?{mark}")
        wait_until(mark.exists, PATIENCE)
    assert mark.read_text() == "closed\n"


@pytest.mark.parametrize("kind", ["list", "file", "generator"])
def test_a_whole_response_reaches_its_client_whatever_the_app_raises_after_it(worker, kind):
    with worker.client(worker.unix) as client:  # whose socket holds but a part of it
        response = client.get(f"/regret?{kind}")
        assert response.body == b"x" * 4 * 1024 * 1024
        assert client.get().text == "hello", "the connection goes on"
    worker.logs("KeyError: 'too late'")


def test_close_is_called_when_the_client_leaves(worker, tmp_path):
    mark = tmp_path / "mark"
    with worker.client() as client:
        client.send_request("HEAD", f"/closing?{mark}")
    wait_until(mark.exists, PATIENCE)


def test_an_upload_of_20_mb_arrives_whole(worker):
    body = os.urandom(1024 * 1024) * 20
    response = http_post(worker.http, "/sha", body)
    assert response.text == hashlib.sha256(body).hexdigest()
    assert http_post(worker.unix, "/sha", body).text == hashlib.sha256(body).hexdigest()


def test_a_chunked_upload_has_a_length(worker):
    body = os.urandom(300_000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[i : i + 7777] for i in range(0, len(body), 7777)))
    with worker.client() as client:
        headers = {"Transfer-Encoding": "chunked"}
        assert client.request("POST", "/sha", headers=headers, body=chunks + b"0\r\n\r\n").text == (
            hashlib.sha256(body).hexdigest()
        )
        environ = client.request("POST", "/environ", headers=headers, body=b"3\r\nabc\r\n0\r\nX-T: v\r\n\r\n").text
        assert '"CONTENT_LENGTH": "3"' in environ
        assert "TRANSFER_ENCODING" not in environ


def test_bodies_that_are_not_read_do_not_disturb_the_next_request(worker):
    with worker.client() as client:
        for size in (1, 1000, 500_000):
            assert client.request("POST", "/ignore", body=b"x" * size).body == b"ignored"


def test_every_kind_of_input_can_be_wrapped_as_text(worker):
    expects = {"Expect": "100-continue", "Content-Length": "5"}
    with worker.client() as client:
        assert client.get("/wrapped").body == b""
        assert client.request("POST", "/wrapped", body=b"a\nb\nc").body == b"a\n|b\n|c"
        client.send_request("POST", "/wrapped", headers=expects)
        assert client.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        client.send(b"a\nb\nc")
        assert client.response().body == b"a\n|b\n|c"
        assert client.get("/wrapped").body == b""


def test_a_body_that_nobody_asked_for_in_time_is_an_error_for_who_reads_it_then(worker):
    with worker.client() as client:
        client.send_request("POST", "/ignore", headers={"Expect": "100-continue", "Content-Length": "5"})
        assert client.response().closes
    with worker.client() as client:
        assert b"the response is complete" in client.get("/ignored").body
        assert client.get("/hello").body == b"hello"


def test_a_body_that_comes_after_its_answer_does_not_reset_the_connection(worker):
    headers = {"Expect": "100-continue", "Content-Length": "5", "Connection": "close"}
    with worker.client() as client:
        client.send_request("POST", "/ignore", headers=headers)
        assert client.sock.recv(12, socket.MSG_WAITALL | socket.MSG_PEEK) == b"HTTP/1.1 200"
        for _ in range(3):
            client.send(b"hello")
        assert client.response().body == b"ignored"
        assert client.sock.recv(1) == b""


def test_lines_of_a_body(worker):
    assert http_post(worker.http, "/lines", b"a\nb\nc").body == b"a\n|b\n|c"


def test_a_response_of_a_mebibyte(worker):
    with worker.client() as client:
        for _ in range(3):
            assert client.get("/big").body == BIG


def test_sendfile(worker):
    with worker.client() as client:
        body = client.get("/file").body
        assert len(body) == LARGE
        assert body.endswith(b"\0tail")
        assert client.get("/file?52428796").body == b"tail"


def test_a_file_without_a_size_is_read(worker):
    assert http_get(worker.http, "/proc").body.startswith(b"Name:")


def test_a_streamed_download_of_50_mb(worker):
    digest = hashlib.sha256(b"".join(bytes([n % 251]) * 65536 for n in range(800))).hexdigest()
    assert hashlib.sha256(http_get(worker.http, "/stream?800").body).hexdigest() == digest
    assert hashlib.sha256(http_get(worker.unix, "/stream?800").body).hexdigest() == digest


def test_environ(worker):
    with worker.client() as client:
        client.send(
            b"GET /environ/?a=%20b HTTP/1.1\r\nHost: x.test:81\r\nX-One: 1\r\nX-One: 2\r\nX_Two: 3\r\nProxy: evil\r\n"
            b"Cookie: a=1\r\nCookie: b=2\r\nX-Latin: \xe4 \r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        environ = json.loads(client.response().body)
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == "/environ/"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["QUERY_STRING"] == "a=%20b"
    assert environ["REQUEST_URI"] == "/environ/?a=%20b"
    assert environ["HTTP_HOST"] == "x.test:81"
    assert environ["HTTP_X_ONE"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "ä"
    assert "HTTP_X_TWO" not in environ
    assert "HTTP_PROXY" not in environ
    assert environ["wsgi.url_scheme"] == "https", "loopback is trusted"
    assert environ["HTTPS"] == "on"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_NAME"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(worker.http[1])
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_untrusted_peers_cannot_choose_their_scheme_or_address(start_worker):
    worker = start_worker(trusted_proxies=["10.0.0.0/8"], log_x_forwarded_for=True)
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    direct = http_get(worker.http, "/environ", **headers).text
    assert '"wsgi.url_scheme": "http"' in direct
    assert '"REMOTE_ADDR": "127.0.0.1"' in direct
    through = http_get(worker.unix, "/environ", **headers).text
    assert '"wsgi.url_scheme": "https"' in through
    assert '"SERVER_PORT": "80"' in through
    assert '"REMOTE_ADDR": "192.0.2.1"' in through


def test_the_fields_of_a_connection_may_change(worker):
    """Fields that repeat are not read again (protocol/http.py); those that change must be."""
    with worker.client() as client:
        for turn in range(3):
            for value in ("a", "a", "b"):
                environ = json.loads(client.get(f"/environ?{turn}", **{"X-Value": value}).body)
                assert environ["HTTP_X_VALUE"] == value
                assert environ["QUERY_STRING"] == str(turn)
        assert '"QUERY_STRING": ""' in client.get("/environ", **{"X-Value": "b"}).text
        assert "HTTP_X_VALUE" not in client.get("/environ").text


# --- options that change what the app or the client sees -----------------------------------------------------------


def test_a_header_that_is_taken_out(start_worker):
    worker = start_worker(rem_header=("Content-Type", "server"))
    response = http_get(worker.http, "/")
    assert response.header("content-type") is None
    assert response.header("server") is None
    assert response.header("date") is not None
    assert response.body == b"hello"


@pytest.mark.parametrize("name", ["Content-Length", "date", "Transfer-Encoding"])
def test_a_header_that_a_message_needs_cannot_be_taken_out(make_worker, name):
    worker = make_worker(rem_header=(name,))
    failed = worker.hear()
    assert failed.reason == f"rem-header = {name}: this field is the server's own to set"


def test_no_file_wrapper_where_it_is_not_wanted(start_worker):
    def offered(worker):
        return "wsgi.file_wrapper" in json.loads(http_get(worker.http, "/keys").body)

    assert offered(start_worker())
    assert not offered(start_worker(wsgi_disable_file_wrapper=True))


def test_the_apps_arguments_and_imports(start_worker):
    worker = start_worker(pyargv="--one two", import_=("this_is_imported",))
    found = json.loads(http_get(worker.http, "/process").body)
    assert found["argv"] == ["uwsgi", "--one", "two"]
    assert found["imported"]


def test_an_import_that_fails_is_a_failed_start(make_worker):
    assert "no_such_module" in make_worker(import_=("no_such_module",)).hear().reason
