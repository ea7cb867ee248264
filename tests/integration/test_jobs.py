"""Cron jobs with real commands and a clock of the test's own."""

import os
import selectors
import time
from pathlib import Path

import pytest

from tests.harness import wait_until
from vassal import jobs
from vassal.config.settings import Settings

MINUTE = 29_000_000


class Clock:
    """``time.time`` of the module under test."""

    def __init__(self, monkeypatch):
        self.now = MINUTE * 60.0
        monkeypatch.setattr(jobs.time, "time", lambda: self.now)
        monkeypatch.setenv("TZ", "UTC")


class Bench:
    """Jobs, a clock, and what was said."""

    def __init__(self, monkeypatch, directory):
        self.directory = directory
        self.clock = Clock(monkeypatch)
        self.said, self.told, self.made = [], [], []
        monkeypatch.setattr(jobs.logs, "say", self.said.append)

    def make(self, **settings):
        self.selector = selectors.DefaultSelector()
        self.jobs = jobs.Jobs(Settings(**settings), self.selector, lambda: self.told.append(1))
        self.made.append(self.jobs)
        return self.jobs

    def turn(self):
        self.jobs.look(time.monotonic())
        for key, _ in self.selector.select(0):
            key.data()
        self.reap()

    def reap(self):
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            assert any(one.reaped(pid, os.waitstatus_to_exitcode(status)) for one in self.made)

    def pass_minutes(self, count):
        self.clock.now += 60 * count

    def until(self, condition):
        def met():
            self.turn()
            return condition()

        wait_until(met, 10)

    def text(self, name):
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def count(self, name):
        return len(self.text(name).splitlines())

    def close(self):
        for one in self.made:
            one.terminate()
            wait_until(lambda one=one: (self.reap(), not one.busy)[1], 10)


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Bench(monkeypatch, tmp_path)
    yield made
    made.close()


def test_a_job_runs_once_in_each_minute_and_its_output_is_tagged(bench):
    bench.make(cron=("* * * * * echo hello; echo x >> ran",))
    bench.jobs.activate(0, ())
    bench.turn()
    assert not bench.jobs.busy, "the minute in which it starts is over"
    bench.pass_minutes(1)
    bench.until(lambda: bench.count("ran") == 1 and not bench.jobs.busy)
    for _ in range(5):
        bench.turn()
    assert bench.count("ran") == 1
    bench.pass_minutes(1)
    bench.until(lambda: bench.count("ran") == 2 and not bench.jobs.busy)
    assert bench.said == ["cron echo: hello"] * 2
    assert bench.jobs.minute == MINUTE + 2


def test_nothing_starts_before_activate_and_after_release(bench):
    bench.make(cron=("* * * * * echo x >> ran",))
    bench.pass_minutes(1)
    bench.turn()
    assert bench.jobs.deadline() is None
    bench.jobs.activate(MINUTE, ())
    bench.jobs.release()
    bench.turn()
    assert not bench.jobs.busy


@pytest.mark.parametrize(("last", "runs"), [(MINUTE, False), (MINUTE - 1, True), (MINUTE - 30, True)])
def test_a_minute_runs_at_most_once_also_across_a_reload(bench, last, runs):
    bench.make(cron=("* * * * * echo x >> ran",))
    bench.jobs.activate(last, ())
    bench.jobs.look(time.monotonic())
    assert bench.jobs.busy is runs


def test_minutes_missed_are_not_made_up(bench):
    bench.make(cron=("-30 -1 -1 -1 -1 echo x >> ran",))
    bench.jobs.activate(0, ())
    bench.pass_minutes(95 - MINUTE % 30)  # five minutes past the half hour
    bench.turn()
    assert not bench.jobs.busy


def test_a_unique_job_that_still_runs_starts_once_when_it_ends(bench, tmp_path):
    bench.make(unique_cron=("* * * * * echo x >> ran; while [ ! -e go ]; do sleep 0.01; done",))
    bench.jobs.activate(0, ())
    bench.pass_minutes(1)
    bench.until(lambda: bench.count("ran") == 1)
    for _ in range(3):
        bench.pass_minutes(1)
        bench.turn()
    assert bench.count("ran") == 1
    (tmp_path / "go").touch()
    bench.until(lambda: bench.count("ran") == 2 and not bench.jobs.busy)
    for _ in range(5):
        bench.turn()
    assert bench.count("ran") == 2


def test_a_job_that_is_not_unique_may_run_twice_at_once(bench):
    bench.make(cron=("* * * * * echo x >> ran; sleep 600",))
    bench.jobs.activate(0, ())
    for expected in (1, 2):
        bench.pass_minutes(1)
        bench.until(lambda expected=expected: bench.count("ran") == expected)


def test_a_unique_job_of_an_older_generation_is_waited_for(bench, monkeypatch):
    command = "echo x >> ran; while [ ! -e go ]; do sleep 0.01; done"
    old = bench.make(unique_cron=(f"* * * * * {command}",))
    old.activate(0, ())
    bench.pass_minutes(1)
    bench.until(lambda: bench.count("ran") == 1)
    old.release()
    minute, running = old.parting()
    assert len(running) == 1
    new = bench.make(unique_cron=(f"* * * * * {command}",))
    new.activate(minute, running)
    bench.pass_minutes(1)
    new.look(time.monotonic())
    assert not new.busy
    assert new.deadline() is not None, "its end is no event: it has to be looked for"
    (bench.directory / "go").touch()
    wait_until(lambda: (bench.reap(), not old.busy)[1], 10)
    new.look(time.monotonic())
    assert new.busy


@pytest.mark.parametrize("text", ["", "x", "1 2", "1 999999999 sleep", "99999999999 1 sleep", "a b c"])
def test_what_another_generation_says_is_not_believed_blindly(bench, text):
    bench.make(unique_cron=("* * * * * true",))
    bench.jobs.activate(MINUTE - 1, (text,))
    bench.jobs.look(time.monotonic())
    assert bench.jobs.busy


def test_harakiri_kills_the_whole_group(bench):
    bench.make(cron2=("minute=-1,harakiri=1 sleep 600 & echo $! > pid; wait",))
    bench.jobs.activate(0, ())
    bench.pass_minutes(1)
    bench.until(lambda: bench.count("pid") == 1)
    stat = Path(f"/proc/{int(bench.text('pid'))}/stat")
    bench.until(lambda: not bench.jobs.busy)
    assert "ran longer than 1 s" in "\n".join(bench.said)
    wait_until(lambda: not stat.exists() or ") Z " in stat.read_text(), 10)


def test_what_status_shows(bench):
    bench.make(cron=("* * * * * exit 3", "0 0 30 2 * never"), cron_harakiri=5)
    bench.jobs.activate(0, ())
    bench.pass_minutes(1)
    bench.jobs.look(time.monotonic())
    assert bench.jobs.report().exits == (jobs.RUNNING, jobs.RUNNING)
    bench.until(lambda: not bench.jobs.busy)
    report = bench.jobs.report()
    assert report.commands == ("exit 3", "never")
    assert report.exits == (3, jobs.RUNNING)
    assert report.last == ((MINUTE + 1) * 60, 0)
    assert report.next == ((MINUTE + 2) * 60, 0)
    assert bench.told


def test_a_job_gets_nothing_of_the_master(bench):
    ours = {int(name) for name in os.listdir("/proc/self/fd")}
    leaking = {
        fd for fd in ours if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)
    }  # of who runs this
    private = os.open("/dev/null", os.O_RDONLY)
    bench.make(cron=("* * * * * ls /proc/self/fd > fds; cat; ps -o pgid= -p $$ > group; echo $$ >> group",))
    bench.jobs.activate(MINUTE - 1, ())
    bench.until(lambda: bench.count("group") == 2 and not bench.jobs.busy)
    os.close(private)
    got = {int(word) for word in bench.text("fds").split()} - leaking
    assert got <= {0, 1, 2, 3}, "the last is the directory that is listed"
    group, pid = bench.text("group").split()
    assert group == pid


def test_a_job_that_writes_without_end_does_not_hold_the_master(bench):
    bench.make(cron=("* * * * * yes",))
    bench.jobs.activate(MINUTE - 1, ())
    bench.until(lambda: len(bench.said) > 1000)
    bench.jobs.terminate()
    bench.until(lambda: not bench.jobs.busy)


def test_a_thousand_lines_are_looked_at_only_when_one_is_due(bench):
    bench.make(cron=tuple(f"{number % 60} {number % 24} * * * true" for number in range(1000)))
    bench.jobs.activate(0, ())
    due = [entry.due for entry in bench.jobs._entries]
    assert all(MINUTE < one <= MINUTE + 1440 for one in due)
    assert bench.jobs.wake() == min(due) * 60


def test_many_jobs_at_once_are_few_reports(bench):
    bench.make(cron=tuple(f"* * * * * true {number}" for number in range(30)))
    bench.jobs.activate(MINUTE - 1, ())
    bench.until(lambda: not bench.jobs.busy)
    assert len(bench.told) <= 2
    bench.until(lambda: len(bench.told) >= 2 or jobs.RUNNING not in bench.jobs.report().exits)
