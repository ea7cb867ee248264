"""Processes of a session: who is left of a dead master, and ending them.

Every master leads a session of its own. Its workers stay in the master's process group; daemons and cron jobs have
groups of their own. The one danger: a session id that was used again. Callers therefore look only while the leader
is still a zombie (``waitid`` with ``WNOWAIT``), so that the kernel cannot hand out its pid anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_prctl = ctypes.CDLL(None, use_errno=True).prctl
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""
CHASES = 50
"""Looks in one chase for processes that fork while they are being ended: whoever chases does nothing else."""
GENERATIONS = 64
"""Parents that are looked at above a process, at most."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process as ``/proc/PID/stat`` shows it (proc_pid_stat(5))."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int
    """Clock ticks after boot: with the pid it names a process for ever."""


def become_subreaper() -> None:
    """Make orphans below this process come back to it instead of init.

    Raises:
        OSError: the kernel refuses (it never does on Linux >= 3.4).
    """
    if _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def look(pid: int) -> Process | None:
    """Return process `pid`, or None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The command name may hold spaces and parentheses: the fields begin after the last one.
    rest = text[text.rfind(b")") + 2 :].split()
    return Process(pid, rest[0].decode(), int(rest[1]), int(rest[2]), int(rest[3]), int(rest[19]))


def everyone() -> list[Process]:
    """Return all processes that this one can see."""
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def children() -> list[int]:
    """Return the pids of the main thread's children, zombies and all that this process has adopted included.

    They stay its own until they are reaped: no other process can get such a pid meanwhile.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [process.pid for process in everyone() if process.parent == os.getpid()]


def apart(pairs: Collection[tuple[int, int]], masters: Collection[int]) -> set[int]:
    """Return the sessions of those processes (pid and start time) that are still there; never a master's, nor ours."""
    found = (look(pid) for pid, _ in pairs)
    theirs = {process.session for process in found if process is not None and (process.pid, process.start) in pairs}
    return theirs - {*masters, os.getsid(0)}


def chase(known: Collection[int], spared: Collection[int], aside: Collection[int] = ()) -> bool:
    """Kill and reap what dead masters have left to this process, but for its children `known`.

    Also what forks and ends again and again, so that it is never found where it was seen: its next process comes to us
    the moment that the one before ends. Left alone are the process groups `spared` (workers in their grace), the
    sessions `aside` (smart daemons), and our own session, which no descendant of a master can be in.

    Returns:
        Whether all are gone; False: somebody is still on the run.
    """
    own = os.getsid(0)
    for _ in range(CHASES):
        found = False
        for pid in children():
            process = None if pid in known else look(pid)
            if process is None or process.session == own or process.session in aside or process.group in spared:
                continue
            found = True  # a dead one, too: it may have forked just before
            if process.state in "ZX":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # ours until it is reaped: the pid cannot be anybody else's
        if not found:
            return True
    return False


def left_over(
    processes: Collection[Process],
    leader: int,
    parent: int,
    known: Collection[int],
    spared: Collection[tuple[int, int]] = (),
) -> tuple[list[Process], list[Process]]:
    """Return (workers, others) that a dead master has left, zombies not counted.

    `leader` is the dead master's pid. `others` are the rest of its session, and orphans that came back to `parent`
    (the subreaper that asks) without being one of its `known` children: processes that had called setsid. Left out are
    those `spared` (pid and start time), smart daemons that outlive a generation, with all of their sessions.
    """
    apart = {process.session for process in processes if (process.pid, process.start) in spared} - {leader, *known}
    workers: list[Process] = []
    others: list[Process] = []
    for process in processes:
        if process.pid == leader or process.state in "ZX" or process.session in apart:
            continue
        if process.session == leader:
            (workers if process.group == leader else others).append(process)
        elif process.parent == parent and process.pid not in known and process.session not in known:
            # (Adopted workers of another dead master are still in that one's session, and in their grace.)
            others.append(process)
    return workers, others


def descends(pid: int, ancestors: Collection[int]) -> bool:
    """Return whether one of `ancestors` is above process `pid`, or is it itself."""
    for _ in range(GENERATIONS):
        if pid in ancestors:
            return True
        process = look(pid)
        if process is None or process.parent <= 1:
            return False
        pid = process.parent
    return False


def variable(pid: int, name: str) -> str:
    """Return what process `pid` was given as the variable `name`; '' for nothing, or where that cannot be known."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            text = file.read()
    except OSError:
        return ""
    start = f"{name}=".encode()
    found = next((entry for entry in text.split(b"\0") if entry.startswith(start)), start)
    return found[len(start) :].decode(errors="replace")


def kill(processes: Collection[Process], number: int = signal.SIGKILL) -> None:
    """Send them signal `number`; those that are gone meanwhile are passed over."""
    for process in processes:
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(process.pid)
            try:
                # The descriptor pins the process: what is looked at now is what the signal reaches.
                now = look(process.pid)
                if now is not None and now.start == process.start:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
