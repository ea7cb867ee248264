"""The emperor's end of the fork server, with a process of the test's own in its place."""

import asyncio
import errno
import os
import signal
import socket
import subprocess

import psutil
import pytest

from emperor import launch, spawner
from emperor.spawner import Spawner
from tests.harness import wait_until
from vassal import link


class Parent:
    def __init__(self):
        self.heard = []

    def spawned(self, spawn, pid, pidfd):
        os.close(pidfd)
        self.heard.append(("spawned", spawn))

    def unspawned(self, spawn, reason):
        self.heard.append(("unspawned", spawn, reason))

    def exited(self, spawn, status):
        self.heard.append(("exited", spawn, status))


@pytest.fixture
def launched(monkeypatch):
    """The far ends of all fork servers that were started, each with its process, which only sleeps."""
    started = []

    def take(_nofile):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(["/bin/sleep", "600"])
        started.append((theirs, process))
        return launch.Launched(process.pid, ours)

    monkeypatch.setattr(launch, "take", take)
    yield started
    for theirs, process in started:
        theirs.close()
        process.kill()
        process.wait()


async def until(condition):
    await asyncio.to_thread(wait_until, condition)


def test_a_fork_server_whose_answer_is_lost_is_replaced(launched):
    async def scenario():
        parent, said = Parent(), []
        instance = Spawner(asyncio.get_running_loop(), parent, said.append, 1024)
        instance.start()
        ours, theirs = socket.socketpair()
        instance.spawn(7, theirs.detach())
        launched[0][0].send(b"no record at all")
        await until(lambda: len(launched) == 2)
        instance.close()
        ours.close()
        return parent.heard, said

    heard, said = asyncio.run(scenario())
    assert heard == [("unspawned", 7, "the fork server died")]
    assert "is lost" in said[0]
    assert launched[0][1].poll() is not None


def test_a_fork_server_that_stands_still_is_replaced(launched, monkeypatch):
    async def scenario():
        parent, said = Parent(), []
        instance = Spawner(asyncio.get_running_loop(), parent, said.append, 1024)
        instance.start()
        ours, theirs = socket.socketpair()
        launched[0][1].send_signal(signal.SIGSTOP)
        monkeypatch.setattr(spawner, "PATIENCE", 0.2)
        instance.spawn(7, theirs.detach())
        await until(lambda: len(launched) == 2)
        monkeypatch.setattr(spawner, "PATIENCE", 60.0)
        instance.spawn(8, os.dup(ours.fileno()))
        instance._look()  # the alarm of an earlier request: this one has not waited yet
        link.End(launched[1][0], link.AT_FORK_SERVER).post(link.Unspawned(8, "no"))
        await until(lambda: ("unspawned", 8, "no") in parent.heard)
        instance.close()
        ours.close()
        return parent.heard, said

    heard, said = asyncio.run(scenario())
    assert heard[0] == ("unspawned", 7, "the fork server died")
    assert "has not answered for 0.2 s" in said[0]
    assert len(launched) == 2


def test_a_fork_server_that_cannot_be_watched_is_none(launched, monkeypatch):
    def full(_pid):
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario():
        instance = Spawner(asyncio.get_running_loop(), Parent(), [].append, 1024)
        monkeypatch.setattr(os, "pidfd_open", full)
        with pytest.raises(OSError, match="Too many"):
            instance.start()
        assert instance.pid == 0

    asyncio.run(scenario())
    assert not psutil.pid_exists(launched[0][1].pid)
    assert launched[0][1].wait() in (0, -signal.SIGKILL)  # 0: the spawner has reaped it
