"""Fixtures and rules for every test.

The danger here is a test that is silently not run: what needs root or nginx is skipped with the reason where that is
missing, and in CI it fails instead.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness import EmperorProcess, interpreter_is_private, nginx_command, unavailable, wait_until

hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")  # no test asserts a speed: machines that run tests are busy

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell without job control ignores it for what runs in the background: so would all that tests start."""

_emperors: dict[str, list[EmperorProcess]] = {}
"""The emperors of a running test or module, by node id: their logs go into the report when a test fails."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        unavailable("needs root: it makes users and takes their identities")
    if item.get_closest_marker("nginx") is not None and nginx_command() is None:
        unavailable("needs nginx: apt install nginx-light")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the hook's result is passed through
    report = yield
    if report.failed:
        started = [*_emperors.get(item.nodeid, []), *_emperors.get(item.nodeid.partition("::")[0], [])]
        for number, emperor in enumerate(started, 1):
            report.sections.append((f"emperor {number}", emperor.report()))
    if call.when == "teardown":
        _emperors.pop(item.nodeid, None)
    return report


@pytest.fixture
def make_emperor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., EmperorProcess]]:
    """A factory: `make_emperor(directory=None, **EmperorProcess arguments)`, not yet started; closed after the test."""
    for earlier in {"users", "open_path"}.intersection(request.fixturenames):
        request.getfixturevalue(earlier)  # set up before, so torn down after: users go when their processes are gone
    made = _emperors.setdefault(request.node.nodeid, [])

    with contextlib.ExitStack() as closing:  # closes every one, whatever the others do

        def make(directory: Path | None = None, **arguments: object) -> EmperorProcess:
            emperor = EmperorProcess(directory or tmp_path, **arguments)
            made.append(emperor)
            closing.callback(emperor.close)
            return emperor

        yield make


@pytest.fixture
def start_emperor(make_emperor: Callable[..., EmperorProcess]) -> Callable[..., EmperorProcess]:
    """A factory like make_emperor whose emperors are started and ready."""
    return lambda directory=None, **arguments: make_emperor(directory, **arguments).start()


@pytest.fixture(scope="module")
def start_shared_emperor(request: pytest.FixtureRequest) -> Iterator[Callable[..., EmperorProcess]]:
    """A factory like start_emperor, of emperors that the tests of a module share, closed after the last of them."""
    made = _emperors.setdefault(request.node.nodeid, [])

    with contextlib.ExitStack() as closing:

        def start(directory: Path, **arguments: object) -> EmperorProcess:
            emperor = EmperorProcess(directory, **arguments)
            made.append(emperor)
            closing.callback(emperor.close)
            return emperor.start()

        yield start
    _emperors.pop(request.node.nodeid)


@pytest.fixture
def emperor(start_emperor: Callable[..., EmperorProcess]) -> EmperorProcess:
    """A ready emperor on an empty place, in tmp_path."""
    return start_emperor()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary directory that other users may enter (pytest's tmp_path is closed to them)."""
    path = Path(tempfile.mkdtemp(prefix="emperor-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _account(*command: str) -> None:
    """Run useradd or userdel, which give up at once while another test run holds the lock of /etc/passwd."""
    end = time.monotonic() + 20
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert "lock" in done.stderr, f"{' '.join(command)}: {done.stderr}"
        assert time.monotonic() < end, f"{' '.join(command)}: {done.stderr}"
        time.sleep(0.1)


@pytest.fixture
def users() -> Iterator[Callable[[], pwd.struct_passwd]]:
    """A factory of system users that exist for one test: `users()` returns the next one's passwd entry."""
    if os.geteuid() != 0:
        unavailable("needs root: it makes users")
    private = interpreter_is_private()
    if private is not None:
        unavailable(f"other users cannot enter {private}, where this Python or checkout lies")
    names: list[str] = []

    def make() -> pwd.struct_passwd:
        name = f"emp{os.getpid()}x{time.monotonic_ns() % 10**8}"
        _account("useradd", "-M", "-U", "-K", "UID_MIN=20000", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name)
        names.append(name)
        return pwd.getpwnam(name)

    yield make
    for name in names:
        uid = pwd.getpwnam(name).pw_uid
        wait_until(lambda uid=uid: not _pids_of(uid), 10, f"no process of {name} to be left")
        _account("userdel", name)


def _pids_of(uid: int) -> list[int]:
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == uid:
                    pids.append(int(entry))
    return pids
