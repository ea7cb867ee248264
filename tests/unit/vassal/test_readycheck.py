"""The health gate: what is asked, and what counts as good."""

import pytest

from vassal.readycheck import ReadyCheck


@pytest.fixture
def check():
    gate = ReadyCheck("/health", 1.0)
    yield gate
    gate.close()


def test_what_is_asked(check):
    check.ask()
    head = check.worker.recv(4096).decode()
    assert head.startswith("GET /health HTTP/1.1\r\nHost: localhost\r\n")
    assert head.endswith("\r\n\r\n")


def test_another_host_is_asked_for():
    gate = ReadyCheck("http://shop.example:80/health?deep=1", 1.0)
    gate.ask()
    assert gate.worker.recv(4096).startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: shop.example:80\r\n")
    gate.close()


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"HTTP/1.1 200 OK\r\n", ""),
        (b"HTTP/1.1 302 Found\r\n", ""),
        (b"HTTP/1.1 500 Oh\r\n", "/health was answered with 500"),
        (b"HTTP/1.1 404 No\r\n", "/health was answered with 404"),
        (b"SSH-2.0-OpenSSH" * 6, "/health was not answered in HTTP"),
    ],
)
def test_what_counts(check, answer, verdict):
    check.worker.sendall(answer)
    assert check.hear() == verdict


def test_an_answer_may_come_in_pieces_or_never(check):
    assert check.hear() is None
    for byte in b"HTTP/1.1 204":
        check.worker.sendall(bytes((byte,)))
        assert check.hear() is None
    check.worker.sendall(b" ")
    assert check.hear() == ""


def test_a_worker_that_hangs_up_has_not_answered(check):
    check.worker.close()
    assert "was not answered" in check.hear()
