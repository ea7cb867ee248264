"""Smart daemons, as the emperor looks at them: nothing is spared on a vassal's word alone."""

import os
import subprocess

import pytest

from emperor.spared import LONGEST, MOST, Spared
from vassal import sessions

ME = os.getpid()
UID = os.getuid()


class Fleet:
    """What was told to those who sweep, and to the log."""

    def __init__(self):
        self.spared_now, self.killed, self.said = set(), [], []
        self.it = Spared(self.spared_now.update, self.killed.extend, self.said.append)

    def claim(self, text, name="blog", masters=(ME,), uid=UID):
        self.it.claimed(name, [text], set(masters), uid)
        return self.it.of(name)


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def child():
    """A process below this one, in a session of its own."""
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def text(pid, start=None):
    return f"{pid} {sessions.look(pid).start if start is None else start} 15 key mark "


def test_what_is_below_a_master_is_spared_until_it_ends(fleet, child):
    said = text(child.pid)
    assert fleet.claim(said) == (said,)
    assert fleet.spared_now == {(child.pid, sessions.look(child.pid).start)}
    assert fleet.it.all() == list(fleet.spared_now)
    fleet.claim("")
    assert fleet.it.of("blog") == (said,), "a vassal takes nothing back: only its end does"
    child.kill()
    child.wait()
    assert fleet.it.of("blog") == ()
    assert fleet.it.all() == []


def test_a_later_master_may_name_what_an_earlier_one_did(fleet, child):
    said = text(child.pid)
    fleet.claim(said)
    assert fleet.claim(said, masters=(1,)) == (said,)


def test_its_vassals_end_is_its_end(fleet, child):
    fleet.claim(text(child.pid))
    fleet.it.forget("blog")
    assert fleet.killed == [(child.pid, sessions.look(child.pid).start)]
    assert fleet.it.of("blog") == ()
    fleet.it.forget("blog")
    assert len(fleet.killed) == 1


NONSENSE = ["", "x y", "1", str(ME), "-1 5 15 k m ", "99999999999999999999 1 15 k m ", "٣ 1 x"]


@pytest.mark.parametrize("said", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense(fleet, said):
    assert fleet.claim(said) == ()
    assert not fleet.spared_now


def test_a_recycled_pid(fleet, child):
    assert fleet.claim(text(child.pid, sessions.look(child.pid).start - 1)) == ()
    assert not fleet.spared_now


def test_a_process_of_somebody_else(fleet, child):
    assert fleet.claim(text(1)) == ()
    assert fleet.claim(text(child.pid), masters=(child.pid + 1, 2**22 + 1)) == ()
    assert "none of the vassal's masters" in fleet.said[-1]
    assert not fleet.spared_now


def test_a_process_of_another_user(fleet, child):
    assert fleet.claim(text(child.pid), uid=UID + 1) == ()
    assert "another user" in fleet.said[-1]


def test_what_stays_in_its_masters_session_is_swept_with_it(fleet):
    process = subprocess.Popen(["/bin/sleep", "600"])
    try:
        assert fleet.claim(text(process.pid)) == ()
        assert "session" in fleet.said[-1]
        assert fleet.claim(text(process.pid), masters=(os.getsid(0), ME)) == ()
    finally:
        process.kill()
        process.wait()


def test_too_much(fleet, child):
    said = text(child.pid)
    assert fleet.claim(said + "x" * LONGEST) == ()
    fleet.it.claimed("blog", [*["junk"] * MOST, said], {ME}, UID)
    assert fleet.it.of("blog") == ()


def test_another_user_inherits_nothing(fleet, child):
    said = text(child.pid)
    fleet.claim(said)
    assert fleet.it.of("blog", UID) == (said,)
    assert fleet.it.of("blog", UID + 1) == ()
    assert fleet.killed == [(child.pid, sessions.look(child.pid).start)]
