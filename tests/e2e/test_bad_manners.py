"""Apps and places with bad manners: each has a defined end."""

import os
import signal

import psutil
import pytest

from emperor.hearing import FARTHEST, _until
from tests.clients import http_get
from tests.harness import command_line, free_port, process_name, vassal_text, wait_until, write_file

SERVES = "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n"


def get(port):
    return http_get(("127.0.0.1", port), timeout=20).text


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_app_that_forks_at_import_serves_and_its_child_ends_with_it(emperor, app, lazy):
    write_file(app / "app.py", "import subprocess\nsubprocess.Popen(['setsid', 'sleep', '603'])\n" + SERVES)
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, **{"lazy-apps": lazy}))
    emperor.wait_state("blog", "running")
    assert get(port) == "one"
    wait_until(lambda: [p for p in emperor.processes() if process_name(p) == "sleep"], 10, "its child")
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    emperor.delete("blog")
    emperor.wait_gone("blog")
    wait_until(lambda: not [p for p in emperor.processes() if process_name(p) == "sleep"], 10, "both children to end")


def test_an_app_that_forks_itself_at_import_serves_all_the_same(emperor, app):
    """The child runs into the same master's code, which it must not be able to play."""
    write_file(app / "app.py", "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)\n" + SERVES)
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app))
    emperor.wait_state("blog", "running")
    assert get(port) == "one"
    emperor.delete("blog")
    emperor.wait_gone("blog")


def test_an_app_with_threads_at_import_serves_and_is_told_what_that_means(emperor, app):
    write_file(
        app / "app.py",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n" + SERVES,
    )
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app))
    emperor.wait_state("blog", "running")
    assert get(port) == "one"
    assert "lazy-apps = true" in emperor.vassal_log("blog")


@pytest.mark.parametrize("strategy", ["overlap", "chain"])
def test_a_socket_that_somebody_unlinked_is_bound_anew_at_the_next_reload(emperor, app, tmp_path, strategy):
    path = tmp_path / "blog.sock"
    options = {"reload-strategy": strategy, "lazy-apps": "true"}
    emperor.write("blog", vassal_text(free_port(), chdir=app, **options) + f"http-socket = {path}\n")
    emperor.wait_state("blog", "running")
    path.unlink()
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    assert http_get(str(path)).text == "one"


def test_a_master_that_stands_still_is_replaced(start_emperor, app):
    emperor = start_emperor(settings={"emperor-required-heartbeat": "2"})
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, heartbeat=1, loyalty=1))
    master = emperor.wait_state("blog", "running")["pid"]
    wait_until(lambda: emperor.status("blog")["loyal"], 10, "its loyalty")
    os.kill(master, signal.SIGSTOP)
    emperor.wait_state("blog", "running", generation=2)
    assert get(port) == "one"
    assert "no heartbeat" in emperor.log.read_text()
    assert not psutil.pid_exists(master)


def test_three_hundred_directories_are_all_looked_at(make_emperor, app, tmp_path):
    """More than are watched: the rest is found by scanning."""
    for number in range(300):
        (tmp_path / "places" / f"d{number}").mkdir(parents=True)
    emperor = make_emperor(places=[f"{tmp_path}/places/*/*.ini"], settings={"emperor-freq": "0.5"}).start()
    for number in (0, 299):
        port = free_port()
        write_file(tmp_path / "places" / f"d{number}" / f"v{number}.ini", vassal_text(port, chdir=app))
        emperor.wait_state(f"v{number}", "running")
        assert get(port) == "one"
    threads = psutil.Process(emperor.pid).num_threads()
    assert threads < 100, command_line(psutil.Process(emperor.pid))


def test_a_clock_that_jumps_moves_no_wake_out_of_reach(monkeypatch):
    """All deadlines are monotonic; the one time that comes from a wall clock is that of a parked vassal's next job."""
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    assert _until(0) is None
    assert _until(1_000_060) == 60
    assert _until(5) == 0, "set forward: what is overdue is due"
    assert _until(2**62) == FARTHEST, "set back by years"


def test_limits_of_the_file_hold_for_all_its_processes(emperor, app):
    write_file(
        app / "app.py",
        "import resource\ndef application(e, s):\n    s('200 OK', [])\n"
        "    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)]\n"
        "    return [repr(limits).encode()]\n",
    )
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, **{"max-fd": 333, "limit-as": 900}))
    emperor.wait_state("blog", "running")
    assert get(port) == repr([333, 900 << 20])
