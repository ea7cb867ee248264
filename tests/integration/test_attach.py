"""Daemons with real processes: groups, sessions, pidfiles, output, and what tries to get away."""

import ctypes
import os
import selectors
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.harness import wait_until
from vassal import attach, daemons, sessions
from vassal.attach import Daemons
from vassal.config.settings import Settings
from vassal.daemonlines import Spec
from vassal.launch import Kept, outlive

ESCAPE = "import os,sys,time;os.fork() and os._exit(0);os.setsid();os.fork() and os._exit(0);{}"
"""A double fork with setsid; then what is formatted in."""


class Bench:
    """A master's surroundings: generations of daemons, a selector, and what was said."""

    def __init__(self, monkeypatch, directory):
        self.directory = directory
        self.selector = selectors.DefaultSelector()
        self.said, self.told, self.ended, self.made = [], [], [], []
        monkeypatch.setattr(attach.logs, "say", self.said.append)

    def make(self, mercy=10, **settings):
        one = Daemons(
            Settings(reload_mercy=mercy, **settings),
            self.selector,
            lambda: self.told.append(one.report()),
            lambda: self.ended.append(1),
        )
        self.made.append(one)
        return one

    def start(self, **settings):
        one = self.make(**settings)
        one.activate(time.monotonic(), ())
        return one

    def turn(self):
        for one in self.made:
            one.look(time.monotonic())
        for key, _ in self.selector.select(0):
            key.data()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            any(one.reaped(pid, os.waitstatus_to_exitcode(status), time.monotonic()) for one in self.made)

    def until(self, condition, message="the condition"):
        def met():
            self.turn()
            return condition()

        return wait_until(met, 20, lambda: f"{message}: {self.said}")

    def words(self, name):
        path = self.directory / name
        return path.read_text().split() if path.exists() else []

    def state(self, number=0, one=None):
        return (one or self.made[-1]).report().states[number]

    def pid(self, number=0, one=None):
        return (one or self.made[-1]).report().pids[number]

    def heard(self, text):
        return any(text in line for line in self.said)

    def rest(self, one, **how):
        """Release it, and wait until it has nothing more to end."""
        one.release(time.monotonic(), how.pop("mercy", 10.0), **how)
        self.until(lambda: not one.busy, "its daemons to end")

    def close(self):
        for one in self.made:
            one.finish(time.monotonic(), 0.0)
        self.until(lambda: not any(one.busy for one in self.made), "all daemons to end")


def reaped_all():
    """Reap what has ended; True where no child is left."""
    while True:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                return False
        except ChildProcessError:
            return True


@pytest.fixture(scope="module", autouse=True)
def _subreaper():
    """What double-forks comes back here, as to a master; but only while these tests run."""
    sessions.become_subreaper()
    yield
    wait_until(reaped_all, 20, "the last children to end")
    assert ctypes.CDLL(None).prctl(sessions.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def lives(pid):
    found = sessions.look(int(pid))
    return found is not None and found.state not in "ZX"


def python(code):
    return f"{sys.executable} -c '{code}'"


# --- plain -------------------------------------------------------------------------------------------------------


def test_a_plain_daemon_starts_with_its_generation_and_gets_nothing_of_the_master(bench, monkeypatch):
    monkeypatch.setenv("SHOP", "green")
    leaking = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaking, True)
    one = bench.make(attach_daemon=("ls /proc/self/fd > fds; echo $SHOP $PWD; echo $$ > pid; exec sleep 600",))
    bench.turn()
    assert not one.busy, "another generation may still run its own"
    one.activate(time.monotonic(), ())
    (pid,) = bench.until(lambda: bench.words("pid"))
    os.close(leaking)
    bench.until(lambda: bench.heard(f"daemon ls: green {bench.directory}"), "its output, tagged")
    assert set(bench.words("fds")) <= {"0", "1", "2", "3"}, "the last is the directory that is listed"
    found = sessions.look(int(pid))
    assert (found.group, found.session) == (int(pid), os.getsid(0))
    assert bench.pid() == int(pid)
    bench.rest(one)
    assert not lives(pid)


def test_one_program_is_its_own_process(bench):
    bench.start(attach_daemon=("sleep 600",))
    bench.until(lambda: Path(f"/proc/{bench.pid()}/cmdline").read_bytes() == b"sleep\x00600\x00")


def test_it_is_started_again_and_given_up(bench, monkeypatch):
    monkeypatch.setattr(daemons, "FIRST_WAIT", 0.01)
    bench.start(attach_daemon2=("cmd=echo x >> ran; exit 3,freq=3", "cmd=./none,freq=1,chdir=nowhere"))
    bench.until(lambda: bench.state() == bench.state(1) == "given up")
    assert bench.words("ran") == ["x"] * 3
    assert bench.made[0].report().restarts == (2, 0)
    assert bench.heard("exited with status 3")
    assert bench.heard("No such file or directory nowhere")
    assert bench.made[0].deadline() is None or bench.made[0].deadline() > time.monotonic(), "it costs nothing now"


def test_stop_reaches_the_whole_group(bench):
    one = bench.start(attach_daemon=("trap '' TERM; sleep 600 & echo $! > child; trap 'exit 0' TERM; wait",))
    (child,) = bench.until(lambda: bench.words("child"))
    bench.rest(one, mercy=0.3)
    assert not lives(child), "it ignored the signal, and lost its parent"


def test_one_that_ignores_the_stop_signal_is_killed_at_mercy(bench):
    one = bench.start(attach_daemon=("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done",))
    (pid,) = bench.until(lambda: bench.words("pid"))
    began = time.monotonic()
    one.release(began, 0.5)
    bench.until(lambda: not one.busy)
    assert time.monotonic() - began >= 0.5
    assert not lives(pid)


def test_who_double_forks_does_not_get_away(bench):
    escape = ESCAPE.format('open("away","w").write(str(os.getpid()));time.sleep(600)')
    one = bench.start(attach_daemon=(f"{python(escape)}; exec sleep 600",))
    (away,) = bench.until(lambda: bench.words("away"))
    assert sessions.look(int(away)).session != os.getsid(0)
    bench.rest(one)
    # It is known by its environment, which a process that ends has lost a moment before it is a zombie.
    bench.until(lambda: not lives(away), "its end")


def test_it_is_not_started_again_before_all_of_it_has_ended(bench, monkeypatch):
    monkeypatch.setattr(daemons, "FIRST_WAIT", 0.01)
    bench.start(attach_daemon=("trap '' TERM; sleep 600 & echo $! >> children; exit 1",), mercy=1)
    (first,) = bench.until(lambda: bench.words("children"))
    bench.until(lambda: len(bench.words("children")) > 1)
    assert not lives(first)


def test_a_control_daemon_ends_the_vassal(bench):
    bench.start(attach_control_daemon=("true",))
    bench.until(lambda: bench.ended)
    assert bench.heard("control daemon")
    bench.until(lambda: bench.state() == "ended")


def test_a_touch_restarts_it_or_sends_its_reload_signal(bench, monkeypatch):
    monkeypatch.setattr(attach.touch, "EVERY", 0.02)
    (bench.directory / "a").touch()
    (bench.directory / "b").touch()
    keeps = "trap 'echo told >> told' USR1; echo $$ >> second; while :; do sleep 0.05; done"
    bench.start(
        attach_daemon2=(
            "touch=a,cmd=echo $$ >> first; exec sleep 600",
            f"touch=b;c,reloadsignal=USR1,cmd={keeps}",
        )
    )
    bench.until(lambda: bench.words("first") and bench.words("second"))
    (bench.directory / "a").write_text("x")
    (bench.directory / "c").touch()
    bench.until(lambda: len(bench.words("first")) == 2)
    bench.until(lambda: bench.words("told") == ["told"])
    assert len(bench.words("second")) == 1
    assert not lives(bench.words("first")[0])


def test_a_daemon_that_writes_without_end_does_not_hold_the_master(bench):
    one = bench.start(attach_daemon=("yes",))
    bench.until(lambda: len(bench.said) > 1000)
    bench.rest(one)


def test_a_release_is_taken_back(bench):
    one = bench.start(
        attach_daemon=("echo $$ >> plain; exec sleep 600",),
        smart_attach_daemon2=(("s.pid", "echo $$ >> smart; exec sleep 600"),),
    )
    bench.until(lambda: bench.words("plain") and bench.words("smart"))
    one.release(time.monotonic(), 10.0, reloading=False)
    one.resume(time.monotonic())
    bench.until(lambda: len(bench.words("plain")) == 2)
    bench.rest(one, reloading=False)
    one.resume(time.monotonic())
    bench.until(lambda: len(bench.words("plain")) == 3)
    assert len(bench.words("smart")) == 1
    bench.until(lambda: bench.made[0].report().states == ("running", "running"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it takes another identity")
def test_root_may_give_a_daemon_another_user(bench):
    bench.directory.chmod(0o777)
    bench.start(attach_daemon2=("uid=65534,gid=65534,cmd=id -u; id -G; exec sleep 600", "uid=nobody-there,cmd=true"))
    bench.until(lambda: bench.heard("daemon id: 65534"))
    bench.until(lambda: bench.heard("nobody-there"))


# --- smart -------------------------------------------------------------------------------------------------------


def kept_of(one):
    return [Kept.parse(text) for text in one.kept()]


def test_a_smart_daemon_outlives_its_generation(bench):
    line = (("s.pid", "echo $$ >> ran; exec sleep 600"),)
    old = bench.start(smart_attach_daemon2=line)
    (pid,) = bench.until(lambda: bench.words("ran"))
    assert bench.words("s.pid") == [pid]
    assert bench.told, "the emperor must know of it before this master dies"
    assert kept_of(old)[0].pid == int(pid)
    found = sessions.look(int(pid))
    assert found.session != os.getsid(0)
    bench.rest(old)
    assert lives(pid)
    assert kept_of(old)[0].pid == int(pid)
    new = bench.make(smart_attach_daemon2=line)
    new.activate(time.monotonic(), old.kept())
    bench.turn()
    assert (bench.state(), bench.pid()) == ("running", int(pid))
    os.kill(int(pid), signal.SIGKILL)
    bench.until(lambda: len(bench.words("ran")) == 2, "its end to be noticed by who took it over")
    new.finish(time.monotonic(), 10.0)
    bench.until(lambda: not new.busy)
    assert not lives(bench.words("ran")[1])
    assert not (bench.directory / "s.pid").exists(), "the vassal wrote it, and removes it"


def test_one_that_goes_into_the_background_is_found_by_its_pidfile(bench):
    code = ESCAPE.format('open("s.pid","w").write(str(os.getpid()));os.close(1);os.close(2);time.sleep(600)')
    one = bench.start(smart_attach_daemon=(("s.pid", python(code)),))
    bench.until(lambda: bench.state() == "running")
    (pid,) = bench.words("s.pid")
    assert bench.pid() == int(pid)
    os.kill(int(pid), signal.SIGKILL)
    bench.until(lambda: bench.words("s.pid") not in ([], [pid]) and bench.state() == "running", "it to be started anew")
    again = bench.pid()
    bench.rest(one)
    assert lives(again)
    one.finish(time.monotonic(), 10.0)
    bench.until(lambda: not one.busy)
    assert not lives(again)


def test_one_that_is_not_named_yet_ends_with_its_generation(bench):
    one = bench.start(smart_attach_daemon=(("s.pid", "echo $$ > ran; exec sleep 600"),))
    (pid,) = bench.until(lambda: bench.words("ran"))
    assert bench.state() == "starting"
    assert one.kept() == ()
    bench.rest(one)
    assert not lives(pid)


def test_one_whose_line_has_changed_ends_before_the_new_one_starts(bench):
    old = bench.start(
        smart_attach_daemon2=(
            ("s.pid", "trap 'sleep 0.3; echo end >> ran; exit' TERM; echo > set; while :; do sleep 0.05; done"),
            ("t.pid", "sleep 600"),
        )
    )
    bench.until(lambda: len(kept_of(old)) == 2 and (bench.directory / "set").exists())
    gone = kept_of(old)[1].pid
    bench.rest(old)
    new = bench.make(smart_attach_daemon2=(("s.pid", "echo begin >> ran; exec sleep 600"),))
    new.activate(time.monotonic(), old.kept())
    bench.until(lambda: "begin" in bench.words("ran"))
    assert bench.words("ran") == ["end", "begin"]
    bench.until(lambda: not lives(gone), "one whose line has gone to end")
    bench.until(lambda: new.report().states == ("running",))
    assert bench.words("s.pid") == [str(bench.pid())]


def _symlink(path):
    (path.parent / "real").write_text(str(os.getpid()))
    path.symlink_to("real")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_text("twelve\n"), "holds no pid"),
        (lambda path: path.write_text("9" * 100), "holds no pid"),
        (lambda path: path.write_text("-1\n"), "holds no pid"),
        (lambda path: path.write_text("1\n"), "started"),
        (os.mkfifo, "no regular file"),
        (_symlink, "symbolic link"),
        (lambda path: path.mkdir(), "no regular file"),
    ],
    ids=["garbage", "huge", "negative", "init", "fifo", "link", "directory"],
)
def test_a_pidfile_may_hold_anything(bench, make, told):
    make(bench.directory / "s.pid")
    one = bench.start(smart_attach_daemon=(("s.pid", "echo $$ > ran; exec sleep 600"),))
    (pid,) = bench.until(lambda: bench.words("ran"))
    assert bench.heard(told)
    one.finish(time.monotonic(), 10.0)
    bench.until(lambda: not one.busy)
    assert not lives(pid)


def test_the_pid_of_somebody_else_is_never_adopted_and_never_signalled(bench, monkeypatch):
    monkeypatch.setattr(daemons, "STRANGER", 0.3)
    mine = str(os.getpid())
    (bench.directory / "s.pid").write_text(mine)
    # As if the pid had been recycled: the record is of a process that started earlier.
    kept = Kept(os.getpid(), 1, signal.SIGKILL, Spec("echo $$ > ran; exec sleep 600", "s.pid").key, "", "")
    one = bench.make(smart_attach_daemon=(("s.pid", "echo $$ > ran; exec sleep 600"),))
    one.activate(time.monotonic(), (kept.text,))
    (pid,) = bench.until(lambda: bench.words("ran"))
    assert bench.heard(f"names process {mine}, which is not this vassal's")
    assert bench.heard("left alone")
    assert bench.pid() == int(pid)
    one.finish(time.monotonic(), 10.0)
    bench.until(lambda: not one.busy)
    assert not lives(pid)


def test_a_pidfile_that_is_a_link_is_not_written_through(bench):
    (bench.directory / "real").write_text("precious")
    (bench.directory / "s.pid").symlink_to("real")
    bench.start(smart_attach_daemon2=(("s.pid", "sleep 600"),))
    bench.until(lambda: bench.state() == "running")
    assert bench.words("real") == ["precious"]
    assert bench.heard("cannot write the pidfile")


def test_the_output_of_a_smart_daemon_is_tagged_after_its_master_has_gone(bench, tmp_path):
    log = tmp_path / "log"
    command = "echo one; while [ ! -e go ]; do sleep 0.02; done; trap '' PIPE; echo two; printf three; exec sleep 600"
    with log.open("ab") as file:
        saved = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            one = bench.start(smart_attach_daemon2=(("s.pid", command),))
        finally:
            for number, back in zip((1, 2), saved, strict=True):
                os.dup2(back, number)
                os.close(back)
    bench.until(lambda: "daemon echo: one\n" in log.read_text())
    bench.rest(one)
    (tmp_path / "go").touch()
    bench.until(lambda: "daemon echo: two\n" in log.read_text())
    (line,) = [line for line in log.read_text().splitlines() if line.endswith("two")]
    assert line.split()[2] == "[vassal]"
    one.finish(time.monotonic(), 10.0)
    bench.until(lambda: not one.busy)
    assert log.read_text().endswith("daemon echo: three\n"), "an unfinished line comes with its end"


@pytest.mark.parametrize("text", ["", "1 2 3", "x 2 15 k m p", "1 2 999 k m p", "1 99999999999999999999 15 k m p"])
def test_what_is_handed_on_is_not_believed_blindly(text):
    assert Kept.parse(text) is None


def test_nobody_left_ends_what_a_vassal_has_left(bench):
    line = "trap 'echo told > told; exit' USR1; sleep 600 & echo $! > child; echo $$ > ran; wait"
    one = bench.start(attach_daemon2=(f"pidfile=s.pid,daemonize=1,stopsignal=USR1,cmd={line}",))
    (pid,) = bench.until(lambda: bench.words("ran"))
    (child,) = bench.words("child")
    bench.rest(one)
    child_of_emperor = os.fork()
    if not child_of_emperor:
        try:
            outlive(kept_of(one), 0.5)
        finally:
            os._exit(0)
    bench.until(lambda: not lives(pid) and not lives(child))
    assert bench.words("told") == ["told"]
    bench.until(lambda: not (bench.directory / "s.pid").exists())
