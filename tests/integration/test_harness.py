"""The harness watches every other test, so it is tested with commands that misbehave in known ways."""

import os
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest

from tests.clients import HttpClient, LoadGenerator, http_get, refuses, uwsgi_packet
from tests.e2e.stats_reader import Terminal
from tests.harness import EmperorProcess, free_port, touch_file, vassal_text, wait_until, write_file

OBEDIENT = """
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
print("emperor ready: 0 vassals, control none", flush=True)
threading.Event().wait()
"""

ORPHAN_MAKER = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
"""


def python(source):
    return [sys.executable, "-c", source]


def test_a_daemon_that_ends_cleanly_passes(tmp_path):
    daemon = EmperorProcess(tmp_path, command=python(OBEDIENT.format(status=0))).start()
    assert daemon.ready_line == "emperor ready: 0 vassals, control none"
    daemon.close()
    assert daemon.exitcode == 0


def test_a_daemon_that_exits_with_a_failure_is_reported(tmp_path):
    daemon = EmperorProcess(tmp_path, command=python(OBEDIENT.format(status=7))).start()
    with pytest.raises(AssertionError, match="exited with 7"):
        daemon.close()


def test_a_daemon_that_never_gets_ready_is_reported(tmp_path):
    daemon = EmperorProcess(tmp_path, command=python("raise SystemExit(3)"))
    with pytest.raises(AssertionError, match="ended with 3 before it was ready"):
        daemon.start()
    daemon.close()


def test_an_orphan_in_another_session_is_found_and_killed(tmp_path):
    daemon = EmperorProcess(tmp_path, command=python(ORPHAN_MAKER)).start(ready=False)
    daemon.wait()
    [orphan] = daemon.processes()
    with pytest.raises(AssertionError, match=f"no process left.*{orphan.pid}"):
        daemon.wait_empty(deadline=0.1)
    with pytest.raises(AssertionError, match="no process left"):
        close_soon(daemon)
    wait_until(lambda: not orphan.is_running(), message="the orphan to be killed")


def close_soon(daemon):
    """Close without the ten seconds of grace."""
    waiting = daemon.wait_empty
    daemon.wait_empty = lambda: waiting(deadline=0.1)
    daemon.close()


def test_all_is_killed_when_the_test_run_dies(tmp_path):
    daemon = EmperorProcess(tmp_path, command=python(ORPHAN_MAKER + "time.sleep(600)")).start(ready=False)
    wait_until(lambda: len(daemon.processes()) == 2, message="the daemon and its orphan")
    seen = [psutil.Process(process.pid) for process in daemon.processes()]
    nanny = daemon._nanny
    nanny.stdin.close()  # what the death of this process would do
    nanny.wait(10)
    assert not any(process.is_running() for process in seen)
    assert daemon.wait() == -signal.SIGKILL
    daemon.close()


def test_ports_are_given_once_and_free():
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(refuses(("127.0.0.1", port)) for port in ports)


def test_a_touch_always_changes_the_time(tmp_path):
    file = write_file(tmp_path / "x.ini", "")
    seen = set()
    for _ in range(50):
        touch_file(file)
        seen.add(file.stat().st_mtime_ns)
    assert len(seen) == 50
    assert os.listdir(tmp_path) == ["x.ini"]


def test_the_text_of_a_vassal_names_its_options():
    text = vassal_text(8001, "shop:app", lazy_apps="true", env="A=b")
    expected = "[uwsgi]\nhttp-socket = 127.0.0.1:8001\nmodule = shop:app\nlazy-apps = true\nenv = A=b\n"
    assert text == expected


WIDE = "import curses; s = curses.initscr(); s.addstr('x' * 150); s.refresh(); s.getch()"


def test_a_terminal_has_the_width_that_it_is_given_whatever_that_of_the_test_run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    with Terminal(tmp_path, f'{sys.executable} -c "{WIDE}"') as terminal:
        lines = wait_until(terminal.screen, 20, "a screen")
    assert lines == ["x" * 150]


class OneAnswer:
    """A server that gives each connection the same bytes and closes it."""

    def __init__(self, answer):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = self.sock.getsockname()
        self.answer = answer
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            client, _ = self.sock.accept()
            with client:
                asked = client.recv(65536)
                if asked == b"stop":
                    return
                client.sendall(self.answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.create_connection(self.address) as last:
            last.sendall(b"stop")
            self.thread.join()
        self.sock.close()


def test_the_client_reads_lengths_chunks_and_pipelines():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    plain = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-A: 1\r\nX-a: 2\r\n\r\nno"
    with OneAnswer(chunked + plain) as server, HttpClient(server.address) as client:
        first, second = client.pipeline([("GET", "/1"), ("GET", "/2")])
    assert (first.status, first.body) == (200, b"abcde")
    assert (second.status, second.text, second.all("x-a")) == (404, "no", ["1", "2"])


def test_a_short_body_is_an_error():
    with (
        OneAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as server,
        pytest.raises(ConnectionError, match="4 of 9 bytes"),
    ):
        http_get(server.address)


def test_a_uwsgi_packet_is_little_endian():
    assert uwsgi_packet({"A": "bc"}) == b"\x00\x07\x00\x00" + b"\x01\x00A\x02\x00bc"


def test_the_load_counts_answers_and_failures():
    with (
        OneAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as server,
        LoadGenerator(server.address, pause=0.001) as load,
    ):
        wait_until(lambda: load.load.requests >= 5, message="five answers")
        result = load.stop()
    assert result.failures == []
    assert result.answers == {"ok": result.requests}
    with LoadGenerator(("127.0.0.1", free_port()), pause=0.001) as load:
        wait_until(lambda: load.load.failures, message="a failure")
    assert "ConnectionRefusedError" in load.load.failures[0]


@pytest.mark.root
def test_users_are_real_and_can_enter_an_open_path(users, open_path):
    first, second = users(), users()
    assert first.pw_uid != second.pw_uid
    file = open_path / "file"
    file.write_text("")
    command = [sys.executable, "-c", f"import psutil, os; print(os.getuid(), os.stat({str(file)!r}).st_size)"]
    done = subprocess.run(
        command, user=first.pw_uid, group=first.pw_gid, extra_groups=[], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(first.pw_uid), "0"]
