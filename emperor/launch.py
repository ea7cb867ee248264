"""What an emperor does first: it stands, and starts the process that becomes a fork server. Imports next to nothing.

A fork server takes longer to be ready than an emperor (it imports what all vassals have in common, and rehearses), so
an emperor starts it before it imports the rest of itself. The one danger is a process that nobody takes over: whoever
calls `early` calls `drop`, too.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass

import vassal
from vassal import streams

CLIENT_FD = 3
"""The descriptor on which the fork server finds its socket."""
WITHHELD = ("LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES")
"""The variables that it does not get of ours: they would change its code, and so that of all vassals. The others it has
for them: a vassal writes each that it has to set to pages of its own."""
EARLY = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that mean something to an emperor that is there, and would end one that is not yet."""
_waiting: list[Launched] = []


@dataclass(slots=True)
class Launched:
    """A process that becomes a fork server, and our end of its socket."""

    pid: int
    sock: socket.socket


def stand() -> None:
    """Make the process fit to become an emperor, before it opens anything.

    Standard descriptors are there, and `EARLY` signals wait until `hear`: logrotate may come while it starts.
    """
    streams.hold()
    signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)


def hear() -> None:
    """Let the signals come for which `stand` made wait: by now there are handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)


def launch(nofile: int) -> Launched:
    """Start a fork server; `nofile` is the soft RLIMIT_NOFILE that vassals get back.

    Raises:
        OSError: no process can be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # as `vassal.link.pair`
    boot = os.path.join(os.path.dirname(os.path.abspath(vassal.__file__)), "boot.py")
    python = getattr(sys, "_base_executable", None) or sys.executable
    try:
        # -I -S and no current directory: nothing that a tenant wrote can be imported.
        pid = os.posix_spawn(
            python,
            [python, "-I", "-S", boot, "forkserver", str(CLIENT_FD), str(nofile), *_origins()],
            {name: value for name, value in os.environ.items() if name not in WITHHELD},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), CLIENT_FD),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Launched(pid, ours)


def early() -> None:
    """Start a fork server for the `take` to come; where that fails, `take` tries again and says why."""
    with contextlib.suppress(OSError):
        _waiting.append(launch(raise_nofile()))


def take(nofile: int) -> Launched:
    """Return the fork server that was started early, once; or start one.

    Raises:
        OSError: no process can be started.
    """
    return _waiting.pop() if _waiting else launch(nofile)


def drop() -> None:
    """End a fork server that nobody took: it leaves as soon as it finds its socket closed."""
    while _waiting:
        end(_waiting.pop())


def end(launched: Launched) -> None:
    """End a process that is no fork server yet, and wait for it."""
    launched.sock.close()
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        os.kill(launched.pid, signal.SIGKILL)  # nobody waits for its imports
        os.waitpid(launched.pid, 0)


def _origins() -> list[str]:
    """``name=path`` of the packages that the fork server loads from this installation."""
    found = []
    # Of setproctitle the compiled part alone, under a name of our own: see `vassal.titles`.
    for name, package in (("httptools", "httptools"), ("vassal._setproctitle", "setproctitle._setproctitle")):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise OSError(f"the package {package.partition('.')[0]} is not installed beside emperor")
        found.append(f"{name}={spec.origin}")
    return found


@functools.cache
def raise_nofile() -> int:
    """Raise the soft RLIMIT_NOFILE to the hard one, once; return the soft one as it was, for the vassals."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
