"""The worker processes of a master: forked, heard, reaped.

What they should be says `vassal.pool`; this module makes it so. The one danger is a child that runs on in its parent's
code: from the fork to ``os._exit`` nothing may escape.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import socket
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vassal import channel, embedded, gauges, logs, pool, signals, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.scoreboard import Scoreboard

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""What a master catches, and a worker gets back at its default."""
_FORK_WARNS = sys.version_info >= (3, 12)
"""Whether os.fork speaks of threads."""


@dataclass(slots=True)
class Child:
    """One worker process, and the master's end `sock` of its channel. `why` it failed, if it said."""

    pid: int
    pidfd: int
    sock: socket.socket
    why: channel.Failed | None = None


class Owner(Protocol):
    """The master, as its children's keeper sees it."""

    def plan(self, slot: int, sock: socket.socket) -> worker.WorkerPlan:
        """Return what the worker in `slot` needs; called in the child."""

    def leave(self) -> None:
        """Give up what only the master may hold; called in the child."""

    def loaded(self, slot: int) -> None:
        """The worker in `slot` has loaded the app."""

    def want_reload(self, reason: str) -> None:
        """A worker wants a new generation."""

    def reaped(self, pid: int, status: int) -> None:
        """Another child has ended with `status`."""

    def lost(self, message: channel.Lost) -> None:
        """A worker has lost lines of the log."""

    def gone(self, slot: int, child: Child, status: int) -> None:
        """The worker in `slot` has ended with `status` (negative: the signal)."""


class Children:
    """All workers of one generation, by their slot on the scoreboard."""

    def __init__(
        self,
        owner: Owner,
        workers: pool.Pool,
        board: Scoreboard,
        selector: selectors.BaseSelector,
        title: Callable[[int], None],
    ) -> None:
        self._owner = owner
        self._pool = workers
        self._board = board
        self._selector = selector
        self._title = title
        self.by_slot: dict[int, Child] = {}

    def act(self, actions: Sequence[pool.Action]) -> None:
        """Carry out what the pool decided."""
        for action in actions:
            child = self.by_slot.get(action.slot)
            if isinstance(action, pool.Start):
                self._fork(action.slot, action.number)
            elif child is None:
                continue
            elif isinstance(action, pool.Admit):
                channel.send(child.sock, channel.Accept())
            elif isinstance(action, pool.Dismiss):
                if not channel.send(child.sock, channel.Retire(action.mercy)):
                    self._signal(child, signal.SIGTERM)
            else:
                logs.say(f"worker in slot {action.slot} (pid {child.pid}) did not leave in time: killed")
                self._signal(child, signal.SIGKILL)

    def reopened(self, index: int, descriptor: int) -> None:
        """Tell every worker that log file number `index` is the file `descriptor` now."""
        for child in self.by_slot.values():
            channel.send(child.sock, channel.Reopened(index), [descriptor])

    def kill_all(self) -> None:
        """SIGKILL every worker."""
        for child in self.by_slot.values():
            self._signal(child, signal.SIGKILL)

    def refuse(self, slot: int, stage: str, reason: str) -> None:
        """SIGKILL the worker in `slot`, which has loaded the app and may not serve."""
        child = self.by_slot.get(slot)
        if child is not None:
            child.why = channel.Failed(stage, reason, "")
            self._signal(child, signal.SIGKILL)

    def weigh(self, limit: int) -> None:
        """SIGKILL those that accept and have more than `limit` bytes resident (``evil-reload-on-rss``)."""
        for one in self._pool.serving:
            child = self.by_slot.get(one.slot)
            rss = gauges.memory(child.pid)[0] if child is not None else 0
            if child is not None and rss >= limit:
                logs.say(f"worker {one.number} (pid {child.pid}) has {rss >> 20} MiB (evil-reload-on-rss): killed")
                self._signal(child, signal.SIGKILL)

    def serving_pids(self) -> tuple[int, ...]:
        """Return the pids of those that accept, in order."""
        return tuple(sorted(self.by_slot[w.slot].pid for w in self._pool.serving if w.slot in self.by_slot))

    def _fork(self, slot: int, number: int) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            self._not_forked(slot, number, error)
            return
        self._board.reset(slot)
        before = signals.mask(signals.BLOCK, SIGNALS)
        try:
            pid = _fork()
        except OSError as error:
            signals.mask(signals.SETMASK, before)
            ours.close()
            theirs.close()
            self._not_forked(slot, number, error)
            return
        if pid == 0:
            ours.close()
            self._become_worker(slot, number, theirs)
        signals.mask(signals.SETMASK, before)
        theirs.close()
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._not_forked(slot, number, error)
            return
        child = Child(pid, pidfd, ours)
        self.by_slot[slot] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(slot, child))

    def _not_forked(self, slot: int, number: int, error: OSError) -> None:
        """Leave it to the pool when to try again: what is short now (descriptors, memory) may come back."""
        logs.say(f"cannot fork worker {number}: {error.strerror}")
        self._pool.gone(slot, time.monotonic())

    def _become_worker(self, slot: int, number: int, sock: socket.socket) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for caught in SIGNALS:
                signals.handle(caught, signals.DEFAULT)
            signals.mask(signals.SETMASK, ())
            self._owner.leave()
            for child in self.by_slot.values():
                child.sock.close()
                os.close(child.pidfd)
            self._title(number)
            plan = self._owner.plan(slot, sock)
            plan.id = number
            status = worker.run(plan)
            embedded.call("atexit")
            atexit._run_exitfuncs()  # noqa: SLF001 (os._exit skips them, and a worker is the process that apps meant)
        except BaseException:  # noqa: BLE001 (the child must never run on into its parent's loop)
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _hear(self, slot: int, child: Child) -> None:
        try:
            while (message := channel.receive(child.sock)) is not None:
                if isinstance(message, channel.Loaded):
                    self._owner.loaded(slot)
                elif isinstance(message, channel.Failed):
                    child.why = message
                elif isinstance(message, channel.Leaving):
                    self._pool.asked(slot, stuck=message.stuck)
                elif isinstance(message, channel.ReloadWanted):
                    self._owner.want_reload(message.reason)
                elif isinstance(message, channel.Lost):
                    self._owner.lost(message)
            self._deafen(child)
        except BlockingIOError:
            return
        except channel.ChannelError as error:
            logs.say(f"worker in slot {slot} (pid {child.pid}) spoke nonsense: {error}; killed")
            self._deafen(child)
            self._signal(child, signal.SIGKILL)

    def _deafen(self, child: Child) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.sock)

    def reap(self) -> None:
        """Take note of who has ended; orphans that came back to this subreaper are reaped by the way."""
        slots = {child.pid: slot for slot, child in self.by_slot.items()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            slot = slots.get(pid)
            if slot is not None:
                self._gone(slot, os.waitstatus_to_exitcode(status))
            else:
                self._owner.reaped(pid, os.waitstatus_to_exitcode(status))

    def _gone(self, slot: int, status: int) -> None:
        child = self.by_slot[slot]
        self._hear(slot, child)  # what it said last
        del self.by_slot[slot]
        self._deafen(child)
        child.sock.close()
        os.close(child.pidfd)
        self._owner.gone(slot, child, status)

    @staticmethod
    def _signal(child: Child, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)  # ours until it is reaped: the pid cannot be anybody else's


def _fork() -> int:
    """os.fork without its warning of threads: those of the app are its own doing, and have been told of."""
    if not _FORK_WARNS:
        return os.fork()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def describe(status: int) -> str:
    """Return how a process ended, for people: ``was killed by SIGSEGV``, ``exited with status 3``."""
    if status >= 0:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
