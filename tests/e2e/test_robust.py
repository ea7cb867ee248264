"""What must not take a vassal down, nor outlive its emperor: hanging imports, greedy apps, full disks."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import HttpClient, http_get
from tests.harness import command_line, free_port, vassal_text, wait_until, write_file

VASSAL = [str(Path(sys.executable).with_name("vassal"))]

ANSWER = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid() if environ["PATH_INFO"] == "/pid" else os.environ.get("COLOUR")).encode()]
"""
HANGS = """\
import pathlib, time
pathlib.Path("loading").touch()
time.sleep(10000)
"""
DEAFENS = """\
import os, signal
for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.set_wakeup_fd(-1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGHUP])
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "app"
    directory.mkdir()
    return directory


def answer(port, path="/"):
    try:
        return http_get(("127.0.0.1", port), path).text
    except OSError:
        return None


@contextlib.contextmanager
def by_hand(file: Path) -> Iterator[subprocess.Popen]:
    with subprocess.Popen([*VASSAL, str(file)], start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_master_whose_app_hangs_at_import_does_not_outlive_the_emperor(emperor, app):
    write_file(app / "app.py", HANGS)
    emperor.write("blog", vassal_text(free_port(), chdir=app))
    wait_until((app / "loading").exists, 10, "the import to begin")
    emperor.kill(signal.SIGKILL)
    emperor.wait_empty()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_an_import_that_hangs_can_be_ended_by_hand(app, number):
    write_file(app / "app.py", HANGS)
    with by_hand(write_file(app / "blog.ini", vassal_text(free_port(), chdir=app))) as process:
        wait_until((app / "loading").exists, 10, "the import to begin")
        process.send_signal(number)
        assert process.wait(10) == -number


@pytest.mark.parametrize("options", [{}, {"fork_server": "false"}])
def test_an_app_that_takes_the_signals_at_import_has_a_master_that_hears(emperor, app, options):
    write_file(app / "app.py", DEAFENS + ANSWER)
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, **options))
    emperor.wait_state("blog", "running")
    worker = answer(port, "/pid")
    os.kill(int(worker), signal.SIGKILL)
    wait_until(lambda: answer(port, "/pid") not in (None, worker), 10, "another worker")
    os.kill(emperor.status("blog")["pid"], signal.SIGHUP)
    emperor.wait_state("blog", "running", generation=2)


@pytest.mark.parametrize("options", [{}, {"fork_server": "false"}])
def test_a_full_disk_does_not_hide_why_a_vassal_cannot_start(emperor, app, options):
    emperor.write("blog", vassal_text(free_port(), "no_such_module", chdir=app, logto="/dev/full", **options))
    failure = wait_until(lambda: (emperor.status("blog") or {}).get("last_failure"), 10, "the failure")
    assert failure["stage"] == "load"
    assert "no_such_module" in failure["reason"]


def test_a_vassal_by_hand_starts_anew_with_its_first_environment(app):
    write_file(app / "app.py", "import os\n" + ANSWER)
    port = free_port()
    file = write_file(app / "blog.ini", vassal_text(port, chdir=app, env="COLOUR=red"))
    with by_hand(file) as process:
        wait_until(lambda: answer(port) == "red", 10, "the first run")
        write_file(file, vassal_text(port, chdir=app))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: answer(port) == "None", 10, "the variable to be gone")
        process.terminate()
        assert process.wait(10) == 0


def titled(emperor, words):
    return [process for process in emperor.processes() if words in command_line(process)]


def test_a_reload_survives_the_fork_server(emperor, app):
    port = free_port()
    write_file(app / "app.py", "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n")
    emperor.write("blog", vassal_text(port, "app", chdir=app))
    emperor.wait_state("blog", "running")
    (server,) = titled(emperor, "fork server")
    server.suspend()  # so that it dies with the request unanswered
    write_file(app / "app.py", "def application(e, s):\n    s('200 OK', [])\n    return [b'two']\n")
    emperor.touch("blog")
    wait_until(lambda: "blog: generation 2 starts" in emperor.log.read_text(), 10, "the start of the reload")
    server.kill()
    wait_until(lambda: "the fork server died" in emperor.log.read_text(), 10, "the fork server to be missed")
    assert http_get(("127.0.0.1", port)).text == "one"
    wait_until(lambda: http_get(("127.0.0.1", port)).text == "two", 20, "the new code, without another touch")
    row = emperor.wait_state("blog", "running", generation=3)
    assert row["last_failure"] is None


WAITS = """
import pathlib, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        pathlib.Path("waiting").touch()
        for _ in range(1500):
            time.sleep(0 if pathlib.Path("go").exists() else 0.01)
    start_response("200 OK", [])
    return [b"served"]
"""


@pytest.mark.parametrize("unix", [False, True])
def test_an_address_may_come_back_while_the_old_generation_still_answers(emperor, app, tmp_path, unix):
    port = free_port()
    target = str(tmp_path / "x.sock") if unix else ("127.0.0.1", free_port())
    address = target if unix else f"127.0.0.1:{target[1]}"
    write_file(app / "app.py", WAITS)
    short = vassal_text(port, "app", chdir=app, processes=2)
    emperor.write("blog", short + f"http-socket = {address}\n")
    emperor.wait_state("blog", "running")
    with HttpClient(target) as client:
        client.send_request("GET", "/wait")
        wait_until((app / "waiting").exists, 10, "the request to be inside the app")
        emperor.write("blog", short)
        emperor.wait_state("blog", "running", generation=2)
        emperor.write("blog", short + f"http-socket = {address}\n")
        row = emperor.wait_state("blog", "running", generation=3)
        assert row["last_failure"] is None
        assert address in row["addresses"]
        assert http_get(target).text == "served"
        (app / "go").touch()
        assert client.response().text == "served"
    wait_until(lambda: not titled(emperor, "blog gen 1"), 10, "the old one's end")
    assert http_get(target).text == "served"


def test_an_address_that_comes_back_outlives_the_old_generation_while_the_new_one_loads(emperor, app):
    port, other = free_port(), free_port()
    write_file(app / "app.py", WAITS)
    short = vassal_text(port, "app", chdir=app, processes=2)
    emperor.write("blog", short + f"http-socket = 127.0.0.1:{other}\n")
    emperor.wait_state("blog", "running")
    with HttpClient(("127.0.0.1", other)) as client:
        client.send_request("GET", "/wait")
        wait_until((app / "waiting").exists, 10, "the request to be inside the app")
        emperor.write("blog", short)
        second = emperor.wait_state("blog", "running", generation=2)["pid"]
        loads = "import pathlib, time\nwhile not pathlib.Path('load').exists():\n    time.sleep(0.01)\n"
        write_file(app / "app.py", loads + WAITS)
        emperor.write("blog", short + f"http-socket = 127.0.0.1:{other}\n")
        wait_until(lambda: "blog: generation 3 starts" in emperor.log.read_text(), 10, "the third generation")
        os.kill(second, signal.SIGKILL)
        emperor.wait_state("blog", "starting")
        (app / "go").touch()
        assert client.response().text == "served"
    wait_until(lambda: not titled(emperor, "blog gen 1") and not titled(emperor, "blog gen 2"), 10, "their end")
    (app / "load").touch()
    assert emperor.wait_state("blog", "running")["generation"] == 3
    assert http_get(("127.0.0.1", other)).text == "served"


def test_a_log_that_has_no_room_costs_no_request(emperor, app):
    source = """\
import sys

def application(environ, start_response):
    print("o" * 20000)
    print("e" * 20000, file=sys.stderr, flush=True)
    environ["wsgi.errors"].write("w" * 20000)
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
    write_file(app / "app.py", source)
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, logto="/dev/full"))
    emperor.wait_state("blog", "running")
    assert [http_get(("127.0.0.1", port)).text for _ in range(3)] == ["served"] * 3
    emperor.cli("reload", "blog", check=True)
    assert http_get(("127.0.0.1", port)).text == "served"
    assert emperor.status("blog")["exceptions"] == 0
