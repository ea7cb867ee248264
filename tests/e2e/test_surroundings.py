"""An emperor in odd surroundings: without standard streams, without readers, signalled before it is there."""

import os
import shlex
import signal
import subprocess
import sys

import psutil
import pytest

from emperor.control import NoEmperor
from tests.harness import EMPEROR, command_line, free_port, process_name, vassal_text, wait_until


def answers(emperor):
    try:
        return emperor.statuses() == {}
    except NoEmperor:
        return False


@pytest.mark.parametrize("streams", [">&- 2>&-", "<&- >&- 2>&-", ">&-"])
def test_an_emperor_without_standard_streams(make_emperor, streams):
    emperor = make_emperor()
    emperor.command = ["/bin/sh", "-c", f"exec {shlex.join(emperor.command)} {streams}"]
    emperor.start(ready=False)
    wait_until(lambda: answers(emperor) or emperor.ended, 20, "the control socket")
    standing = [os.readlink(f"/proc/{emperor.pid}/fd/{number}") for number in range(3)]
    assert "/dev/null" in standing
    assert not [target for target in standing if target.startswith(("socket:", "anon_inode:"))]


def test_nobody_reads_what_an_emperor_prints(make_emperor):
    emperor = make_emperor()
    broken = "r, w = os.pipe(); os.close(r); os.dup2(w, 1); os.dup2(w, 2)"
    into = f"import os, sys; {broken}; os.execv(sys.argv[1], sys.argv[1:])"
    emperor.command = [sys.executable, "-c", into, *emperor.command]
    emperor.start(ready=False)
    wait_until(lambda: answers(emperor) or emperor.ended, 20, "the control socket")
    assert answers(emperor)


def test_signals_that_come_before_the_emperor_is_there_wait_for_it(make_emperor, tmp_path):
    # Its own file is the moment: the command in it runs while the emperor reads its settings.
    ini = tmp_path / "emperor.ini"
    ini.write_text("[emperor]\nprocname = @(exec://kill -HUP $PPID; kill -USR1 $PPID; kill -USR2 $PPID; echo early)\n")
    emperor = make_emperor(arguments=["--ini", str(ini)]).start()
    wait_until(lambda: "SIGHUP: reloading 0 vassals" in emperor.log.read_text(), 10, "the signal to be heard")


def test_a_full_disk_and_a_lost_directory_are_told_in_a_line(emperor, tmp_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*EMPEROR, "status", "--control", str(emperor.control)],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"emperor: [Errno 28] No space left on device\n")
    lost = "mkdir lost && cd lost && rmdir ../lost && exec"
    check = ["/bin/sh", "-c", f"{lost} {shlex.join([*EMPEROR, 'check', str(emperor.vassals)])}"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"emperor: the current directory is gone: cd elsewhere\n")


def test_children_that_are_nobodys_are_reaped(make_emperor, app, tmp_path):
    """What a container's start script left behind, and all orphans where the emperor is the first process."""
    emperor = make_emperor(env={"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "800000"})  # quick ticks
    emperor.command = ["/bin/sh", "-c", f"sleep 0.1 & sleep 60 & exec {shlex.join(emperor.command)}"]
    emperor.start()
    emperor.write("blog", vassal_text(free_port(), chdir=app))
    before = emperor.wait_state("blog", "running")

    def children():
        return [process for process in psutil.Process(emperor.pid).children() if process_name(process) in ("", "sleep")]

    (other,) = wait_until(
        lambda: len(found := children()) == 1 and found, 10, lambda: f"one to be reaped: {children()}"
    )
    forkserver = next(p for p in psutil.Process(emperor.pid).children() if "fork server" in command_line(p))
    forkserver.kill()
    wait_until(lambda: "another one starts" in emperor.log.read_text(), 10, "the fork server to be missed")
    other.kill()
    wait_until(lambda: not children(), 10, lambda: f"the other to be reaped: {children()}")
    os.kill(before["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=2)


def test_the_emperors_own_log_is_followed_under_logrotate(make_emperor, app, tmp_path):
    log, rotated = tmp_path / "own.log", tmp_path / "own.log.1"
    quick = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "800000"}  # quick ticks
    emperor = make_emperor(settings={"logto": str(log)}, env=quick).start(ready=False)
    wait_until(lambda: answers(emperor) and log.exists(), 20, "the emperor")
    assert f"goes to {log} from now on; it stays in the foreground" in emperor.log.read_text()
    log.rename(rotated)
    wait_until(log.exists, 10, "a new file")
    emperor.write("blog", vassal_text(free_port(), chdir=app))
    wait_until(lambda: "vassal blog: appeared" in log.read_text(), 10, "its lines in the new file")
    assert "vassal blog" not in rotated.read_text()


def test_a_control_socket_that_was_removed_comes_back(make_emperor, tmp_path):
    quick = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "800000"}  # quick ticks
    emperor = make_emperor(env=quick).start()
    emperor.control.unlink()
    wait_until(lambda: answers(emperor), 10, "the control socket")
    assert "was gone: it is made anew" in emperor.log.read_text()
