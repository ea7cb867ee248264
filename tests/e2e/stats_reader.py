"""Reads an address of statistics as uWSGI's monitors do, and runs the real uwsgitop in a terminal of its own.

The danger here: a program that is skipped everywhere; so what is missing fails under CI.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.clients import connect
from tests.harness import unavailable


def read_raw(address, said=b"", timeout=10.0):
    """All that comes until the end, from (host, port) or a path."""
    with connect(address, timeout) as client:
        if said:
            client.sendall(said)
        return client.makefile("rb").read()


def read_stats(address):
    return json.loads(read_raw(address))


def refuses_at_once(address):
    """Whether nobody answers there; a client that would hang is an error."""
    try:
        with connect(address, 5.0) as client:
            return client.recv(1) == b""
    except TimeoutError:
        raise AssertionError(f"{address} neither answers nor refuses") from None
    except OSError:
        return True


class Terminal:
    """A terminal by tmux in which `command` runs; `screen` is what a person sees."""

    def __init__(self, directory: Path, command: str, width: int = 400, height: int = 40):
        tmux = shutil.which("tmux") or unavailable("needs tmux: apt install tmux")
        # A path of its own, short enough for a socket.
        self._socket = f"/tmp/emperor-tmux.{os.getpid()}.{abs(hash(str(directory))) % 10**8}"
        self._tmux = [tmux, "-S", self._socket, "-f", "/dev/null"]
        size = ["-x", str(width), "-y", str(height)]
        self._run(
            "new-session", "-d", *size, f"{command} 2>{directory}/terminal.err || cat {directory}/terminal.err; read x"
        )

    def _run(self, *words: str) -> str:
        env = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "screen", "SHELL": "/bin/sh"}
        # Curses believes COLUMNS and LINES rather than the terminal; a test run by pytest-xdist has them.
        for name in ("TMUX", "COLUMNS", "LINES"):
            env.pop(name, None)
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, env=env, check=False, timeout=20)
        assert done.returncode == 0, f"tmux {words}: {done.stderr}"
        return done.stdout

    def screen(self) -> list[str]:
        return [line.rstrip() for line in self._run("capture-pane", "-p").splitlines() if line.strip()]

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")
        Path(self._socket).unlink(missing_ok=True)


def uwsgitop(directory: Path, address: str) -> Terminal:
    program = Path(sys.executable).with_name("uwsgitop")
    if not program.exists():
        unavailable(f"needs uwsgitop beside {sys.executable}: make test installs it")
    return Terminal(directory, f"{program} {address}")


def abstract(name: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect("\0" + name)
    return client
