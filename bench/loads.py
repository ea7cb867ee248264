"""What is done to a server: wrk for rates, a few sockets of our own for waiting times, a crowd of bad clients.

The one thing that can go wrong here is counting errors as answers: whatever is not a 200 with the right body ends the
benchmark, with the server's name.
"""

import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "serve_apps" / "load.lua"
BODY = json.dumps({"name": "x" * 500, "numbers": list(range(130))}).encode()
"""The body of a POST: about 1 KB."""
PROBE_PAUSE = 0.01
"""Seconds between two requests of a fresh client that is timed."""
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE).search
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE).search


@dataclass(frozen=True)
class Outcome:
    """What wrk saw. `rate` in requests a second, `p99` in seconds; `lost` connections broke or requests timed out."""

    rate: float
    p99: float
    lost: int
    wrong: int


def wrk(port: int, path: str, seconds: int, clients: int, kind: str) -> Outcome:
    """Let `clients` connections ask as fast as they get answers. `kind`: ``keep``, ``close`` or ``post``."""
    with tempfile.NamedTemporaryFile(prefix="bench-") as body:
        body.write(BODY)
        body.flush()
        done = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT),
             f"http://127.0.0.1:{port}{path}", "--", kind, body.name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    lost = found["connect"] + found["read"] + found["write"] + found["timeout"]
    return Outcome(found["requests"] / found["micros"] * 1e6, found["p99"] / 1e6, lost, found["status"])


def ask(port: int, path: str, body: bytes = b"", timeout: float = 10.0) -> bytes | None:
    """One request on a connection of its own; the body of a 200, None for whatever else happened."""
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    response = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
            sock.sendall(f"{head}\r\n".encode() + body)
            while not _complete(response) and (part := sock.recv(262144)):
                response += part
    except OSError:
        return None
    top, _, rest = response.partition(b"\r\n\r\n")
    if _CHUNKED(top):  # granian's files
        rest = b"".join(_chunks(rest))
    return rest if b" 200 " in top.split(b"\r\n", 1)[0] else None


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        yield data[:size]
        data = data[size + 2 :]


def _complete(response: bytes) -> bool:
    """Whether its length is announced and all is there: uWSGI's http11-socket does not close when it is asked to."""
    top, end, rest = response.partition(b"\r\n\r\n")
    if _CHUNKED(top):
        return rest.endswith(b"\r\n0\r\n\r\n")
    length = _LENGTH(top)
    return bool(end) and length is not None and len(rest) >= int(length[1])


def answered_in(port: int, path: str, seconds: float) -> list[float]:
    """Seconds that fresh clients wait, one after the other, as long as `seconds`; 10 for one without an answer."""
    waits: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        answer = ask(port, path)
        waits.append(time.perf_counter() - began if answer is not None else 10.0)
        time.sleep(PROBE_PAUSE)
    return waits


def beside(port: int, path: str, probed: str, seconds: int, clients: int) -> tuple[Outcome, list[float]]:
    """wrk on `path` and, beside it, the waits of fresh clients on `probed`."""
    waits: list[float] = []
    thread = threading.Thread(target=lambda: waits.extend(answered_in(port, probed, seconds - 0.5)))
    thread.start()
    outcome = wrk(port, path, seconds, clients, "keep")
    thread.join()
    return outcome, waits


@contextlib.contextmanager
def crowd(port: int, path: str, program: str) -> Iterator[None]:
    """The clients of `program` (crowd.py, downloads.py), as long as the block lasts.

    Raises:
        SystemExit: they did not all get in.
    """
    command = [sys.executable, str(Path(__file__).with_name(program)), str(port), path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit("the crowd did not get in")
            # 500 requests for 1 MB arrive together; who comes just then waits, whoever else is there: not timed.
            ask(port, "/")
            yield
        finally:
            process.stdin.close()
