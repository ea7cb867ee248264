"""A real worker behind real sockets, driven by the test in place of its master."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import Address, HttpClient
from tests.harness import wait_until
from vassal import channel
from vassal.channel import Accept, Loaded, Message, Retire

HERE = Path(__file__).parent
PATIENCE = 20.0


class WorkerProcess:
    """One worker; `http`, `uwsgi` and `unix` (HTTP, too) are its addresses."""

    def __init__(
        self,
        directory: Path,
        *,
        lazy: bool = True,
        listeners: list[socket.socket] | None = None,
        board: tuple[int, int, int] | None = None,
        grace: float | None = None,
        **settings: Any,
    ):
        self.log_path = directory / f"worker-{os.urandom(4).hex()}.log"
        self.owns = listeners is None
        self.sockets = listeners or make_listeners(directory)
        self.http: Address = self.sockets[0].getsockname()
        self.uwsgi: Address = self.sockets[1].getsockname()
        self.unix: Address = "@" + self.sockets[2].getsockname()[1:].decode()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(PATIENCE)
        settings.setdefault("module", "apps:application")
        given = {
            "settings": settings,
            "lazy": lazy,
            "apps": str(HERE),
            "listeners": [(s.fileno(), p) for s, p in zip(self.sockets, ("http", "uwsgi", "http"), strict=True)],
        }
        if board is not None:  # this worker's number, how many there are, and the memory that they share
            given["board"] = board
        if grace is not None:  # seconds instead of those that a retiring worker gives its idle clients
            given["grace"] = grace
        with theirs, self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "process.py"), str(theirs.fileno()), json.dumps(given)],
                pass_fds=[theirs.fileno(), *(s.fileno() for s in self.sockets), *((board[2],) if board else ())],
                stdout=log,
                stderr=log,
                cwd=directory,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> Message | None:
        """The worker's next word; None: its channel is closed."""
        packet = self.channel.recv(channel.MAX_PACKET)
        return channel.decode(packet) if packet else None

    def start(self) -> "WorkerProcess":
        assert self.hear() == Loaded(), self.log
        self.say(Accept())
        return self

    def say(self, message: Message) -> None:
        assert channel.send(self.channel, message)

    def retire(self, mercy: float = 10.0) -> None:
        self.say(Retire(mercy))

    def wait(self, timeout: float = PATIENCE) -> int:
        return self.process.wait(timeout)

    def client(self, address: Address | None = None, timeout: float = PATIENCE) -> HttpClient:
        return HttpClient(address or self.http, timeout)

    def listens(self) -> bool:
        """Whether it still has its listeners open."""
        inodes = {os.fstat(sock.fileno()).st_ino for sock in self.sockets}
        links = {os.readlink(entry) for entry in Path(f"/proc/{self.pid}/fd").iterdir() if entry.is_symlink()}
        return any(f"socket:[{inode}]" in links for inode in inodes)

    def logs(self, text: str) -> None:
        wait_until(lambda: text in self.log, PATIENCE, lambda: f"{text!r} in the log:\n{self.log}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.channel.close()
        if self.owns:
            for sock in self.sockets:
                sock.close()


def make_listeners(directory: Path) -> list[socket.socket]:
    """HTTP, uwsgi and HTTP on a UNIX socket."""
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(f"\0vassal-worker-test-{os.urandom(8).hex()}")
    unix.listen(512)
    return [*sockets, unix]


@pytest.fixture
def make_worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., WorkerProcess]]:
    """A factory of workers that have not been told to accept; ended after the test."""
    made: list[WorkerProcess] = []

    def make(**arguments: Any) -> WorkerProcess:
        made.append(WorkerProcess(tmp_path, **arguments))
        return made[-1]

    yield make
    for worker in made:
        worker.close()
        request.node.add_report_section("teardown", "worker log", worker.log)
    for worker in made:
        assert "error in the server itself" not in worker.log, worker.log


@pytest.fixture
def start_worker(make_worker: Callable[..., WorkerProcess]) -> Callable[..., WorkerProcess]:
    """A factory of workers that accept."""
    return lambda **arguments: make_worker(**arguments).start()
