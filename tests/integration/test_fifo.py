"""Named pipes for commands: made, refused, read, handed over, removed; and what the letters do."""

import os
import selectors
import signal
import stat

import pytest

from vassal import fifo, remote
from vassal.pool import Cheaper, Phase, Pool


class Pipes:
    """Pipes of one or two generations, and the letters that each has read."""

    def __init__(self, directory):
        self.directory = directory
        self.selector = selectors.DefaultSelector()
        self.made = []

    def make(self, *names):
        letters = []
        one = fifo.Fifos(names, str(self.directory), self.selector, letters.append)
        self.made.append(one)
        return one, letters

    def turn(self):
        for key, _ in self.selector.select(0):
            key.data()


@pytest.fixture
def pipes(tmp_path):
    pipes = Pipes(tmp_path)
    yield pipes
    for one in pipes.made:
        one.release()
        one.leave()
    assert not pipes.selector.get_map()
    pipes.selector.close()


def write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "w", encoding="ascii") as file:
        file.write(text)


def test_a_pipe_is_made_read_and_removed(pipes, tmp_path):
    one, letters = pipes.make("a", str(tmp_path / "b"))
    assert one.problem() == ""
    assert not (tmp_path / "a").exists()
    one.take()
    one.take()
    found = (tmp_path / "a").lstat()
    assert (stat.S_ISFIFO(found.st_mode), found.st_mode & 0o777) == (True, 0o600)
    write(tmp_path / "a", "r\n")
    write(tmp_path / "b", "+++s")
    pipes.turn()
    write(tmp_path / "a", "q")  # a pipe whose writer has gone is read on
    pipes.turn()
    pipes.turn()
    assert sorted(letters) == sorted("r+++sq")
    one.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_newest_generation_reads_and_nothing_is_lost(pipes, tmp_path):
    old, heard_by_old = pipes.make("a")
    new, heard_by_new = pipes.make("a")
    old.take()
    old.release()
    assert new.problem() == ""
    write(tmp_path / "a", "r")
    new.take()
    pipes.turn()
    assert (heard_by_old, heard_by_new) == ([], ["r"])
    inode = (tmp_path / "a").lstat().st_ino
    old.leave()
    write(tmp_path / "a", "w")
    pipes.turn()
    assert heard_by_new == ["r", "w"]
    assert (tmp_path / "a").lstat().st_ino == inode


def test_somebody_elses_file_is_not_removed(pipes, tmp_path):
    one, _ = pipes.make("a")
    one.take()
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("mine")
    one.remove()
    assert (tmp_path / "a").read_text() == "mine"


def test_one_turn_reads_so_much_and_no_more(pipes, tmp_path):
    one, letters = pipes.make("a")
    one.take()
    write(tmp_path / "a", "s" * 1000)
    pipes.turn()
    assert len(letters) == fifo.READ


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("mine"), "something else than a named pipe"),
        (lambda path: path.mkdir(), "something else than a named pipe"),
        (lambda path: path.symlink_to("/dev/null"), "something else than a named pipe"),
        (lambda path: (os.mkfifo(path.with_name("real")), path.symlink_to("real")), "something else than a named pipe"),
    ],
)
def test_what_is_no_pipe_is_refused_and_left_alone(pipes, tmp_path, monkeypatch, make, why):
    make(tmp_path / "a")
    before = (tmp_path / "a").lstat()
    one, _ = pipes.make("a")
    assert why in one.problem()
    said = []
    monkeypatch.setattr(fifo.logs, "say", said.append)
    one.take()  # it may have come to lie there later
    assert why in said[0]
    one.remove()
    assert (tmp_path / "a").lstat() == before


def test_a_pipe_that_follows_no_rule_of_ours_is_told(pipes, tmp_path, monkeypatch):
    one, _ = pipes.make("none/a")
    assert one.problem() == f"master-fifo = {tmp_path}/none/a: there is no directory {tmp_path}/none"
    os.mkfifo(tmp_path / "b")
    monkeypatch.setattr(fifo.os, "geteuid", lambda: 54321)
    one, _ = pipes.make("b")
    assert "belongs to" in one.problem()


# --- letters ---


class Master:
    """The parts of a master that have commands, as far as letters touch them."""

    def __init__(self, monkeypatch, **options):
        self.done = []
        self.pool = Pool(3, 60, **options)
        for action in self.pool.decide(0):
            self.pool.loaded(action.slot, 0)
        monkeypatch.setattr(remote.logs, "say", lambda text: self.done.append(f"says {text}"))
        self.remote = remote.Remote(
            self.pool,
            self,
            self,
            self,
            self,
            renew=self._note("renews"),
            signalled=self._note("signalled"),
            rotate=lambda: self.done.append("rotates"),
        )

    def _note(self, word):
        return lambda what: self.done.append(f"{word} {what}")

    # children
    by_slot = {}  # noqa: RUF012 (nobody writes to it)

    def act(self, actions):
        self.done += [type(action).__name__ for action in actions]

    # scoreboard
    def worker(self, _slot):
        return type("View", (), {"requests": 7, "exceptions": 1, "busy": (1,)})

    # slumber
    asleep = False

    def pause(self, _now):
        self.done.append("pauses")

    def go_cheap(self, _now):
        self.done.append("goes cheap")

    # chaining
    def want(self, reason):
        self.done.append(f"chains {reason}")


@pytest.mark.parametrize(
    ("letter", "done"),
    [
        ("r", ["renews master-fifo: r"]),
        ("R", ["renews master-fifo: R"]),
        ("w", ["chains master-fifo: w"]),
        ("W", ["chains master-fifo: W"]),
        ("c", ["chains master-fifo: c"]),
        ("q", [f"signalled {int(signal.SIGTERM)}"]),
        ("Q", [f"signalled {int(signal.SIGQUIT)}"]),
        ("l", [f"signalled {int(signal.SIGUSR1)}"]),
        ("L", ["rotates"]),
        ("p", ["pauses"]),
        ("C", ["goes cheap"]),
        ("0", ["says master-fifo: 0: all pipes are read, there is none to be chosen"]),
        ("f", ["says master-fifo: 'f' is no command here (see docs/signals.md)"]),
        ("\x9b", ["says master-fifo: '\\x9b' is no command here (see docs/signals.md)"]),
    ],
)
def test_what_a_letter_does(monkeypatch, letter, done):
    master = Master(monkeypatch)
    master.remote.obey(letter)
    assert master.done == done


def test_s_tells_of_each_worker(monkeypatch):
    master = Master(monkeypatch)
    master.remote.obey("s")
    assert len(master.done) == 3
    assert master.done[0] == "says worker 1: pid 0, serving, 7 requests, 1 exceptions, 1 threads busy"
    master.pool.workers.clear()
    master.remote.obey("s")
    assert master.done[-1] == "says no workers"


@pytest.mark.parametrize(("options", "least"), [({}, 1), ({"cheaper": Cheaper(2, 3)}, 2)])
def test_fewer_and_more_workers(monkeypatch, options, least):
    master = Master(monkeypatch, **options)
    for _ in range(4):
        master.remote.obey("-")
    serving = [one for one in master.pool.workers.values() if one.phase is Phase.SERVING]
    assert (master.pool.wanted, len(serving)) == (least, least)
    assert master.done[-1] == f"says master-fifo: -: {least} workers of at most 3"
    for _ in range(4):
        master.remote.obey("+")
    assert master.pool.wanted == 3
    master.asleep = True
    master.remote.obey("-")
    assert (master.pool.wanted, master.done[-1]) == (3, "says master-fifo: -: there are no workers now")
