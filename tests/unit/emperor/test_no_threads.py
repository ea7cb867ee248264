"""An emperor on a machine that has no thread left: what wants one is done later, and nothing else stops."""

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest

from emperor import orphans
from emperor.commands import Commands
from emperor.logroom import LogRoom, Seldom
from emperor.relog import Relog


@pytest.fixture
def threads(monkeypatch):
    """Switches: `left` is how many threads can still be started."""
    switch = SimpleNamespace(left=0)
    start = threading.Thread.start

    def begin(thread):
        if switch.left <= 0:
            raise RuntimeError("can't start new thread")
        switch.left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", begin)
    return switch


async def later(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("not within 20 s")


def test_the_log_directory_is_looked_at_later(threads, tmp_path):
    said = []

    async def main():
        room = LogRoom(str(tmp_path / "gone"), said.append, Seldom(said.append))
        room.look()
        threads.left = 1
        room.look()
        await later(lambda: said)

    asyncio.run(main())
    assert "gone cannot be used" in said[0]


def test_moved_logs_are_looked_for_later_and_one_that_is_asked_for_fails(threads):
    looked = []

    class Contracts:
        @property
        def opened(self):
            looked.append(1)
            return {}

    async def main():
        relog = Relog({}, Contracts(), lambda text: None, None)
        await relog.look()
        assert not looked
        outcome = (await relog.reopen(["blog"]))[0]
        assert not outcome.ok
        assert "thread" in outcome.text
        threads.left = 1
        await relog.look()
        assert looked

    asyncio.run(main())


def test_status_is_told_without_memory(threads):
    run = SimpleNamespace(pid=os.getpid())
    fleet = SimpleNamespace(vassals={"blog": None}, runs={"blog": {1: run}})

    async def main():
        found = await Commands(fleet).memory(None)
        threads.left = 1  # for the end of the loop
        return found

    assert asyncio.run(main()) == {"blog": 0}


def test_what_a_dead_master_left_is_ended_later(threads, monkeypatch):
    monkeypatch.setattr(orphans, "PAUSE", 0.01)
    gone = []
    pid = os.posix_spawn("/bin/false", ["false"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    async def main():
        them = orphans.Orphans(asyncio.get_running_loop(), lambda spawn, status: gone.append((spawn, status)))
        them.adopt(7, pid)
        await asyncio.sleep(0.1)
        assert not gone
        threads.left = 2
        await later(lambda: gone and them._task is None)

    asyncio.run(main())
    assert gone == [(7, 1)]
