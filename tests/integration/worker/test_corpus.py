"""Every request of the corpus against a real worker: sent whole, byte by byte, and behind another request."""

import json
import socket

import pytest

from tests.clients import HttpClient
from tests.corpus_reader import Case, cases
from tests.integration.worker.conftest import WorkerProcess

FIRST = b"GET /first HTTP/1.1\r\nHost: first\r\n\r\n"
BYTEWISE_LIMIT = 2000
"""Bytes of a request up to which it is sent byte by byte: the large ones differ in nothing but their size."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One worker for all: a refused request must cost its connection and nothing else."""
    worker = WorkerProcess(
        tmp_path_factory.mktemp("corpus"), module="apps:do_look", threads=2, limit_post=1 << 20, http_timeout=20
    ).start()
    yield worker
    assert worker.process.poll() is None, worker.log
    worker.close()
    assert "error in the server itself" not in worker.log, worker.log


def test_the_corpus_is_large():
    assert len(cases("valid")) + len(cases("invalid")) >= 150


def send(client: HttpClient, case: Case, manner: str) -> None:
    if manner == "bytewise" and len(case.raw) <= BYTEWISE_LIMIT:
        # On a UNIX socket each write is one read, unless the reader is late.
        for byte in case.raw:
            try:
                client.send(bytes((byte,)))
            except (BrokenPipeError, ConnectionResetError):
                return  # refused before it was complete
    else:
        try:
            client.send(case.raw)
        except (BrokenPipeError, ConnectionResetError):
            return


@pytest.mark.parametrize("manner", ["whole", "bytewise", "pipelined"])
@pytest.mark.parametrize("case", cases("invalid"), ids=lambda case: case.name)
def test_invalid(worker, case, manner):
    with worker.client(worker.unix) as client:
        if manner == "pipelined":
            client.send(FIRST + case.raw)
            assert client.response().status == 200
        else:
            send(client, case, manner)
        client.sock.shutdown(socket.SHUT_WR)
        response = client.response()
        assert (response.status,) == case.expected, worker.log
        assert response.closes
        assert client._file.read() == b"", "nothing of it is taken for another request"


@pytest.mark.parametrize("manner", ["whole", "bytewise", "pipelined"])
@pytest.mark.parametrize("case", cases("valid"), ids=lambda case: case.name)
def test_valid(worker, case, manner):
    with worker.client(worker.unix) as client:
        if manner == "pipelined":
            client.send(FIRST + case.raw + (FIRST if b"HTTP/1.0" not in case.raw else b""))
            assert json.loads(client.response().body)["path"] == "/first"
        else:
            send(client, case, manner)
        for expected in case.expected:
            response = client.response()
            assert response.status == 200, response.body
            seen = json.loads(response.body)
            for key in ("method", "path", "query", "body"):
                assert seen[key] == expected[key]
            for key, value in expected["headers"].items():
                assert seen["headers"].get(key) == value
        if manner == "pipelined" and b"HTTP/1.0" not in case.raw:
            assert json.loads(client.response().body)["path"] == "/first"
