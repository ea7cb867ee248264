"""The emperors that are compared, behind one interface: start on a place, write vassals into it, weigh, stop.

The one thing that can go wrong here is a difference between them that is ours: both get the same files, the same
parent process, and a place of their own.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402  # after the path, which the others need
import uwsgi  # noqa: E402

from tests.harness import EmperorProcess  # noqa: E402  # the tests' subreaper: nothing outlives a benchmark
from vassal import __version__  # noqa: E402

APP = """\
VERSION = b"{version}"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(VERSION)))])
    return [VERSION]
"""
VASSAL = """\
[uwsgi]
master = true
processes = 1
chdir = {app}
virtualenv = {virtualenv}
module = app:application
http-socket = {socket}
"""
EPOCH = 1_600_000_000
"""Modification time of an app's first version. Python tells compiled files apart by whole seconds, so versions count
them."""

ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}
"""An installed program is compiled; where this is set, a checkout would be compiled anew at each start."""


class Contender:
    """One kind of emperor. Everything lives below `directory`, which is made.

    The app has an empty virtual environment of its own, as people have: what the machine's Python loads at each start
    (the ``.pth`` files among its packages) is not measured.

    Attributes:
        name: For people.
        version: Of the program.
    """

    name = "Emperor"
    version = __version__
    depth = 2
    """Generations of processes from the emperor down to a master: here the fork server lies between them."""
    goodbye = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.apps = directory / "a"
        self.virtualenv = directory / "venv"
        for made in (directory, self.apps):
            made.mkdir(exist_ok=True)
        venv.create(self.virtualenv)
        self.process = self._process()
        self.place = self.process.vassals

    def _process(self) -> EmperorProcess:
        return EmperorProcess(self.directory, env=ENVIRONMENT)

    def start(self) -> None:
        """Start it and return as soon as it is a process."""
        self.process.start(ready=False)

    def stop(self) -> None:
        """Stop it, and see to it that nothing is left; then empty its place."""
        try:
            if self.process.pid and not self.process.ended:
                self.process.kill(self.goodbye)
                self.process.wait(60)
                self.process.wait_empty(30)
        finally:
            self.process.close()
        for path in [*self.place.iterdir(), *self.directory.glob("*.sock")]:
            path.unlink()
        shutil.rmtree(self.apps)
        self.apps.mkdir()

    def report(self) -> str:
        """The end of its log, for when something went wrong."""
        log = self.process.log
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join([f"----- {self.name}: {' '.join(self.process.command)}", *lines[-30:]])

    # -- vassals

    def socket(self, name: str) -> str:
        """The path of the socket of vassal `name`."""
        return str(self.directory / f"{name}.sock")

    def file(self, name: str) -> Path:
        """The path of its file."""
        return self.place / f"{name}.ini"

    def app(self, name: str, version: int) -> Path:
        """Write version `version` of an app, in one step; return its directory."""
        directory = self.apps / name
        directory.mkdir(exist_ok=True)
        new = directory / "app.py.new"
        new.write_text(APP.format(version=version))
        os.utime(new, (EPOCH + version, EPOCH + version))
        new.rename(directory / "app.py")
        return directory

    def draft(self, name: str, app: Path) -> Path:
        """Write a vassal's file where nobody looks: beside the place, on the same file system."""
        draft = self.directory / f"{name}.draft"
        draft.write_text(VASSAL.format(app=app, virtualenv=self.virtualenv, socket=self.socket(name)))
        return draft

    def drop(self, draft: Path, name: str, *, copy: bool) -> None:
        """Put a file into the place as people do: by cp(1), or written beside its name and renamed."""
        target = self.file(name)
        if copy:
            subprocess.run(["cp", str(draft), str(target)], check=True)
        else:
            hidden = target.with_name(f".{name}.ini.new")
            hidden.write_bytes(draft.read_bytes())
            hidden.rename(target)

    def touch(self, name: str) -> None:
        """Touch a vassal's file. uWSGI compares whole seconds, so a second touch within one counts as of the next."""
        path = self.file(name)
        when = max(time.time(), int(path.stat().st_mtime) + 1.0)
        os.utime(path, (when, when))

    def delete(self, name: str) -> None:
        """Remove a vassal's file."""
        self.file(name).unlink()

    # -- memory

    def weigh(self) -> tuple[int, int]:
        """(bytes of all masters and workers, bytes of what is shared by the fleet: the emperor, a fork server).

        Counted as PSS: a page that n processes share counts 1/n for each of them.
        """
        vassals = shared = 0
        level, depth = [psutil.Process(self.process.pid)], 0
        while level:
            size = sum(_pss(process.pid) for process in level)
            if depth < self.depth:
                shared += size
            else:
                vassals += size
            level = [child for process in level for child in process.children()]
            depth += 1
        return vassals, shared


class UwsgiContender(Contender):
    """uWSGI's emperor with its defaults: it looks at its place every 3 s."""

    name = "uWSGI"
    version = uwsgi.VERSION
    depth = 1
    goodbye = signal.SIGINT  # its SIGTERM means "reload brutally"

    def _process(self) -> EmperorProcess:
        command = uwsgi.emperor_command(self.directory / "vassals")
        return EmperorProcess(self.directory, command=command, env=ENVIRONMENT)


def _pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
