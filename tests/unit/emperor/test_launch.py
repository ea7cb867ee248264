"""The fork server that is started before its emperor is there: taken once, or ended."""

import os
import socket

import pytest

from emperor import launch
from vassal import link


@pytest.fixture(autouse=True)
def nobody_waits():
    yield
    launch.drop()


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split()}


def test_what_is_started_early_is_taken_once():
    before = children()
    launch.early()
    (pid,) = children() - before
    first = launch.take(1024)
    assert first.pid == pid
    second = launch.take(1024)
    assert second.pid != pid
    for launched in (first, second):
        launched.sock.close()
        os.waitpid(launched.pid, 0)


def test_it_answers_as_a_fork_server():
    launch.early()
    launched = launch.take(1024)
    end = link.End(launched.sock, link.AT_SPAWNER)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end.post(link.Spawn(7), (theirs.fileno(),))
        launched.sock.setblocking(True)
        launched.sock.settimeout(20)
        record, descriptors = end.read()
    assert (record.spawn, len(descriptors)) == (7, 1)
    os.close(descriptors[0])
    launched.sock.close()
    os.waitpid(launched.pid, 0)


def test_what_nobody_takes_ends():
    before = children()
    launch.early()
    launch.drop()
    assert children() == before


def test_a_process_that_cannot_be_started_is_tried_again_by_who_wants_it(monkeypatch):
    def fails(*_: object, **__: object) -> int:
        raise OSError("no memory")

    monkeypatch.setattr(os, "posix_spawn", fails)
    launch.early()
    with pytest.raises(OSError, match="no memory"):
        launch.take(1024)
