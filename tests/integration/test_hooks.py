"""Hooks with real commands: before anybody is served, and beside a loop."""

import os
import selectors
import time

import psutil
import pytest

from tests.harness import touch_file, wait_until
from vassal import beside, hooks, masterhooks
from vassal.config import Settings


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(hooks.logs, "say", lines.append)
    return lines


def parsed(*texts):
    return [hooks.parse("hook-pre-app", text) for text in texts]


# --- waited for ------------------------------------------------------------------------------------------------------


def test_all_run_in_order_with_their_output_in_the_log(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = (
        "exec:echo $WHO >&2; pwd",
        f"write:{tmp_path}/a b c",
        "appendn:a  d",
        "create:e",
        "chmod:e 600",
        "mkdir:f",
        "mkdir:f",
        "create:g",
        "unlink:g",
        "print:done",
        "safeexec:exit 3",
        "unix_signal:15 gracefully_kill_them_all",
    )
    hooks.run(parsed(*texts), 20, {"WHO": "me", "PATH": os.environ["PATH"]})
    assert said[:3] == [
        "running hook-pre-app = exec:echo $WHO >&2; pwd",
        "hook-pre-app: me",
        f"hook-pre-app: {tmp_path}",
    ]
    assert (tmp_path / "a").read_text() == "b c d\n"
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "e", "f"]
    assert "done" in said
    assert said[-1] == "hook-pre-app = safeexec:exit 3 ended with status 3; it may"


def test_the_first_that_fails_is_the_last(said, tmp_path):
    with pytest.raises(hooks.HookError) as caught:
        hooks.run(parsed("exec:echo why; echo it is so; exit 5", f"create:{tmp_path}/never"), 20)
    assert str(caught.value).endswith("ended with status 5: it is so")
    assert caught.value.detail == "why\nit is so"
    assert not (tmp_path / "never").exists()
    assert "hook-pre-app: why" in said


def test_a_signal_is_a_failure_too():
    with pytest.raises(hooks.HookError, match="ended with signal 9"):
        hooks.run(parsed("exec:kill -9 $$"), 20)


def test_a_hook_that_hangs_is_killed_with_its_group(said, tmp_path):
    with pytest.raises(hooks.HookError, match=r"was killed after 0\.3 s"):
        hooks.run(parsed(f"exec:sleep 60 & echo $! > {tmp_path}/pid; wait"), 0.3)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 5)
    assert said  # it was told of


def test_what_a_hook_leaves_in_the_background_is_not_waited_for(tmp_path):
    hooks.run(parsed(f"exec:sleep 60 & echo $! > {tmp_path}/pid"), 20)
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_private_hook_stays_out_of_the_log(said):
    with pytest.raises(hooks.HookError) as caught:
        hooks.run(parsed("!exec:true secret; exit 1"), 20)
    assert not [text for text in (*said, str(caught.value)) if "secret" in text]


@pytest.mark.parametrize("serves", [True, False])
def test_only_a_start_that_serves_has_hooks(said, tmp_path, serves):
    settings = Settings(hook_asap=(f"create:{tmp_path}/asap",), exec_as_root=(f": > {tmp_path}/root",))
    start = hooks.AtStart(settings, serves=serves)
    start.run("asap")
    start.run_as_root("this is a test")
    assert (tmp_path / "asap").exists() is serves
    assert not (tmp_path / "root").exists()
    assert any("have no effect: this is a test" in text for text in said) is serves
    start.run_as_root("")
    assert (tmp_path / "root").exists() is serves


# --- beside a loop ---


class Loop:
    """A master's loop, as far as hooks see it."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.watched = None

    def until(self, condition):
        def turn():
            for key, _ in self.selector.select(0.01):
                key.data()
            self.watched.look(time.monotonic())
            for pid in [running for running in self.pids() if self.reap(running)]:
                assert pid
            return condition()

        wait_until(turn, 10)

    def pids(self):
        inner = getattr(self.watched, "_beside", self.watched)
        return list(inner._running)

    def reap(self, pid):
        found, status = os.waitpid(pid, os.WNOHANG)
        return bool(found) and self.watched.reaped(pid, os.waitstatus_to_exitcode(status))


@pytest.fixture
def loop(said):
    loop = Loop()
    yield loop
    loop.watched.terminate()
    loop.until(lambda: not loop.pids())
    assert not loop.selector.get_map()
    loop.selector.close()


def chain(loop, *texts, limit=20.0, fatal=True):
    loop.watched = beside.Beside(loop.selector)
    ends = []
    one = beside.Chain(loop.watched, parsed(*texts), limit, lambda *end: ends.append(end), fatal=fatal)
    one.go_on()
    loop.until(lambda: ends)
    return ends


def test_a_chain_runs_one_after_the_other(loop, said, tmp_path):
    path = tmp_path / "order"
    assert chain(loop, f"exec:sleep 0.1; echo 1 >> {path}", "print:between", f"exec:echo 2 >> {path}") == [("", "")]
    assert path.read_text() == "1\n2\n"
    assert "between" in said


def test_a_fatal_chain_breaks(loop, tmp_path):
    [(reason, detail)] = chain(loop, "exec:echo no; exit 1", f"create:{tmp_path}/x")
    assert (reason.endswith("ended with status 1: no"), detail) == (True, "no")
    assert not (tmp_path / "x").exists()


def test_one_that_is_not_goes_on(loop, said, tmp_path):
    assert chain(loop, "exec:exit 1", f"create:{tmp_path}/x", fatal=False) == [("", "")]
    assert (tmp_path / "x").exists()
    assert any("ended with status 1" in text for text in said)


def test_a_chain_has_a_deadline(loop):
    [(reason, _)] = chain(loop, "exec:sleep 60", limit=0.2)
    assert "was killed after 0.2 s" in reason


def test_an_empty_chain_is_over_at_once(loop):
    assert chain(loop) == [("", "")]


def master(loop, tmp_path, *, lazy=False, **settings):
    loop.watched = masterhooks.MasterHooks(Settings(**settings), loop.selector, str(tmp_path), lazy=lazy)
    return loop.watched


def test_a_touch_runs_its_command_once_at_a_time_and_once_more(loop, said, tmp_path):
    log, gate, file = tmp_path / "log", tmp_path / "gate", tmp_path / "file"
    file.touch()
    command = f"echo out; echo x >> {log}; while [ ! -e {gate} ]; do sleep 0.02; done"
    its = master(loop, tmp_path, touch_exec=(("file", command),))
    touch_file(file)
    its.look_at_files()
    assert not its.watches
    assert not its.busy, "an older generation may still look"
    its.activate()
    its.look_at_files()
    assert not its.busy, "what was touched before was somebody else's to see"
    touch_file(file)
    its.look_at_files()
    loop.until(log.exists)
    for _ in range(3):
        touch_file(file)
        its.look_at_files()
    assert log.read_text() == "x\n"
    gate.touch()
    loop.until(lambda: not its.busy)
    its.look_at_files()
    loop.until(lambda: not its.busy)
    assert log.read_text() == "x\nx\n"
    assert "touch-exec echo: out" in said
    touch_file(file)
    its.release()
    loop.until(lambda: log.read_text() == "x\nx\nx\n")
    touch_file(file)
    its.look_at_files()
    loop.until(lambda: not its.busy)
    assert log.read_text() == "x\nx\nx\n"


def test_a_vassal_that_ends_for_good_begins_nothing_more(loop, tmp_path):
    its = master(loop, tmp_path, touch_exec=(("file", "sleep 60"),))
    its.activate()
    (tmp_path / "file").touch()
    its.terminate()
    assert not its.busy
    its.activate()
    touch_file(tmp_path / "file")
    its.look_at_files()
    assert its.busy
    its.terminate()
    loop.until(lambda: not its.busy)


def test_a_touch_whose_command_fails_is_told(loop, said, tmp_path):
    its = master(loop, tmp_path, touch_exec=(("file", "exit 4"),))
    its.activate()
    (tmp_path / "file").touch()
    its.look_at_files()
    loop.until(lambda: any("exit 4 ended with status 4" in text for text in said))


@pytest.mark.parametrize("lazy", [True, False])
def test_the_last_hooks_before_ready_run_once(loop, tmp_path, lazy):
    ends = []
    lines = {"hook_post_app": (f"exec:echo post >> {tmp_path}/x",)}
    its = master(loop, tmp_path, lazy=lazy, **lines)
    for _ in range(2):
        its.open(lambda *end: ends.append(end))
    loop.until(lambda: ends)
    assert ends == [("", "")]
    assert (tmp_path / "x").exists() is lazy, "where the master loads the app, it has run them itself"


def test_only_who_was_ready_has_hooks_at_its_end(loop, tmp_path):
    its = master(loop, tmp_path, hook_as_user_atexit=(f"exec:echo bye >> {tmp_path}/x",))
    assert its.at_exit()
    assert not (tmp_path / "x").exists()
    its = master(loop, tmp_path, hook_as_user_atexit=(f"exec:echo bye >> {tmp_path}/x",))
    its.open(lambda *_: None)
    assert not its.at_exit()
    loop.until(its.at_exit)
    its.stay()
    loop.until(its.at_exit)
    assert (tmp_path / "x").read_text() == "bye\nbye\n"
