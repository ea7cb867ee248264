"""Log files that are replaced: who is given the new one."""

import asyncio
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest

from emperor.contracts import Contracts
from emperor.relog import Relog
from emperor.settings import EmperorSettings
from tests.harness import wait_until


def test_who_has_the_emperors_log_follows_it(tmp_path):
    """Without `emperor-log-dir` that is everybody."""
    sent = []

    class Log:
        opened: ClassVar[dict] = {}

        @staticmethod
        def log_path(_name):
            return None

        @staticmethod
        def open_log(_name):
            return os.open(os.devnull, os.O_WRONLY), None

    end = SimpleNamespace(sock=SimpleNamespace(fileno=lambda: -1), pending=False)
    run = SimpleNamespace(purpose="serve", end=end, send=lambda record, fds: sent.append(record))
    own = tmp_path / "own.log"
    relog = Relog({"blog": {1: run}}, Log(), lambda text: None, str(own))
    opened = []
    relog.reopen_own = lambda: asyncio.sleep(0, opened.append(1))
    asyncio.run(relog.look())
    assert not sent  # it is away, but only for one look
    asyncio.run(relog.look())
    assert len(opened) == len(sent) == 1


@pytest.mark.parametrize("read", [False, True])
def test_a_log_that_is_a_pipe_holds_up_nobody(tmp_path, read):
    os.mkfifo(tmp_path / "blog.log")
    reader = os.open(tmp_path / "blog.log", os.O_RDONLY | os.O_NONBLOCK) if read else -1
    descriptor, complaint = Contracts(EmperorSettings(log_dir=str(tmp_path))).open_log("blog")
    os.close(descriptor)
    assert "blog.log" in complaint
    if read:
        assert "it is no regular file" in complaint
        os.close(reader)


def test_a_log_that_is_a_file_blocks_as_files_do(tmp_path):
    descriptor, complaint = Contracts(EmperorSettings(log_dir=str(tmp_path))).open_log("blog")
    assert complaint is None
    assert os.get_blocking(descriptor)
    os.close(descriptor)


LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_WRONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
time.sleep(600)
"""


def test_a_lease_on_a_log_holds_up_nobody(tmp_path):
    """A log belongs to its vassal's user, who may have one: to open the file waits then, 45 s where nobody reacts."""
    log = tmp_path / "blog.log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", LEASE, str(log)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"leased\n"
            opened = []

            def open_it():
                descriptor, complaint = Contracts(EmperorSettings(log_dir=str(tmp_path))).open_log("blog")
                os.close(descriptor)
                opened.append(complaint)

            threading.Thread(target=open_it, daemon=True).start()
            wait_until(lambda: opened, 20, "the log to be opened, or not")
            assert "cannot open its log" in opened[0]
        finally:
            holder.kill()
