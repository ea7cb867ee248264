"""The emperor's end, as its service manager sees it."""

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
