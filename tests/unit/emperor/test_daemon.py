"""The emperor's end, as its service manager sees it."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from emperor import daemon
from emperor.settings import EmperorSettings


def test_a_bug_ends_it_with_a_status_of_its_own(monkeypatch):
    said = []

    def broken(settings):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(daemon, "Emperor", broken)
    monkeypatch.setattr(daemon, "say", said.append)
    monkeypatch.setattr(daemon.sessions, "become_subreaper", lambda: None)
    assert daemon.run(EmperorSettings(places=("/x",))) == daemon.CRASHED == 70
    assert "bug" in said[-1]
    assert said[-1].endswith("ZeroDivisionError: of all things")


def test_an_interrupt_is_no_bug(monkeypatch):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(daemon, "Emperor", interrupted)
    monkeypatch.setattr(daemon, "say", lambda text: None)
    monkeypatch.setattr(daemon.sessions, "become_subreaper", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        daemon.run(EmperorSettings(places=("/x",)))


def test_a_sign_of_life_that_fails_is_not_the_last_one():
    """systemd kills an emperor whose `WATCHDOG=1` stays away: no thread to be had must not stop it."""
    signs = []

    def fails():
        raise RuntimeError("can't start new thread")

    async def main():
        loop = asyncio.get_running_loop()
        mistakes, third = [], asyncio.Event()

        def alive():
            signs.append(1)
            if len(signs) == 3:
                third.set()

        loop.set_exception_handler(lambda _loop, context: mistakes.append(context))
        emperor = daemon.Emperor.__new__(daemon.Emperor)
        emperor._loop, emperor._settings, emperor._stopping, emperor._told = loop, EmperorSettings(), True, ""
        emperor._notifier = SimpleNamespace(alive=alive, watchdog=0.02)
        emperor._log_room = SimpleNamespace(look=fails)
        emperor._control = None  # not asked while it stops
        emperor.fleet = SimpleNamespace(vassals={}, reap=lambda: None)
        with contextlib.suppress(RuntimeError):
            emperor._tick()
        await asyncio.wait_for(third.wait(), 20)
        assert mistakes

    asyncio.run(main())


def test_a_mistake_that_nobody_waits_for_is_told_like_all_else(monkeypatch):
    said = []
    monkeypatch.setattr(daemon, "say", said.append)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(daemon._tell_mistake)
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)
        loop.call_exception_handler({"message": "accept", "exception": OSError(24, "Too many open files")})

    asyncio.run(main())
    assert "bug in the emperor" in said[0]
    assert said[0].endswith("ZeroDivisionError: integer division or modulo by zero")
    assert said[1:] == ["accept: [Errno 24] Too many open files"]
