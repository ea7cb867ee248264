"""The rehearsal: it goes through, and leaves nothing that vassals would inherit."""

import gc
import os
import signal
import sys
import threading
import time

import pytest

from vassal import rehearsal


def surroundings() -> dict[str, object]:
    gc.collect()
    return {
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "wakeup": _wakeup(),
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "umask": _umask(),
        "path": list(sys.path),
        "maps": _shared_maps(),
    }


def _wakeup() -> int:
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _shared_maps() -> int:
    """How many scoreboards are mapped: /dev/zero is what shared anonymous memory is shown as (proc_pid_maps(5))."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        return sum("/dev/zero" in line for line in file)


def test_it_leaves_nothing_behind():
    before = surroundings()
    rehearsal.rehearse(3)
    assert surroundings() == before


def test_it_leaves_nothing_behind_where_it_fails(monkeypatch):
    before = surroundings()

    def fails(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(rehearsal.worker._Worker, "_build", fails)
    with pytest.raises(OSError, match="no room"):
        rehearsal.rehearse(1)
    assert surroundings() == before


def test_its_worker_is_asked_and_answers(monkeypatch):
    asked = []

    def answer(environ, start_response):
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    monkeypatch.setattr(rehearsal, "_answer", answer)
    rehearsal.rehearse(2)  # which raises where an answer does not come
    assert asked == ["/path"] * 4


def test_slow_calls_start_no_thread(monkeypatch):
    """On a busy machine any call may take long: a thread of the fork server's would outlive the worker that it led."""

    def answer(_environ, start_response):
        time.sleep(0.05)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def start(*_: object) -> None:
        started.append(1)

    started: list[int] = []
    monkeypatch.setattr(rehearsal, "_answer", answer)
    monkeypatch.setattr(threading.Thread, "start", start)
    rehearsal.rehearse(1)
    assert not started
