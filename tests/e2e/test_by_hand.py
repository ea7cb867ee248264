"""A vassal without an emperor, as a service of systemd: the units of uWSGI's own pages have ``Type=notify``."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.clients import http_get
from tests.harness import free_port, vassal_text, wait_until, write_file

VASSAL = str(Path(sys.executable).with_name("vassal"))
APP = """\
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(dict(os.environ)).encode()]
"""


def test_systemd_is_told_that_it_serves_and_the_app_is_not_told_of_systemd(tmp_path):
    write_file(tmp_path / "app.py", APP)
    port = free_port()
    file = write_file(tmp_path / "site.ini", vassal_text(port))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(tmp_path / "log", "wb") as log:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9"}
        vassal = subprocess.Popen([VASSAL, str(file)], stdout=log, stderr=log, env=environment, cwd=tmp_path)
        try:
            for _ in range(2):
                assert manager.recv(4096) == f"READY=1\nSTATUS=serving at 127.0.0.1:{port}".encode()
                seen = json.loads(http_get(("127.0.0.1", port), "/").body)
                assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"}.intersection(seen)
                vassal.send_signal(signal.SIGHUP)  # it executes itself anew, and tells again
            assert manager.recv(4096).startswith(b"READY=1")
        finally:
            vassal.terminate()
            wait_until(lambda: vassal.poll() is not None, 15, "its end")
    assert vassal.returncode == 0


def test_an_app_that_nobody_can_call_says_so(emperor):
    """Debian's uwsgi names the socket beside the file, systemd in a unit of its own: neither does here."""
    write_file(emperor.directory / "app.py", APP)
    emperor.write("mute", f"[uwsgi]\nchdir = {emperor.directory}\nmodule = app\n")
    emperor.wait_state("mute", "running")
    assert "no socket is named" in emperor.vassal_log("mute")


def test_without_standard_streams(tmp_path):
    write_file(tmp_path / "app.py", APP)
    port = free_port()
    file = write_file(tmp_path / "site.ini", vassal_text(port))
    command = ["/bin/sh", "-c", f"exec {shlex.join([VASSAL, str(file)])} <&- >&- 2>&-"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL) as vassal:
        try:
            wait_until(lambda: vassal.poll() is not None or served(port), 15, "it to serve")
            assert served(port)
            targets = [os.readlink(f"/proc/{vassal.pid}/fd/{number}") for number in range(3)]
            assert targets == ["/dev/null"] * 3
        finally:
            vassal.terminate()


def test_in_a_directory_that_is_gone(tmp_path):
    line = f"mkdir lost && cd lost && rmdir ../lost && exec {VASSAL} site.ini"
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, b"Error: the current directory is gone: cd elsewhere\n")


def served(port):
    try:
        return http_get(("127.0.0.1", port), "/").status == 200
    except OSError:
        return False
