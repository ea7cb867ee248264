"""The module uwsgi: what it offers, what it denies, and its decorators."""

import importlib
import os
import socket
import sys
import threading

import pytest

from vassal import channel, embedded
from vassal.config import Settings
from vassal.scoreboard import PID, REQUESTS, Scoreboard


@pytest.fixture
def uwsgi(monkeypatch):
    before = {name: sys.modules.pop(name, None) for name in ("uwsgi", embedded.DECORATORS)}
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    embedded.install(
        Settings(processes=3, threads=2), (("processes", "3"), ("master", ""), ("env", "A=1"), ("env", "B=2"))
    )
    yield importlib.import_module("uwsgi")
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def worker(uwsgi):
    """The module in a worker, and the master's end of its channel."""
    embedded.share()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    board = Scoreboard(3, 2)
    embedded.become_worker(2, theirs, board)
    uwsgi.board = board
    yield ours
    ours.close()
    theirs.close()
    os.close(uwsgi._memory)


def test_what_an_app_can_ask(uwsgi):
    assert (uwsgi.numproc, uwsgi.cores, uwsgi.worker_id(), uwsgi.masterpid()) == (3, 2, 0, os.getpid())
    always = dict.fromkeys(embedded.ALWAYS, True)
    assert uwsgi.opt == {**always, "processes": b"3", "env": [b"A=1", b"B=2"]}
    assert uwsgi.version == b"2.0.30"
    assert uwsgi.version_info >= (2, 0, 30)
    assert uwsgi.mule_id() == 0


def test_what_a_worker_can_ask(uwsgi, worker):
    uwsgi.board.row(1, None).counts[PID] = 4711
    uwsgi.board.row(1, 0).counts[REQUESTS] = 5
    assert uwsgi.worker_id() == 2
    assert [(one["pid"], one["requests"], one["status"]) for one in uwsgi.workers()] == [(4711, 5, b"idle")]
    assert uwsgi.total_requests() == 5
    assert uwsgi.reload()
    assert channel.receive(worker) == channel.ReloadWanted("uwsgi.reload()")


def test_who_has_nobody_to_ask_is_told_so(uwsgi):
    assert not uwsgi.reload()
    assert not uwsgi.stop()
    with pytest.raises(RuntimeError, match="still being loaded"):
        uwsgi.lock()
    assert not uwsgi.is_locked.__self__._locks[0].locked(), "a lock that failed is not kept"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cache_get", "use Redis"),
        ("spool", "attach-daemon"),
        ("register_signal", "cron = "),
        ("add_timer", "cron = "),
        ("websocket_handshake", "ASGI"),
        ("no_such_thing", "no meaning here"),
    ],
)
def test_what_is_not_offered_is_not_there(uwsgi, name, why):
    assert not hasattr(uwsgi, name)
    with pytest.raises(AttributeError, match=f"uwsgi.{name} is not offered: .*{why}"):
        getattr(uwsgi, name)
    with pytest.raises(ImportError):
        exec(f"from uwsgi import {name}")


def test_a_lock_is_for_all_processes(uwsgi, worker):
    assert not uwsgi.is_locked()
    uwsgi.lock()
    assert uwsgi.is_locked()
    assert not uwsgi.is_locked(1)
    seen = []
    other = threading.Thread(target=lambda: (uwsgi.lock(), seen.append(1), uwsgi.unlock()))
    other.start()
    pid = os.fork()
    if pid == 0:
        uwsgi._locks = [threading.Lock() for _ in range(2)]  # a worker that was forked before
        os._exit(7 if uwsgi.is_locked() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert seen == []
    uwsgi.unlock()
    other.join(10)
    assert seen == [1]
    assert not uwsgi.is_locked()


def test_what_the_app_wants_called(uwsgi, monkeypatch):
    said, called = [], []
    monkeypatch.setattr(embedded.logs, "say", said.append)
    embedded.call("atexit")
    uwsgi.atexit = lambda: called.append(1)
    embedded.call("atexit")
    assert (called, said) == ([1], [])
    uwsgi.atexit = lambda: 1 / 0
    embedded.call("atexit")
    assert "uwsgi.atexit raised" in said[0]
    assert "ZeroDivisionError" in said[0]


def test_decorators(uwsgi, worker, tmp_path, monkeypatch):
    (tmp_path / f"{embedded.DECORATORS}.py").write_text("raise AssertionError('the real one')")
    monkeypatch.syspath_prepend(tmp_path)
    decorators = importlib.import_module(embedded.DECORATORS)
    called = []

    @decorators.postfork
    def each():
        called.append("each")

    @decorators.postfork(2)
    def second():
        called.append("second")

    @decorators.postfork(3)
    def third():
        called.append("third")

    embedded.call("post_fork_hook")
    assert called == ["each", "second"]
    assert decorators.lock(uwsgi.is_locked)()
    assert not uwsgi.is_locked()
    decorators.thread(called.append)("thread").join(10)
    assert called[-1] == "thread"
    said = []
    monkeypatch.setattr(embedded.logs, "say", said.append)
    with pytest.raises(ImportError):
        exec("from uwsgidecorators import timer")
    assert said == ["uwsgidecorators.timer is not offered: use cron = … or attach-daemon in the vassal's file"]
    with pytest.raises(AttributeError, match="cron = "):
        decorators.timer  # noqa: B018 (to be refused)


@pytest.mark.parametrize(
    "settings", [Settings(uwsgi_module=False), Settings(module="uwsgi:app"), Settings(module="uwsgi.wsgi")]
)
def test_a_vassal_that_wants_none_has_none(monkeypatch, settings):
    monkeypatch.delitem(sys.modules, "uwsgi", raising=False)
    embedded.install(settings, ())
    assert "uwsgi" not in sys.modules
    embedded.share()
    embedded.call("atexit")
