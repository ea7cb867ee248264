"""The module ``uwsgi`` that apps import: what they ask of it most, and a clear word for the rest.

The one danger is an app that believes what is not so. So what is not offered is not there: ``hasattr`` says no, an
import of the name fails, and whoever uses it is told what to use instead. (uWSGI's page "The uwsgi Python module".)
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
import traceback
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vassal import __version__, channel, logs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec

    from vassal.config import Settings
    from vassal.scoreboard import Scoreboard

VERSION = (2, 0, 30, 0, b"")
"""The uWSGI that it stands in for: libraries compare it."""
ALWAYS = ("master", "enable-threads", "py-call-osafterfork", "py-call-uwsgi-fork-hooks")
"""Options that libraries insist on (tracers, error reporters), and that are always on here."""
LOCKS = 256
"""Locks that `lock` may name."""
DECORATORS = "uwsgidecorators"

_SIGNALS = "there is no signal framework: use cron = … in the vassal's file, or a thread"
_NOT_OFFERED = (
    ("cache_", "shared memory for the app is not offered: use Redis or memcached"),
    ("queue_", "shared memory for the app is not offered: use Redis or memcached"),
    ("sharedarea_", "shared memory for the app is not offered: use Redis or memcached"),
    ("spool", "there is no spooler: run Celery, RQ or Huey by attach-daemon"),
    ("send_to_spooler", "there is no spooler: run Celery, RQ or Huey by attach-daemon"),
    ("set_spooler", "there is no spooler: run Celery, RQ or Huey by attach-daemon"),
    ("mule", "there are no mules: run the program by attach-daemon"),
    ("farm", "there are no mules: run the program by attach-daemon"),
    ("in_farm", "there are no mules: run the program by attach-daemon"),
    ("register_signal", _SIGNALS),
    ("signal", _SIGNALS),
    ("add_", _SIGNALS),
    ("websocket_", "WebSockets are not served: run an ASGI server for them by attach-daemon"),
    ("rpc", "there is no RPC"),
    ("register_rpc", "there is no RPC"),
)


class _Locks(dict[int, threading.Lock]):
    """A lock of this process for each number, made when it is first asked for: most apps have none."""

    def __missing__(self, number: int) -> threading.Lock:
        if not 0 <= number < LOCKS:
            raise IndexError(f"uwsgi.lock: {number} is not one of the {LOCKS} locks, which are counted from 0")
        return self.setdefault(number, threading.Lock())  # one operation: two threads get the same


class Uwsgi(ModuleType):
    """The module itself. Methods are its functions, attributes its constants."""

    def __init__(self, settings: Settings, given: Iterable[tuple[str, str]]) -> None:
        super().__init__("uwsgi", "What uWSGI offers to apps, as far as Emperor does.")
        self.version = b"%d.%d.%d" % VERSION[:3]
        self.version_info = VERSION
        self.emperor_version = __version__
        self.hostname = socket.gethostname().encode()
        self.numproc = settings.processes
        self.cores = settings.threads
        self.has_threads = 1
        self.buffer_size = settings.buffer_size
        self.started_on = int(time.time())
        self.opt = options(given)
        self._master = os.getpid()
        self._number = 0
        self._channel: socket.socket | None = None
        self._board: Scoreboard | None = None
        self._locks = _Locks()
        self._memory = -1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        why = next((reason for start, reason in _NOT_OFFERED if name.startswith(start)), "it has no meaning here")
        raise AttributeError(f"uwsgi.{name} is not offered: {why}")

    # --- who and what --------------------------------------------------------------------------------------------

    def masterpid(self) -> int:
        """Return the pid of the master."""
        return self._master

    def worker_id(self) -> int:
        """Return this worker's number, from 1; 0 in the master."""
        return self._number

    def mule_id(self) -> int:
        """Return 0: no process is a mule."""
        return 0

    def total_requests(self) -> int:
        """Return how many requests the workers that live now have served."""
        return sum(one["requests"] for one in self.workers())

    def workers(self) -> tuple[dict[str, Any], ...]:
        """Return what each worker that lives now has done."""
        board = self._board
        views = [board.worker(slot) for slot in range(1, board.workers + 1)] if board is not None else []
        return tuple(
            {
                "pid": view.pid,
                "requests": view.requests,
                "exceptions": view.exceptions,
                "tx": view.tx,
                "status": b"busy" if view.busy else b"idle",
            }
            for view in views
            if view.pid
        )

    # --- what it does --------------------------------------------------------------------------------------------

    def reload(self) -> bool:
        """Ask for a new generation of this vassal; False where nobody can be asked."""
        return self._channel is not None and channel.send(self._channel, channel.ReloadWanted("uwsgi.reload()"))

    def stop(self) -> bool:
        """Stop this generation, as SIGTERM to its master does; the emperor starts another one."""
        if self._channel is None or os.getppid() != self._master:
            return False
        os.kill(self._master, signal.SIGTERM)
        return True

    def log(self, text: str | bytes) -> bool:
        """Write a line to the vassal's log."""
        logs.write(f"{text.decode(errors='backslashreplace') if isinstance(text, bytes) else text}\n")
        return True

    # --- locks between workers -----------------------------------------------------------------------------------

    def lock(self, number: int = 0) -> None:
        """Take a lock that all processes of this generation share. A process that ends gives up its own."""
        self._locks[number].acquire()
        try:
            fcntl.lockf(self._file(), fcntl.LOCK_EX, 1, number)
        except BaseException:
            self._locks[number].release()
            raise

    def unlock(self, number: int = 0) -> None:
        """Give up a lock that this process has."""
        fcntl.lockf(self._file(), fcntl.LOCK_UN, 1, number)
        self._locks[number].release()

    def is_locked(self, number: int = 0) -> bool:
        """Tell whether somebody has the lock."""
        if not self._locks[number].acquire(blocking=False):
            return True
        try:
            fcntl.lockf(self._file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            fcntl.lockf(self._file(), fcntl.LOCK_UN, 1, number)
        except OSError:
            return True
        finally:
            self._locks[number].release()
        return False

    def _file(self) -> int:
        if self._memory < 0:
            raise RuntimeError("uwsgi.lock is for workers: the app is still being loaded")
        return self._memory


def options(given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return ``uwsgi.opt``: bytes by name; True for a name without a value, a list for one that is there repeatedly."""
    found: dict[str, Any] = {}
    for name, text in given:
        value = text.encode("utf-8", "surrogateescape") if text else True
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    for name in ALWAYS:
        found.setdefault(name, True)
    return found


class _Finder:
    """Finds our decorators, also where uWSGI's own are installed: those reach for what is not offered when imported."""

    @staticmethod
    def find_spec(name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != DECORATORS:
            return None
        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), "decorators.py"))


def install(settings: Settings, given: Iterable[tuple[str, str]]) -> None:
    """Let the app of this master find the module; ``uwsgi-module = false`` does not, nor does an app of that name."""
    if settings.uwsgi_module and (settings.module or "").replace(":", ".").partition(".")[0] != "uwsgi":
        sys.modules["uwsgi"] = Uwsgi(settings, given)
        sys.meta_path.insert(0, _Finder)


def share() -> None:
    """Make, in the master, what its workers are to share."""
    if isinstance(module := sys.modules.get("uwsgi"), Uwsgi):
        module._memory = os.memfd_create(f"uwsgi-locks-{os.getpid()}", os.MFD_CLOEXEC)  # noqa: SLF001 (its own module)


def become_worker(number: int, sock: socket.socket, board: Scoreboard) -> None:
    """This process is worker `number` from now on, with its end `sock` of the channel."""
    if isinstance(module := sys.modules.get("uwsgi"), Uwsgi):
        module._number, module._channel, module._board = number, sock, board  # noqa: SLF001 (its own module)


def call(hook: str) -> None:
    """Call what the app has put into the module as ``post_fork_hook`` or ``atexit``; what it raises is logged."""
    module = sys.modules.get("uwsgi")
    function = vars(module).get(hook) if isinstance(module, Uwsgi) else None
    if function is not None:
        try:
            function()
        except Exception:  # noqa: BLE001 (the app's own, and uWSGI goes on, too)
            logs.say(f"uwsgi.{hook} raised:\n{traceback.format_exc().rstrip()}")
