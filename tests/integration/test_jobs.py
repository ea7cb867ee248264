"""Cron jobs with real commands and a clock of the test's own."""

import os
import selectors
import time
from pathlib import Path

import pytest

from tests.harness import wait_until
from vassal import jobs, link
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


def test_a_clock_that_is_set_back_does_not_stop_cron(bench):
    bench.make(cron=("* * * * * echo again",))
    bench.jobs.activate(MINUTE - 1, ())
    bench.until(lambda: bench.said)
    bench.pass_minutes(-7 * 1440)
    bench.turn()
    bench.pass_minutes(1)
    bench.until(lambda: len(bench.said) == 3)
    assert "set back" in bench.said[1]
    bench.until(lambda: not bench.jobs.busy)
    bench.jobs.release()
    minute, running = bench.jobs.parting()
    bench.make(cron=("* * * * * echo after",))
    bench.jobs.activate(minute + 30 * 1440, running)  # told by who did not notice
    bench.pass_minutes(1)
    bench.until(lambda: any("after" in line for line in bench.said))


def test_a_clock_that_is_set_back_a_little_repeats_no_minute(bench):
    bench.make(cron=("* * * * * echo once",))
    bench.jobs.activate(MINUTE - 1, ())
    bench.until(lambda: bench.said)
    bench.pass_minutes(-10)
    bench.turn()
    bench.pass_minutes(5)
    bench.turn()
    bench.until(lambda: not bench.jobs.busy)
    assert len(bench.said) == 1


def test_the_wall_clock_is_looked_at_every_minute(bench):
    """It may be set, or the machine sleep, while nothing is due for hours."""
    bench.make(cron=("0 0 1 1 * true",))
    bench.jobs.activate(0, ())
    bench.jobs.tell_all()
    assert bench.jobs.deadline() - time.monotonic() <= 60


def test_a_report_of_many_long_commands_fits_the_link(bench):
    bench.make(cron=tuple(f"* * * 1 * echo {number} {'ж😀' * 200}" for number in range(200)))
    bench.jobs.activate(0, ())
    report = bench.jobs.report()
    assert len(report.commands) == jobs.SHOWN
    assert len(link.encode(report)) < link.MAX_PACKET


def test_a_unique_job_that_waits_starts_in_the_next_generation(bench, tmp_path):
    gate = tmp_path / "gate"
    line = f"* * * * * echo begin; while [ ! -e {gate} ]; do sleep 0.01; done"
    old = bench.make(unique_cron=(line,))
    old.activate(MINUTE - 1, ())
    bench.until(lambda: bench.said)
    bench.pass_minutes(1)
    bench.turn()  # due, and it still runs: it waits
    old.release()
    minute, running = old.parting()
    new = bench.make(unique_cron=(line,))
    new.activate(minute, running)
    new.look(time.monotonic())
    assert not new.busy
    gate.touch()
    bench.until(lambda: not old.busy)
    bench.until(lambda: len(bench.said) == 2)
    bench.until(lambda: not new.busy)
    assert bench.said == ["cron echo: begin"] * 2


def test_a_command_that_cannot_be_started_is_no_running_one(bench, monkeypatch):
    def short(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(jobs.shell, "Command", short)
    bench.make(cron=("* * * * * true",))
    bench.jobs.activate(MINUTE - 1, ())
    bench.turn()
    assert bench.jobs.report().exits == (127,)
    assert "Too many open files" in bench.said[0]


def test_a_parked_vassal_is_woken_by_the_zone_of_its_file(bench):
    """Its minute is that of the child that runs its jobs."""
    settings = Settings(cron=("0 3 * * * true",), env=(("TZ", "Asia/Tokyo"),))
    assert jobs.next_wake(settings) % 86400 == 18 * 3600
    made = jobs.Jobs(settings, selectors.DefaultSelector(), lambda: None)
    assert made.wake() == jobs.next_wake(settings)


@pytest.mark.parametrize("blank", [" ", "\t", "  \t"])
def test_cron2_takes_any_blank_before_its_command(blank):
    (job,) = jobs.parsed(Settings(cron2=(f"minute=5,unique=1{blank}echo a  b",)))
    assert (job.command, job.unique) == ("echo a  b", True)


def test_a_unique_job_is_told_of_through_several_generations(bench, tmp_path):
    """Two touches in a row: the third generation must not start what the first one still runs."""
    gate = tmp_path / "gate"
    line = f"* * * * * echo begin; while [ ! -e {gate} ]; do sleep 0.01; done"
    first = bench.make(unique_cron=(line,))
    first.activate(MINUTE - 1, ())
    bench.until(lambda: bench.said)
    first.release()
    second = bench.make(unique_cron=(line,))
    second.activate(*first.parting())
    second.release()
    minute, running = second.parting()
    assert len(running) == 1
    third = bench.make(unique_cron=(line,))
    third.activate(minute, running)
    bench.pass_minutes(1)
    bench.turn()
    assert not third.busy
    gate.touch()
    bench.until(lambda: len(bench.said) == 2)
    bench.until(lambda: not third.busy)


class Watched(list):
    """A list that counts how often somebody goes through it."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


def test_a_turn_in_which_nothing_is_due_looks_at_no_line(bench):
    bench.make(cron=tuple(f"{number % 59 + 1} * * * * true" for number in range(1000)))
    bench.clock.now = MINUTE // 60 * 3600.0  # minute 0 of an hour
    bench.jobs.activate(0, ())
    bench.jobs.tell_all()
    watched = bench.jobs._entries = Watched(bench.jobs._entries)
    for _ in range(50):
        bench.turn()
        assert bench.jobs.deadline() is not None
    assert watched.walks == 0
    bench.jobs.release()
    assert bench.jobs.deadline() is None
