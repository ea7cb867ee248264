"""A worker's loop with its threads, inside the process that fuzzes it; behind it an app that also does what is wrong.

The danger here is to miss a failure: the server catches its own errors so that one connection cannot harm another, so
its log is read, and connections and descriptors are counted after each batch.
"""

import contextlib
import gc
import os
import socket
import struct
import tempfile
import threading
import time
from typing import Any, Self

from tests.worker_settings import WorkerSettings
from vassal import logs, worker
from vassal.heads import Stamp
from vassal.loader import Apps
from vassal.loop import Limits, Loop, Port
from vassal.net import Listener
from vassal.protocol.http import HttpProtocol
from vassal.protocol.uwsgi import UwsgiProtocol
from vassal.scoreboard import Scoreboard
from vassal.trust import Trust
from vassal.wsgi import Gateway

PATIENCE = 4.0
"""Seconds that a client waits for the server to answer or to hang up, once it has said all."""
THREADS = 2
_RESET = struct.pack("ii", 1, 0)
_LARGE = b"x" * 400_000
_PLAIN = [("Content-Type", "text/plain")]


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """What it does depends on the path."""
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"]
    if path == "/raise":
        raise RuntimeError("as wanted")
    if path == "/read":
        read = body.read()
        start_response("200 OK", _PLAIN)
        return [read]
    if path == "/partial":
        body.read(2)
    if path in ("/held", "/late-close"):
        return _Held(body.read(), start_response, path)
    if path == "/late":
        return _late(body, start_response)
    if path == "/stream":
        start_response("200 OK", _PLAIN)
        return (piece for piece in (b"a", b"", body.read(), b"b" * 1000))
    if path == "/write":
        write = start_response("200 OK", [*_PLAIN, ("Content-Length", "3")])
        write(b"too much for this length")
        return []
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the server closes it
        file.write(b"f" * 5000)
        file.seek(1000)
        start_response("200 OK", _PLAIN)
        return environ["wsgi.file_wrapper"](file)
    if path == "/large":
        start_response("200 OK", _PLAIN)
        return [_LARGE]
    start_response("204 No Content" if path == "*" else "200 OK", _PLAIN)
    return [b"ok"]


class _Held:
    """Its only piece is the whole body; then it goes on for a while, or fails at its end."""

    def __init__(self, body: bytes, start_response: Any, path: str) -> None:
        start_response("200 OK", [*_PLAIN, ("Content-Length", str(len(body)))])
        self.pieces = iter((body,))
        self.wait = 0.0055 if path == "/late-close" and body[-1:] == b"1" else 0.0

    def __iter__(self) -> Any:
        return self.pieces

    def close(self) -> None:
        time.sleep(self.wait)


def _late(body: Any, start_response: Any) -> Any:
    start_response("200 OK", _PLAIN)
    yield b"first"
    yield body.read()
    raise RuntimeError("as wanted, in the middle")


class FuzzServer:
    """Serves `app` over one protocol, on a UNIX socket without a name in the file system."""

    def __init__(self, protocol: str) -> None:
        board = Scoreboard(1, THREADS)
        limits = Limits(in_memory=200, limit_post=50_000)
        self.loop = Loop(limits, Stamp(), THREADS, lambda thread: board.row(1, thread))
        self.loop.gateway = Gateway(self.loop, Apps(default=app))
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind("")
        self._sock.listen(64)
        self._sock.setblocking(False)
        self._address = self._sock.getsockname()
        listener = Listener(self._sock, protocol, "fuzz")
        speaks = HttpProtocol(buffer_size=8192, limit_post=50_000) if protocol == "http" else UwsgiProtocol()
        facts = worker._facts(listener, WorkerSettings(threads=THREADS))
        meet = worker._meeting(socket.AF_UNIX, Trust(()), proxied=False)
        self.loop.ports = [Port(listener, facts, speaks.parse, meet)]
        self.errors: list[str] = []
        self._descriptors: set[str] = set()
        self._thread = threading.Thread(target=self.loop.crew.run, daemon=True)

    def __enter__(self) -> Self:
        self._say = logs.say
        logs.say = self._hear
        self.loop.start_accepting()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        logs.say = self._say
        self.loop.crew.stop()
        self.loop.kick()
        self._thread.join(5)
        self._sock.close()

    def _hear(self, text: str) -> None:
        if text.startswith("an error in the server itself"):
            self.errors.append(text)

    def ask(self, pieces: list[bytes], manner: str) -> bytes:
        """Send the pieces; as a patient client then read until the server hangs up, else leave or reset at once."""
        answers = b""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self._address)
            try:
                for piece in pieces:
                    sock.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                manner = manner.replace("patient", "refused")
            if manner in ("patient", "refused"):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                try:
                    while part := sock.recv(65536):
                        answers += part
                except ConnectionResetError:
                    pass
                except TimeoutError:
                    raise AssertionError(f"no end within {PATIENCE:g} s, only {answers[:200]!r}") from None
            elif manner == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self.errors:
            raise AssertionError(self.errors.pop())
        return answers

    def ask_all(self, asked: list[list[bytes]]) -> list[bytes]:
        """Send what several clients say at once, piece by piece in turn; return what each gets to its end."""
        answers = []
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in asked]
            for sock in socks:
                sock.settimeout(PATIENCE)
                sock.connect(self._address)
            for turn in range(max(map(len, asked))):
                for sock, pieces in zip(socks, asked, strict=True):
                    if turn < len(pieces):
                        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                            sock.sendall(pieces[turn])
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
            for sock in socks:
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := sock.recv(65536):
                        answer += part
                answers.append(answer)
        if self.errors:
            raise AssertionError(self.errors.pop())
        return answers

    def check(self) -> None:
        """Nothing is left of the clients so far.

        Raises:
            AssertionError: a connection or a descriptor stays.
        """
        end = time.monotonic() + PATIENCE
        while self.loop.conns and time.monotonic() < end:
            time.sleep(0.01)
        assert not self.loop.conns, f"{len(self.loop.conns)} connections stay: {list(self.loop.conns.values())[:3]}"
        gc.collect()  # an app's file may hang in the traceback of what it raised
        found = set()
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
                found.add(os.readlink(f"/proc/self/fd/{fd}"))
        self._descriptors = self._descriptors or found
        new = found - self._descriptors
        assert len(new) <= 4, f"descriptors stay open: {sorted(new)}"
