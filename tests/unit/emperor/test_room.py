"""Descriptors that stay free for what is under way."""

import errno
import os
import resource

import pytest

from emperor import room


@pytest.fixture
def limit():
    """Leaves this process so many descriptors, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []

    def leave(count):
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + room.KEPT + 8, hard))
        while True:  # to the last one, holes included
            try:
                held.append(os.open("/dev/null", os.O_PATH))
            except OSError:
                break
        for _ in range(count):
            os.close(held.pop())

    yield leave
    for descriptor in held:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_with_room_nothing_is_said_and_nothing_held():
    before = os.listdir("/proc/self/fd")
    room.require()
    assert os.listdir("/proc/self/fd") == before


def test_exactly_the_room_that_is_kept_will_do(limit):
    limit(room.KEPT)
    room.require()


def test_less_is_told_with_the_limit_and_what_to_do(limit):
    limit(room.KEPT - 1)
    with pytest.raises(OSError, match=r"LimitNOFILE") as caught:
        room.require()
    assert caught.value.errno == errno.EMFILE
    assert str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) in caught.value.strerror
    for _ in range(room.KEPT - 1):  # nothing was kept of the attempt
        room_left = os.open("/dev/null", os.O_PATH)
        os.close(room_left)
