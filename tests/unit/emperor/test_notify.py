"""Word to systemd, over real datagram sockets."""

import os
import socket

import pytest

from emperor.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        if request.param == "path":
            address = shown = str(tmp_path / "notify")
        else:
            address, shown = f"\0emperor-test-{os.getpid()}", f"@emperor-test-{os.getpid()}"
        receiver.bind(address)
        yield receiver, shown


def test_each_word_arrives(listener):
    receiver, address = listener
    notifier = Notifier({"NOTIFY_SOCKET": address})

    def said():
        return receiver.recv(4096).decode().split("\n")

    assert notifier.ready("2 vassals\nMAINPID=1")
    assert said() == ["READY=1", "STATUS=2 vassals MAINPID=1"]
    assert notifier.reloading("all")
    first, second, third = said()
    assert (first, third) == ("RELOADING=1", "STATUS=all")
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    assert notifier.stopping("bye")
    assert said() == ["STOPPING=1", "STATUS=bye"]
    assert notifier.status("caf\udce9")
    assert said() == ["STATUS=caf\\udce9"]
    assert notifier.alive()
    assert said() == ["WATCHDOG=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"},
                                     {"NOTIFY_SOCKET": "/nowhere/at/all"}])  # fmt: skip
def test_without_somebody_to_tell_nothing_happens(environ):
    assert not Notifier(environ).ready("x")
    assert not Notifier(environ).alive()


def test_a_full_queue_does_not_block(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        for _ in range(10_000):
            if not notifier.alive():
                return
    pytest.fail("the queue never filled")


def test_what_found_no_room_is_told_later_and_in_order(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        receiver.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        filled = 0
        while notifier.alive():
            filled += 1
        assert not notifier.reloading("all")
        assert not notifier.ready("2 vassals")
        for _ in range(filled):
            assert receiver.recv(4096) == b"WATCHDOG=1"
        assert notifier.alive()
        said = [receiver.recv(4096).decode().split("\n")[0] for _ in range(3)]
        assert said == ["RELOADING=1", "READY=1", "WATCHDOG=1"]


def test_what_nobody_ever_takes_is_not_kept_for_ever(tmp_path):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    for number in range(100):
        assert not notifier.status(str(number))
    assert notifier._owed == [f"STATUS={number}" for number in range(92, 100)]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_interval_is_half_of_what_is_tolerated(environ, seconds):
    assert Notifier({"NOTIFY_SOCKET": "@x", **environ}).watchdog == seconds
    assert Notifier(environ).watchdog is None
