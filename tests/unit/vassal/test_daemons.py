"""When a daemon is started, signalled, killed and given up: histories of events, with a clock of the test's own."""

import signal

import pytest

from vassal import daemons
from vassal.config.settings import Settings
from vassal.daemonlines import Spec, parsed, shell_line, signal_number
from vassal.daemons import Daemon, EndVassal, Look, Say, Signal, Start, State, Sweep

PLAIN = Spec("celery worker")
SMART = Spec("redis-server", "/run/r.pid")
FOREGROUND = Spec("redis-server", "/run/r.pid", daemonize=True)


def doing(actions):
    """The actions without what is only said."""
    return [action for action in actions if not isinstance(action, Say)]


def said(actions):
    return " ".join(action.text for action in actions if isinstance(action, Say))


def running(spec=PLAIN, at=0.0, mercy=5.0):
    daemon = Daemon(spec, mercy)
    daemon.begin(at, inherited=False)
    if spec.smart:
        daemon.named(at, ours=False)
    daemon.started(at)
    if daemon.state is State.STARTING:
        daemon.named(at, ours=True)
    assert daemon.state is State.RUNNING
    return daemon


def die(daemon, now, how="exited with status 1"):
    """It ends and leaves nothing; return what follows."""
    actions = daemon.exited(now, how, well=False, named=False)
    assert Sweep() in actions
    return [*actions, *daemon.cleared(now)]


# --- plain -------------------------------------------------------------------------------------------------------


def test_a_plain_daemon_starts_when_its_generation_serves_alone():
    daemon = Daemon(PLAIN, 5.0)
    assert daemon.due(100.0) == []
    assert daemon.begin(0.0, inherited=False) == [Start()]
    daemon.started(0.0)
    assert (daemon.state, daemon.deadline, daemon.restarts) == (State.RUNNING, None, 0)


def test_one_that_ends_after_a_long_run_is_started_again_at_once():
    daemon = running()
    actions = die(daemon, daemons.STEADY)
    assert Start() in actions
    assert "exited with status 1" in said(actions)
    daemon.started(daemons.STEADY)
    assert daemon.restarts == 1


def test_one_that_ends_at_once_waits_longer_each_time_and_for_ever():
    daemon = running()
    now, waits = 0.0, []
    for _ in range(9):
        assert Start() not in die(daemon, now)
        assert daemon.state is State.BACKOFF
        waits.append(daemon.deadline - now)
        assert daemon.due(daemon.deadline - 0.01) == []
        now = daemon.deadline
        assert daemon.due(now) == [Start()]
        daemon.started(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_long_run_forgets_the_failures_before():
    daemon = running()
    die(daemon, 1.0)
    daemon.due(daemon.deadline)
    daemon.started(2.0)
    assert Start() in die(daemon, 2.0 + daemons.STEADY)
    daemon.started(20.0)
    die(daemon, 21.0)
    assert daemon.deadline == 22.0


def test_freq_attempts_and_no_more():
    daemon = running(Spec("false", freq=3))
    now = 0.0
    for _ in range(2):
        die(daemon, now)
        now = daemon.deadline
        daemon.due(now)
        daemon.started(now)
    actions = die(daemon, now)
    assert daemon.state is State.GIVEN_UP
    assert daemon.deadline is None
    assert "given up after 3 attempts" in said(actions)
    assert not daemon.busy


def test_one_that_cannot_be_started_counts_as_an_attempt():
    daemon = Daemon(Spec("x", chdir="/none", freq=2), 5.0)
    daemon.begin(0.0, inherited=False)
    assert "No such file" in said(daemon.not_started(0.0, "No such file"))
    assert daemon.state is State.BACKOFF
    assert daemon.due(1.0) == [Start()]
    daemon.not_started(1.0, "No such file")
    assert daemon.state is State.GIVEN_UP


def test_max_throttle_bounds_the_wait():
    daemon = running(Spec("false", longest_wait=3.0))
    now = 0.0
    for _ in range(5):
        die(daemon, now)
        wait, now = daemon.deadline - now, daemon.deadline
        daemon.due(now)
        daemon.started(now)
    assert wait == 3.0


# --- the end -----------------------------------------------------------------------------------------------------


def test_stop_signals_and_waits_for_all_of_it():
    daemon = running(Spec("x", stop_signal=signal.SIGINT))
    assert daemon.stop(10.0, 5.0) == [Signal(signal.SIGINT), Sweep()]
    assert daemon.exited(10.1, "ended", well=True, named=False) == [Sweep()]
    assert daemon.busy, "its group may not be empty yet"
    assert daemon.cleared(10.2) == []
    assert daemon.state is State.ENDED


def test_one_that_ignores_the_signal_is_killed_at_mercy_and_until_nothing_is_left():
    daemon = running()
    daemon.stop(10.0, 5.0)
    now, seen = 10.0, []
    while now < 17.0:
        now = daemon.deadline
        actions = daemon.due(now)
        seen.append((now, Signal(signal.SIGKILL) in actions))
        assert Sweep() in actions
    assert [killed for at, killed in seen if at < 15.0] == [False] * sum(at < 15.0 for at, _ in seen)
    assert all(killed for at, killed in seen if at >= 15.0)
    assert sum(at >= 15.0 for at, _ in seen) > 3


def test_no_mercy_kills_at_once():
    daemon = running()
    daemon.stop(10.0, 0.0)
    assert daemon.deadline == 10.0
    assert Signal(signal.SIGKILL) in daemon.due(10.0)


def test_a_reload_takes_the_reload_signal_a_stop_does_not():
    spec = Spec("x", reload_signal=signal.SIGUSR2)
    assert Signal(signal.SIGUSR2) in running(spec).stop(1.0, 5.0, reloading=True)
    assert Signal(signal.SIGTERM) in running(spec).stop(1.0, 5.0)
    assert Signal(signal.SIGTERM) in running().stop(1.0, 5.0, reloading=True)


def test_a_stop_while_it_is_restarted_is_a_stop():
    daemon = running()
    daemon.touched(1.0, "/f")
    assert daemon.stop(2.0, 1.0) == []
    assert daemon.deadline <= 3.0
    assert daemon.cleared(2.5) == []
    assert daemon.state is State.ENDED


def test_a_start_while_it_ends_comes_when_it_has_ended():
    daemon = running()
    daemon.stop(1.0, 5.0)
    assert daemon.begin(2.0, inherited=False) == []
    assert daemon.cleared(3.0) == [Start()]


@pytest.mark.parametrize("prepare", [lambda _: None, lambda d: d.not_started(0.0, "x")])
def test_one_that_does_not_run_ends_without_a_signal(prepare):
    daemon = Daemon(PLAIN, 5.0)
    daemon.begin(0.0, inherited=False)
    prepare(daemon)
    assert daemon.stop(1.0, 5.0) == []
    assert (daemon.state, daemon.deadline) == (State.ENDED, None)


def test_what_it_leaves_behind_ends_before_it_is_started_again():
    daemon = running()
    actions = daemon.exited(20.0, "ended", well=True, named=False)
    assert doing(actions) == [Signal(signal.SIGTERM), Sweep()]
    assert daemon.state is State.STOPPING
    assert Signal(signal.SIGKILL) in daemon.due(25.0)
    assert daemon.cleared(25.1) == [Start()]


def test_a_control_daemon_takes_the_vassal_with_it():
    daemon = running(Spec("x", control=True))
    actions = daemon.exited(20.0, "exited with status 0", well=True, named=False)
    assert EndVassal() in actions
    assert "control" in said(actions)
    assert daemon.cleared(20.0) == []
    assert daemon.state is State.ENDED


def test_a_control_daemon_that_was_told_to_end_takes_nobody_with_it():
    daemon = running(Spec("x", control=True))
    daemon.stop(1.0, 5.0)
    assert EndVassal() not in daemon.exited(1.1, "ended", well=True, named=False)


# --- touch -------------------------------------------------------------------------------------------------------


def test_a_touch_restarts_it():
    daemon = running(Spec("x", touch=("/f",)))
    actions = daemon.touched(1.0, "/f")
    assert doing(actions) == [Signal(signal.SIGTERM), Sweep()]
    assert "/f was touched" in said(actions)
    assert daemon.cleared(1.5) == [Start()], "at once: it has not failed"


def test_a_touch_sends_the_reload_signal_where_there_is_one():
    daemon = running(Spec("x", touch=("/f",), reload_signal=signal.SIGHUP))
    assert doing(daemon.touched(1.0, "/f")) == [Signal(signal.SIGHUP)]
    assert daemon.state is State.RUNNING


def test_a_touch_tries_again_what_was_given_up():
    daemon = running(Spec("false", freq=1))
    die(daemon, 0.0)
    assert daemon.state is State.GIVEN_UP
    assert doing(daemon.touched(5.0, "/f")) == [Start()]
    daemon.started(5.0)
    die(daemon, 5.0)
    assert daemon.state is State.GIVEN_UP


def test_a_touch_before_it_runs_does_nothing():
    assert Daemon(PLAIN, 5.0).touched(1.0, "/f") == []


# --- smart -------------------------------------------------------------------------------------------------------


def test_a_smart_daemon_is_looked_for_before_it_is_started():
    daemon = Daemon(SMART, 5.0)
    assert daemon.begin(0.0, inherited=False) == [Look()]
    assert daemon.named(0.0, ours=False) == [Start()]


def test_one_that_is_there_already_is_not_started():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    assert doing(daemon.named(0.0, ours=True)) == []
    assert daemon.state is State.RUNNING
    assert daemon.restarts == 0


def test_one_that_an_earlier_generation_left_goes_on():
    daemon = Daemon(SMART, 5.0)
    assert daemon.begin(0.0, inherited=True) == []
    assert daemon.state is State.RUNNING


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        (Spec("x", "/p", reload_signal=signal.SIGUSR1), signal.SIGUSR1),
        (Spec("x", "/p", notify=True), signal.SIGHUP),
    ],
)
def test_a_reload_is_told_to_one_that_goes_on(spec, number):
    assert Daemon(spec, 5.0).begin(0.0, inherited=True) == [Signal(number)]


def test_it_runs_when_its_pidfile_names_it():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    daemon.named(0.0, ours=False)
    daemon.started(0.0)
    assert daemon.state is State.STARTING
    assert daemon.due(daemon.deadline) == [Look()]
    assert daemon.named(0.1, ours=False) == []
    assert daemon.deadline is not None
    daemon.named(0.2, ours=True)
    assert (daemon.state, daemon.deadline) == (State.RUNNING, None), "no look without need"


def test_one_that_went_into_the_background_must_be_named_in_time():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    daemon.named(0.0, ours=False)
    daemon.started(0.0)
    assert daemon.exited(0.5, "exited with status 0", well=True, named=False) == []
    now, actions = 0.5, []
    while not actions:
        now = daemon.deadline
        assert now <= 0.5 + daemons.NAMING + daemons.LOOK_LATER
        assert daemon.due(now) == [Look()]
        actions = daemon.named(now, ours=False)
    assert now >= 0.5 + daemons.NAMING
    assert "not named by /run/r.pid" in said(actions)
    assert Signal(signal.SIGTERM) in actions, "it may run, unnamed"


def test_one_whose_start_fails_is_a_failed_attempt():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    daemon.named(0.0, ours=False)
    daemon.started(0.0)
    die(daemon, 0.3)
    assert daemon.state is State.BACKOFF
    assert daemon.due(daemon.deadline) == [Look()], "somebody may have started it meanwhile"


def test_a_shell_before_it_may_end_as_long_as_the_daemon_lives():
    daemon = running(SMART)
    assert daemon.exited(1.0, "exited with status 0", well=True, named=True) == []
    assert daemon.state is State.RUNNING
    assert Sweep() in daemon.lost(2.0)


def test_one_in_the_foreground_runs_at_once():
    daemon = Daemon(FOREGROUND, 5.0)
    daemon.begin(0.0, inherited=False)
    daemon.named(0.0, ours=False)
    daemon.started(0.0)
    assert (daemon.state, daemon.deadline) == (State.RUNNING, None)
    assert Sweep() in daemon.exited(20.0, "ended", well=True, named=False)


def test_a_stranger_in_the_pidfile_is_waited_for_and_then_left_alone():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    actions = daemon.named(0.0, ours=False, stranger=77)
    assert doing(actions) == []
    assert "77" in said(actions)
    now = 0.0
    while True:
        now = daemon.deadline
        assert daemon.due(now) == [Look()]
        actions = daemon.named(now, ours=False, stranger=77)
        if Start() in actions:
            break
        assert actions == [], "told once"
    assert now == pytest.approx(daemons.STRANGER, abs=0.2)
    assert doing(actions) == [Start()]


def test_a_stranger_that_ends_makes_way():
    daemon = Daemon(SMART, 5.0)
    daemon.begin(0.0, inherited=False)
    daemon.named(0.0, ours=False, stranger=77)
    daemon.due(daemon.deadline)
    assert daemon.named(0.1, ours=False) == [Start()]
    assert daemon.deadline is None


def test_let_go_and_taken_back():
    daemon = running(SMART)
    daemon.let_go()
    assert not daemon.busy
    assert daemon.lost(1.0) == []
    daemon.take_back()
    assert Signal(signal.SIGTERM) in daemon.stop(2.0, 5.0)


def test_every_wait_has_a_deadline():
    """Whatever happens in whatever order: what waits for a time has one, what rests has none."""
    histories = [
        lambda d, t: d.begin(t, inherited=False),
        lambda d, t: d.named(t, ours=False),
        lambda d, t: d.named(t, ours=True),
        lambda d, t: d.named(t, ours=False, stranger=9),
        lambda d, t: d.started(t),
        lambda d, t: d.not_started(t, "x"),
        lambda d, t: d.exited(t, "x", well=True, named=False),
        lambda d, t: d.exited(t, "x", well=False, named=False),
        lambda d, t: d.lost(t),
        lambda d, t: d.cleared(t),
        lambda d, t: d.touched(t, "/f"),
        lambda d, t: d.due(d.deadline or t),
        lambda d, t: d.stop(t, 5.0),
    ]
    waits = {State.BACKOFF, State.STOPPING}
    for spec in (PLAIN, SMART, FOREGROUND, Spec("x", freq=2), Spec("x", control=True)):
        for seed in range(400):
            daemon, now, number = Daemon(spec, 5.0), 0.0, seed
            for _ in range(12):
                number = (number * 1103515245 + 12345) % 2**31
                now += 0.3
                histories[number // 7 % len(histories)](daemon, now)
                assert (daemon.deadline is not None) or daemon.state not in waits, (spec, seed)
                if daemon.state in {State.ENDED, State.GIVEN_UP}:
                    assert daemon.deadline is None, (spec, seed)


# --- lines -------------------------------------------------------------------------------------------------------


FULL = (
    "cmd=c -q x\\,y,pidfile=/run/c.pid,freq=4,control=1,touch=/a;/b,stopsignal=INT,reloadsignal=1,"
    "uid=33,gid=www-data,chdir=/srv,max_throttle=9,notifypid=1"
)


def test_lines_of_all_kinds():
    found = parsed(
        Settings(
            attach_daemon=("a -x",),
            attach_control_daemon=("b",),
            attach_daemon2=(
                FULL,
                "exec=d,stop_signal=SIGQUIT,stdin=1",
                "command=e,daemonize=1,pidfile=/run/e.pid",
            ),
            smart_attach_daemon=(("/run/f.pid", "f"), ("/run/g.pid,7", "g")),
            smart_attach_daemon2=(("/run/h.pid", "h"),),
        )
    )
    assert [spec.command for spec in found] == ["a -x", "b", "c -q x,y", "d", "e", "f", "g", "h"]
    a, b, c, d, e, f, g, h = found
    assert (a.smart, a.stop_signal, a.freq, a.control) == (False, signal.SIGTERM, 0, False)
    assert b.control
    assert c == Spec(
        "c -q x,y",
        "/run/c.pid",
        control=True,
        freq=4,
        touch=("/a", "/b"),
        stop_signal=signal.SIGINT,
        reload_signal=signal.SIGHUP,
        uid="33",
        gid="www-data",
        chdir="/srv",
        longest_wait=9.0,
        notify=True,
    )
    assert (d.stop_signal, d.stdin) == (signal.SIGQUIT, True)
    assert e.daemonize
    assert (f.smart, f.daemonize, g.freq, h.daemonize) == (True, False, 7, True)


def test_a_changed_line_is_another_daemon():
    keys = {
        Spec("a", "/p").key,
        Spec("b", "/p").key,
        Spec("a", "/q").key,
        Spec("a", "/p", daemonize=True).key,
        Spec("a", "/p", uid="1").key,
        Spec("a", "/p", chdir="/x").key,
    }
    assert len(keys) == 6
    assert Spec("a", "/p", freq=3).key == Spec("a", "/p").key


@pytest.mark.parametrize(
    ("text", "number"),
    [("15", 15), ("TERM", 15), ("sigquit", 3), ("0", 0), ("RTMIN", signal.SIGRTMIN)],
)
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "99", "-1", "NONE", "SIG"])
def test_no_signals(text):
    with pytest.raises(ValueError, match="signal"):
        signal_number(text)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("redis-server --port 0", "exec redis-server --port 0"),
        ("/srv/venv/bin/celery -A x worker -n w@%h", "exec /srv/venv/bin/celery -A x worker -n w@%h"),
        ("nice -n 5 $CELERY", "exec nice -n 5 $CELERY"),
        ("cd /srv && npm run dev", "cd /srv && npm run dev"),
        ("cd /srv", "cd /srv"),
        ("A=1 celery", "A=1 celery"),
        ("while :; do sleep 1; done", "while :; do sleep 1; done"),
        ("x > log", "x > log"),
        ("x | y", "x | y"),
        ("exec x", "exec x"),
        ("$PROGRAM x", "$PROGRAM x"),
        ("x `date`", "x `date`"),
        ("", ""),
    ],
)
def test_one_program_takes_the_shells_place(command, line):
    assert shell_line(command) == line


@pytest.mark.parametrize(
    ("command", "label"),
    [
        ("/srv/venv/bin/celery -A x", "celery"),
        ("nice -n 10 celery", "celery"),
        ("exec A=1 ./run", "run"),
        ("-x", "sh"),
    ],
)
def test_labels(command, label):
    assert Spec(command).label == label
