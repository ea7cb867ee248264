"""The parent of a daemon under test: adopts, reaps and counts whatever the daemon leaves behind.

Run as ``python -I -S nanny.py REPORT_FD COMMAND...``. It is a child subreaper, so a process that its daemon
orphaned, double-forked or setsid'ed ones included, becomes its child instead of vanishing into init. It writes lines
to REPORT_FD: ``pid N`` when the command runs, ``exit STATUS`` when it ended, ``empty`` when no descendant is left,
and exits then. When its standard input ends (the test run died), it kills every descendant.

The danger here: it must import next to nothing, since every test that starts a daemon pays for it.
"""

import _thread
import contextlib
import ctypes
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parents[int(entry)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def kill_all_when_orphaned() -> None:
    while os.read(0, 1):
        pass
    while True:  # ends with the process, when the main thread has reaped the last one
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def main() -> None:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("nanny: prctl(PR_SET_CHILD_SUBREAPER) failed")
    # Its own process group: a Ctrl-C meant for the test run must not reach the daemon first.
    daemon = os.posix_spawn(
        sys.argv[2],
        sys.argv[2:],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
        setpgroup=0,
    )
    os.write(report, b"pid %d\n" % daemon)
    _thread.start_new_thread(kill_all_when_orphaned, ())
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == daemon:
            os.write(report, b"exit %d\n" % os.waitstatus_to_exitcode(status))
    os.write(report, b"empty\n")


if __name__ == "__main__":
    main()
