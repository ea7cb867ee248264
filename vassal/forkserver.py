"""The fork server: one thread, `vassal` imported, no app code; forks a child for each vassal that starts.

It is handed a link and a number, nothing else: a child reads its contract from its own link, so that no vassal's
environment ever lies in the heap that the next one inherits. The one danger: state that survives into children.
Signal handlers, the wake-up descriptor, blocked signals and descriptors are reset in the child before anything else.

It is also the parent of all masters: it reaps them, after what is left of their sessions has been ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from vassal import entry, link, logs, master, rehearsal, sessions, signals, spare, titles
from vassal.children import SIGNALS

WORKER_GRACE = 5.0
"""Seconds that the workers of a dead master have to answer what they accepted, before they are killed."""
SWEEP_PAUSE = 0.02
"""Seconds between two looks at a session that is being ended, at first."""
MAX_SWEEP_PAUSE = 0.25
"""The same after a while."""
REAPS = 50
"""Adopted processes that are reaped in one turn; who asks for a child has to wait for it."""
_RESET = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(slots=True)
class Child:
    """One master: `dead_at` is the monotonic second of its death, `told` whether the emperor knows of it."""

    spawn: int
    pid: int
    dead_at: float | None = None
    told: bool = False
    grace: float = WORKER_GRACE


class ForkServer:
    """Forks on request, reaps, sweeps. Ends when the emperor is gone and the last child is reaped."""

    def __init__(self, sock: socket.socket, nofile: int) -> None:
        self._end = link.End(sock, link.AT_FORK_SERVER)
        self._nofile = nofile
        self._children: dict[int, Child] = {}
        self._spared: set[tuple[int, int]] = set()
        """Smart daemons (pid, start time): the emperor has looked whose they are."""
        self._orphaned = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Serve until the emperor is gone and no child is left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # The emperor ends it, by closing the socket: a Ctrl-C in its terminal or an init's TERM to the whole group
        # must not take the parent of all vassals away before they are done.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._end.fileno(), select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while not (self._orphaned and not self._children):
            for descriptor, _ in poller.poll(self._timeout()):
                if descriptor == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif not self._serve():
                    poller.unregister(self._end.fileno())
                    self._orphaned = True
                    self._end_starting()
            self._reap()
        spare.end(self._spared)

    def _timeout(self) -> float | None:
        """Milliseconds until the next look at a dying session: the longer it takes, the rarer the looks."""
        deaths = [child.dead_at for child in self._children.values() if child.dead_at is not None]
        if not deaths:
            return None
        age = time.monotonic() - max(deaths)
        return 1000 * min(max(age / 4, SWEEP_PAUSE), MAX_SWEEP_PAUSE)

    def _end_starting(self) -> None:
        """Kill masters that do not serve yet: in an app's import that hangs, none sees that the emperor is gone."""
        for child in self._children.values():
            if not _serves(child.pid):
                child.grace = 0.0  # it has no workers
                os.kill(child.pid, signal.SIGKILL)

    def _serve(self) -> bool:
        """Carry out what the emperor asked; False when it is gone."""
        try:
            while (message := self._end.read()) is not None:
                record, descriptors = message
                if isinstance(record, link.Spawn):
                    self._spawn(record.spawn, descriptors[0])
                elif isinstance(record, link.Sweep):
                    for child in self._children.values():
                        if child.spawn == record.spawn:
                            child.grace = 0.0
                elif isinstance(record, link.Spare):
                    self._spared.update(zip(record.pids, record.starts, strict=False))
                elif isinstance(record, link.Unspare):
                    gone = set(zip(record.pids, record.starts, strict=False)) & self._spared
                    self._spared -= gone
                    spare.kill(gone)
        except (link.LinkClosed, link.LinkError):
            return False
        return True

    def _spawn(self, spawn: int, descriptor: int) -> None:
        everything = signals.mask(signals.BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            signals.mask(signals.SETMASK, everything)
            os.close(descriptor)
            self._tell(link.Unspawned(spawn, f"fork: {error.strerror}"))
            return
        if pid == 0:
            self._become_child(descriptor)
        signals.mask(signals.SETMASK, everything)
        os.close(descriptor)
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._tell(link.Unspawned(spawn, f"pidfd_open: {error.strerror}"))
            return
        self._children[pid] = Child(spawn, pid)
        self._tell(link.Spawned(spawn, pid), process)
        os.close(process)

    def _become_child(self, descriptor: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _RESET:
                signals.handle(number, signals.DEFAULT)
            signals.handle(signal.SIGPIPE, signals.IGNORE)
            signals.handle(signal.SIGXFSZ, signals.IGNORE)
            signals.mask(signals.SETMASK, ())
            os.setsid()
            sessions.become_subreaper()  # what this vassal orphans is its own, until it is dead
            self._end.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._nofile, hard))
            self._children.clear()
            status = entry.serve(socket.socket(fileno=descriptor))
        except BaseException:  # noqa: BLE001 (the child must never run on into its parent's loop)
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _tell(self, record: link.Record, descriptor: int | None = None) -> None:
        if self._orphaned:
            return
        with contextlib.suppress(link.LinkError, link.LinkClosed):
            self._end.post(record, () if descriptor is None else (descriptor,))
            while self._end.pending and not self._end.flush():
                # The emperor never blocks, so this cannot last; and a pidfd must be sent before it is closed.
                select.select([], [self._end.fileno()], [], 1.0)

    def _reap(self) -> None:
        """Note who died, end what their sessions still hold, then let the kernel forget them."""
        now = time.monotonic()
        for child in self._children.values():
            if child.dead_at is None and self._zombie(child.pid) is not None:
                child.dead_at = now
                if self._status(child.pid) == 0:
                    child.grace = 0.0  # it has seen its workers out: what is left was never theirs to wait for
        dying = [child for child in self._children.values() if child.dead_at is not None]
        if dying:
            in_grace = {child.pid for child in dying if now - (child.dead_at or now) < child.grace}
            self._spared = spare.living(self._spared)
            caught = sessions.chase(self._children, in_grace, sessions.apart(self._spared, self._children))
            processes = sessions.everyone()  # one look for all of them
            for child in dying:
                self._finish(child, processes, now, caught=caught)
        else:
            self._reap_orphans()

    def _reap_orphans(self) -> None:
        """Reap adopted processes while nobody is dying, some at a time."""
        with contextlib.suppress(ChildProcessError):
            for _ in range(REAPS):
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
                if found is None or found.si_pid in self._children:
                    return
                os.waitpid(found.si_pid, 0)

    @staticmethod
    def _zombie(pid: int) -> os.waitid_result | None:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)

    def _finish(self, child: Child, processes: list[sessions.Process], now: float, *, caught: bool) -> None:
        """End what is left of a dead child's session, and reap it when nothing is left."""
        workers, others = sessions.left_over(processes, child.pid, os.getpid(), self._children, self._spared)
        sessions.kill(others)
        if child.dead_at is None or now - child.dead_at >= child.grace:
            sessions.kill(workers)
        if caught and not others and not child.told:
            # Jobs and daemons are gone, so a successor may start its own; the workers may still answer.
            child.told = True
            self._tell(link.Exited(child.spawn, self._status(child.pid)))
        if caught and not others and not workers:
            os.waitpid(child.pid, 0)
            del self._children[child.pid]

    @staticmethod
    def _status(pid: int) -> int:
        found = ForkServer._zombie(pid)
        if found is None:
            return 0
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _serves(pid: int) -> bool:
    """Whether master `pid` has begun to serve: from then on it catches all of its signals (proc_pid_status(5))."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next((int(line.split()[1], 16) for line in file if line.startswith(b"SigCgt:")), 0)
    except OSError:
        return True  # it cannot be known
    return all(caught >> (number - 1) & 1 for number in SIGNALS)


def _rehearse() -> None:
    """Let no vassal be the first to do what all of them do; where that fails, they are."""
    try:
        rehearsal.rehearse()
    except Exception as error:  # noqa: BLE001 (it is there for speed and memory alone)
        logs.say(f"the rehearsal failed ({error!r}): vassals start more slowly and share less")


def main(descriptor: int, nofile: int) -> None:
    """Run the fork server on its socket `descriptor`; `nofile` is the soft RLIMIT_NOFILE that children get back."""
    os.chdir("/")
    os.set_inheritable(descriptor, False)  # noqa: FBT003 (the function's own signature)
    # Whatever the emperor's libraries left inheritable (watchdog's inotify descriptors) ends here.
    os.closerange(descriptor + 1, max((int(name) for name in os.listdir("/proc/self/fd")), default=descriptor) + 1)
    sessions.become_subreaper()
    titles.show("emperor: fork server")
    assert master.Master is not None  # noqa: S101 (imported here so that every child has it already)
    server = ForkServer(socket.socket(fileno=descriptor), nofile)
    _rehearse()
    gc.collect()
    gc.freeze()
    server.run()
