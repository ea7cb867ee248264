"""Clients for tests: raw HTTP/1.1 (keep-alive, pipelining), the uwsgi protocol, and a load that counts what fails.

They are deliberately not a library's: a test must see each byte, and a client that retries or pools on its own would
hide just the failures that the tests look for.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

Address = tuple[str, int] | str | Path
"""(host, port), or the path of a UNIX socket; a leading ``@`` is an abstract one."""

TIMEOUT = 20.0
"""Seconds that one read or connect may take."""


def connect(address: Address, timeout: float = TIMEOUT) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=timeout)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    path = str(address)
    try:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
    except BaseException:
        sock.close()
        raise
    return sock


def refuses(address: Address) -> bool:
    """Whether a connection to the address is refused (or its UNIX socket is not there)."""
    try:
        connect(address, timeout=2).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


@dataclass(frozen=True)
class Response:
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def closes(self) -> bool:
        return (self.header("connection") or "").lower() == "close"


class HttpClient:
    """One connection: requests go out as written, responses are read one at a time."""

    def __init__(self, address: Address, timeout: float = TIMEOUT) -> None:
        self.sock = connect(address, timeout)
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def send(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def send_request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        lines = {"Host": "test", **(headers or {})}
        if body and "Transfer-Encoding" not in lines:
            lines.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        self.send_request(method, target, headers=headers, body=body)
        return self.response(head=method == "HEAD")

    def get(self, target: str = "/", **headers: str) -> Response:
        return self.request("GET", target, headers=headers)

    def pipeline(self, requests: Sequence[tuple[str, str]]) -> list[Response]:
        """Send all requests (method, target) in one write, then read all responses."""
        self.send(b"".join(f"{m} {t} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for m, t in requests))
        return [self.response(head=method == "HEAD") for method, _ in requests]

    def _line(self) -> str:
        line = self._file.readline(65537)
        if not line.endswith(b"\n"):
            raise ConnectionError(f"connection closed in the middle of a response, after {line!r}")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise ConnectionError(f"connection closed: {len(data)} of {size} bytes of the body came")
        return data

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().partition(";")[0], 16):
            yield self._exactly(size)
            self._exactly(2)
        while self._line():
            pass

    def response(self, *, head: bool = False) -> Response:
        """Read one response. Raises ConnectionError when the connection ends early."""
        while True:
            version, status, reason, *_ = [*self._line().split(" ", 2), "", ""]
            if not version.startswith("HTTP/1."):
                raise ConnectionError(f"not an HTTP response: {version!r}")
            headers: list[tuple[str, str]] = []
            while line := self._line():
                key, _, value = line.partition(":")
                headers.append((key, value.strip()))
            if not 100 <= int(status) < 200:
                break
        found = Response(int(status), reason, tuple(headers), b"")
        if head or found.status in {204, 304}:
            return found
        length = found.header("content-length")
        if (found.header("transfer-encoding") or "").lower() == "chunked":
            body = b"".join(self._chunks())
        elif length is not None:
            body = self._exactly(int(length))
        else:
            body = self._file.read()
        return Response(found.status, reason, found.headers, body)


def http_get(address: Address, target: str = "/", *, timeout: float = TIMEOUT, **headers: str) -> Response:
    """One GET on a connection of its own."""
    with HttpClient(address, timeout) as client:
        return client.request("GET", target, headers={"Connection": "close", **headers})


def http_post(address: Address, target: str, body: bytes, *, timeout: float = TIMEOUT, **headers: str) -> Response:
    with HttpClient(address, timeout) as client:
        return client.request("POST", target, headers={"Connection": "close", **headers}, body=body)


def uwsgi_packet(variables: Mapping[str, str], *, modifier1: int = 0, modifier2: int = 0) -> bytes:
    """A request head of the uwsgi protocol: little-endian sizes before each key and value."""
    block = b"".join(
        struct.pack("<H", len(part)) + part
        for pair in variables.items()
        for part in (pair[0].encode("latin-1"), pair[1].encode("latin-1"))
    )
    return struct.pack("<BHB", modifier1, len(block), modifier2) + block


def uwsgi_request(
    address: Address,
    target: str = "/",
    *,
    method: str = "GET",
    body: bytes = b"",
    timeout: float = TIMEOUT,
    **variables: str,
) -> Response:
    """One request over the uwsgi protocol, with the variables that nginx's ``uwsgi_params`` sends."""
    path, _, query = target.partition("?")
    packet = {
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "REQUEST_URI": target,
        "PATH_INFO": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
        "SERVER_PORT": "80",
        "SERVER_NAME": "test",
        "HTTP_HOST": "test",
        **variables,
    }
    with HttpClient(address, timeout) as client:
        client.send(uwsgi_packet(packet) + body)
        return client.response(head=method == "HEAD")


@dataclass
class Load:
    """What a LoadGenerator saw. Latencies are seconds, in the order of completion."""

    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return len(self.latencies)


class LoadGenerator:
    """Threads that ask one address again and again; anything but a 200 with a whole body is a failure.

    With ``keep_alive`` a connection is used until the server says ``Connection: close``; otherwise each request has a
    connection of its own, which is the harder test of a reload. Distinct bodies are counted in ``answers``.
    """

    def __init__(
        self,
        address: Address,
        target: str = "/",
        *,
        threads: int = 2,
        keep_alive: bool = False,
        pause: float = 0.0,
    ) -> None:
        self.load = Load()
        self._address, self._target, self._keep_alive, self._pause = address, target, keep_alive, pause
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Load:
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 5)
        return self.load

    def _run(self) -> None:
        client: HttpClient | None = None
        while not self._stopped.wait(self._pause):
            began = time.monotonic()
            try:
                client = client or HttpClient(self._address)
                headers = {} if self._keep_alive else {"Connection": "close"}
                answer = client.request("GET", self._target, headers=headers)
                failure = None if answer.status == 200 else f"{answer.status} {answer.body[:200]!r}"
            except (OSError, ValueError) as error:
                answer, failure = None, f"{type(error).__name__}: {error}"
            with self._lock:
                if failure is not None or answer is None:
                    self.load.failures.append(str(failure))
                else:
                    self.load.latencies.append(time.monotonic() - began)
                    text = answer.body[:200].decode("latin-1")
                    self.load.answers[text] = self.load.answers.get(text, 0) + 1
            if client is not None and (answer is None or answer.closes or not self._keep_alive):
                with contextlib.suppress(OSError):
                    client.close()
                client = None
        if client is not None:
            client.close()
