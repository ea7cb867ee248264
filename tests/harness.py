"""What every test of the real thing shares: ports, waiting, and an emperor that is proven to leave nothing behind.

The danger here is a check that cannot fail: `EmperorProcess.close` must see *every* process that its emperor
started, so it counts the children of a subreaper (tests/nanny.py) instead of the pids that the emperor admits to.
"""

import contextlib
import functools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil
import pytest

from emperor.control_client import ControlClient
from tests import ahead

T = TypeVar("T")

CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

ROOT = Path(__file__).resolve().parent.parent
EMPEROR = [str(Path(sys.executable).with_name("emperor"))]
"""The command under test: the console script that belongs to this interpreter."""

PORTS = range(20000, 32000)
"""Below the kernel's range for outgoing connections, which could otherwise take a port between choice and use."""

_claims: list[socket.socket] = []


def unavailable(reason: str) -> NoReturn:
    """Skip a test whose surroundings are missing; in CI nothing may be missing."""
    if CI:
        pytest.fail(f"CI must provide what this test needs: {reason}", pytrace=False)
    pytest.skip(reason)


def nginx_command() -> str | None:
    # Debian keeps it in /usr/sbin, which an ordinary user's PATH does not name.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A TCP port that nobody listens on and that no other test run on this machine was given."""
    while True:
        port = random.choice(PORTS)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(f"\0emperor-test-port-{port}")  # held until this test run ends
                probe.bind(("0.0.0.0", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port


def wait_until(
    condition: Callable[[], T], deadline: float = 10.0, message: str | Callable[[], str] = "the condition"
) -> T:
    """Return the first true result of the condition; AssertionError after ``deadline`` seconds.

    ``message`` (or its result, asked at the end) says what was waited for.
    """
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            text = message() if callable(message) else message
            raise AssertionError(f"not within {deadline:g} s: {text} (last seen: {result!r})")
        time.sleep(0.02)


def command_line(process: psutil.Process) -> str:
    """What ``ps`` shows of a process; "" for one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie, too
        return ""


def process_name(process: psutil.Process) -> str:
    """The name of a process's program; "" for one that has just ended."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def write_file(path: Path, text: str) -> Path:
    """Replace a file in one step, as a careful deployment does: nobody ever sees a half of it.

    Its time grows by whole seconds: Python takes a module for unchanged that has the same size within one second.
    """
    before = path.stat().st_mtime_ns if path.exists() else 0
    hidden = path.with_name(f".{path.name}.new")
    hidden.write_text(text)
    if before:
        later = max(time.time_ns(), before + 2_000_000_000)
        os.utime(hidden, ns=(later, later))
    hidden.rename(path)
    return path


def touch_file(path: Path) -> None:
    """Like touch(1), but the time always grows: two touches within one tick of the kernel's clock are two."""
    now = max(time.time_ns(), path.stat().st_mtime_ns + 1)
    os.utime(path, ns=(now, now))


def write_app(directory: Path, name: str = "app", answer: str = "hello") -> Path:
    """Write a WSGI module: ``/`` answers the text, ``/pid`` the worker's pid, ``/slow`` after half a second."""
    source = f"""\
import os
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(0.5)
    body = str(os.getpid()).encode() if path == "/pid" else {answer!r}.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
    return write_file(directory / f"{name}.py", source)


def vassal_text(port: int, module: str = "app:application", **options: object) -> str:
    """The text of a vassal file on 127.0.0.1:port; ``virtualenv_`` and the like: a trailing underscore is dropped."""
    lines = {"http-socket": f"127.0.0.1:{port}", "module": module}
    lines |= {key.rstrip("_").replace("_", "-"): str(value) for key, value in options.items()}
    return "[uwsgi]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


class EmperorProcess:
    """A real ``emperor run`` with its own control socket, log directory and place for vassals.

    With `minute_in` the wall clock of the whole fleet is ahead: its next minute begins that many seconds from now.

    Attributes:
        directory: everything lives below it; ``vassals`` is the default place, ``logs`` the emperor-log-dir.
        log: what the emperor wrote to standard output and error.
        pid: of the emperor itself.
        exitcode: None while it runs; negative: the signal that ended it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        places: Sequence[str | Path] | None = None,
        settings: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        minute_in: float | None = None,
    ) -> None:
        self.directory = directory
        self.vassals = directory / "vassals"
        self.logs = directory / "logs"
        self.control = directory / "control.sock"
        self.log = directory / "emperor.log"
        for made in (self.vassals, self.logs):
            made.mkdir(exist_ok=True)
        self.command = list(command) or self._command(places, settings or {}, arguments)
        if minute_in is not None:
            seconds = ahead.seconds_to(minute_in)
            python = ahead.write_python(directory / "python-ahead", seconds)
            self.command = [sys.executable, ahead.__file__, str(seconds), str(python), *self.command]
        self.env = {**os.environ, **(env or {})}
        self.pid = 0
        self.exitcode: int | None = None
        self.empty = False
        self._nanny: subprocess.Popen[bytes] | None = None
        self._report = -1
        self._pending = b""
        self._log_start = 0

    def _command(
        self, places: Sequence[str | Path] | None, settings: Mapping[str, str], arguments: Sequence[str]
    ) -> list[str]:
        merged = {"emperor-log-dir": str(self.logs), **settings}
        sets = [part for key, value in merged.items() for part in ("--set", f"{key}={value}")]
        where = [str(place) for place in ([self.vassals] if places is None else places)]
        return [*EMPEROR, "run", *where, "--control", str(self.control), *sets, *arguments]

    # -- its life

    def start(self, *, ready: bool = True, deadline: float = 20.0) -> "EmperorProcess":
        """Start it; with ``ready`` wait for its ready line. After `close` it can be started again."""
        assert self._nanny is None, "close it before it is started again"
        self.pid, self.exitcode, self.empty = 0, None, False
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._report, writer = os.pipe2(os.O_CLOEXEC)
        nanny = [sys.executable, "-I", "-S", str(ROOT / "tests" / "nanny.py"), str(writer)]
        with self.log.open("ab") as log:
            self._nanny = subprocess.Popen(
                [*nanny, *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                env=self.env,
                cwd=self.directory,
            )
        os.close(writer)
        wait_until(self._started, 10, "the emperor's process")
        if ready:
            wait_until(lambda: self.ready_line or self.ended, deadline, "the ready line")
            assert self.ready_line, f"the emperor ended with {self.exitcode} before it was ready"
        return self

    def _started(self) -> bool:
        self._read_report()
        return self.pid != 0

    @property
    def ready_line(self) -> str | None:
        """The line of this run: a log that is used a second time holds those of earlier ones, too."""
        lines = self.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        return next((line for line in lines if line.startswith("emperor ready: ")), None)

    def _read_report(self) -> None:
        while self._report >= 0 and select.select([self._report], [], [], 0)[0]:
            data = os.read(self._report, 4096)
            if not data:
                os.close(self._report)
                self._report = -1
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                word, _, number = line.partition(b" ")
                if word == b"pid":
                    self.pid = int(number)
                elif word == b"exit":
                    self.exitcode = int(number)
                else:
                    self.empty = True

    @property
    def ended(self) -> bool:
        self._read_report()
        return self.exitcode is not None

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Send the emperor a signal."""
        assert not self.ended, f"the emperor has already ended with {self.exitcode}"
        assert self.pid > 0, "the emperor was never started"  # 0 would be this test run's own group
        os.kill(self.pid, number)

    def wait(self, deadline: float = 20.0) -> int:
        """Wait for the emperor's end and return its exit code."""
        wait_until(lambda: self.ended, deadline, "the end of the emperor")
        assert self.exitcode is not None
        return self.exitcode

    def processes(self) -> list[psutil.Process]:
        """Every living process below the emperor's parent, orphans included, zombies not."""
        assert self._nanny is not None
        try:
            below = psutil.Process(self._nanny.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        alive = []
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def wait_empty(self, deadline: float = 10.0) -> None:
        """Wait until the emperor and all that it ever started are gone."""
        wait_until(lambda: self.ended and self.empty, deadline, lambda: f"no process left: {self._names()}")

    def _names(self) -> list[str]:
        names = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(f"{process.pid} {' '.join(process.cmdline()) or process.name()}")
        return names

    def close(self) -> None:
        """Stop it and assert that it exits with 0 (unless the test ended it) and leaves no process behind."""
        if self._nanny is None:
            return
        try:
            if self.pid and not self.ended:  # kill(0) would reach this test run's own group
                with contextlib.suppress(ProcessLookupError):  # it ended just now
                    os.kill(self.pid, signal.SIGTERM)
                assert self.wait() == 0, f"the emperor exited with {self.exitcode} on SIGTERM"
            if self.pid:
                self.wait_empty()
        finally:
            assert self._nanny.stdin is not None
            self._nanny.stdin.close()  # it kills whatever is left
            self._nanny.wait(10)
            self._read_report()
            if self._report >= 0:
                os.close(self._report)
                self._report = -1
            self._nanny = None

    # -- its command line

    def cli(self, *arguments: str, deadline: float = 60.0, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run ``emperor ARGUMENTS`` against this emperor's control socket."""
        env = {**self.env, "EMPEROR_CONTROL": str(self.control)}
        done = subprocess.run(
            [*EMPEROR, *arguments], capture_output=True, text=True, timeout=deadline, env=env, check=False
        )
        if check:
            said = f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
        return done

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The fleet, by name: asked on the control socket, which costs no process as ``emperor status --json`` does."""
        return {vassal["name"]: vassal for vassal in ControlClient(str(self.control)).status()}

    def ask_and_leave(self, name: str) -> None:
        """Ask for one vassal's status as a client does who does not wait for the answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.control))
            client.sendall(json.dumps({"command": "status", "names": [name]}).encode() + b"\n")

    def status(self, name: str) -> dict[str, Any] | None:
        """One vassal's status; None when there is no such vassal."""
        return self.statuses().get(name)

    def wait_state(
        self, name: str, *states: str, generation: int | None = None, deadline: float = 20.0
    ) -> dict[str, Any]:
        """Wait until the vassal is in one of the states (and at least of that generation); return its status."""
        last: dict[str, Any] | None = None

        def there() -> dict[str, Any] | None:
            nonlocal last
            last = self.status(name)
            if last is None or last["state"] not in states:
                return None
            return last if generation is None or (last["generation"] or 0) >= generation else None

        found = wait_until(there, deadline, lambda: f"{name} in {states}, generation {generation}: {last}")
        assert found is not None
        return found

    def wait_gone(self, name: str, deadline: float = 20.0) -> None:
        wait_until(lambda: self.status(name) is None, deadline, f"{name} to be forgotten")

    # -- vassal files

    def path(self, name: str) -> Path:
        return self.vassals / (name if Path(name).suffix else f"{name}.ini")

    def write(self, name: str, text: str) -> Path:
        """Drop or replace a vassal's file; a name without an extension gets ``.ini``."""
        return write_file(self.path(name), text)

    def touch(self, name: str) -> None:
        touch_file(self.path(name))

    def delete(self, name: str) -> None:
        self.path(name).unlink()

    def vassal_log(self, name: str) -> str:
        log = self.logs / f"{name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def report(self) -> str:
        """The ends of all logs, for the report of a failed test."""
        texts = [f"$ {' '.join(self.command)}\n"]
        texts += [
            f"----- {path.name}\n{path.read_text(errors='replace')[-8000:]}"
            for path in [self.log, *sorted(self.logs.glob("*.log"))]
            if path.exists()
        ]
        return "\n".join(texts)


@functools.cache
def interpreter_is_private() -> str | None:
    """The first directory that keeps other users from this interpreter or this tree, or None."""
    for start in (ROOT, Path(sys.prefix), Path(sys.base_prefix)):
        for directory in (start, *start.parents):
            if directory.stat().st_mode & 0o001 == 0:
                return str(directory)
    return None
