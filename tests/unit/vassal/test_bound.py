"""Which UNIX paths the kernel says are held, asked once and asked often."""

import socket
import time

import pytest

from tests.harness import wait_until
from vassal import bound


@pytest.fixture
def readings(monkeypatch):
    """How often the kernel's table was read."""
    counted = []
    read = bound._waiting

    def counting():
        counted.append(1)
        return read()

    monkeypatch.setattr(bound, "_waiting", counting)
    return counted


def bind(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def older(path):
    """Wait until the file at `path` is surely older than what is read now."""
    wait_until(lambda: path.lstat().st_ctime < time.time() - 2 * bound.COARSE, 5, "the file to be of yesterday")


def test_a_thousand_dead_sockets_take_one_look(tmp_path, readings):
    paths = [tmp_path / f"{number}.sock" for number in range(1000)]
    for path in paths:
        bind(path).close()
    older(paths[-1])
    table = bound.Table()
    assert not any(table.holds(str(path)) for path in paths)
    assert len(readings) == 1


@pytest.mark.parametrize("ask", [bound.holds, bound.Table().holds])
def test_one_that_is_bound_is_held_listening_or_not(tmp_path, ask):
    path = tmp_path / "a name with blanks.sock"
    with bind(path) as sock:
        assert ask(str(path))
        sock.listen()
        assert ask(str(path))
    assert not bound.holds(str(path))
    assert not ask(str(tmp_path / "nothing"))


def test_one_that_was_made_after_the_reading_is_seen(tmp_path, readings):
    old, new = tmp_path / "old.sock", tmp_path / "new.sock"
    bind(old).close()
    older(old)
    table = bound.Table()
    assert not table.holds(str(old))
    with bind(new):
        assert table.holds(str(new))
    with bind(old.rename(tmp_path / "away").parent / "old.sock"):
        assert table.holds(str(old))  # the same path, another file
    assert len(readings) == 3


def test_one_that_has_left_is_believed_gone_after_a_second(tmp_path):
    path = tmp_path / "x.sock"
    with bind(path):
        older(path)
        table = bound.Table()
        assert table.holds(str(path))
    wait_until(lambda: not table.holds(str(path)), 5, "the end to be seen")
