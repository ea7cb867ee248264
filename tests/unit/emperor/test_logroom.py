"""Trouble with the logs: told, but not at every start of every vassal."""

import asyncio
import errno
import os
from types import SimpleNamespace

import pytest

from emperor.logroom import PAUSE, LogRoom, Seldom, judge


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def seldom(lines, clock):
    return Seldom(lines.append, clock)


def test_one_complaint_a_minute_passes_and_says_how_many_it_stands_for(seldom, lines, clock):
    assert seldom.complain("a")
    for _ in range(5):
        clock.now += PAUSE / 6
        assert not seldom.complain("b")
    assert lines == ["a"]
    clock.now += PAUSE / 6 + 0.001
    assert seldom.complain("c")
    assert lines == ["a", "c (5 more like this in the last minutes)"]
    clock.now += PAUSE
    seldom.complain("d")
    assert lines[-1] == "d"


def found(bavail=1, flag=0, files=100, favail=1):
    return SimpleNamespace(f_bavail=bavail, f_flag=flag, f_files=files, f_favail=favail)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (found(), None),
        (found(files=0, favail=0), None),  # btrfs and its like count no inodes
        (found(bavail=0), "full"),
        (found(favail=0), "full"),
        (found(flag=os.ST_RDONLY), "read-only"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file"),
    ],
)
def test_what_is_wrong_with_a_file_system(facts, said):
    told = judge("/logs", facts)
    assert (told is None) == (said is None)
    assert said is None or (said in told and "/logs" in told)


def test_the_end_of_a_trouble_is_told_once_a_minute(seldom, lines):
    room = LogRoom("/logs", lines.append, seldom)
    room.answer(None)
    assert (lines, seldom.general) == ([], False)
    room.answer("full")
    room.answer("full")
    assert seldom.general
    room.answer(None)
    room.answer(None)
    assert (lines, seldom.general) == (["full", "vassals can log again in /logs"], False)
    room.answer("full")
    room.answer(None)
    assert len(lines) == 2


def test_a_look_comes_back_to_the_loop(seldom, lines, tmp_path):
    async def main(directory):
        room = LogRoom(directory, lines.append, seldom)
        room.look()
        room.look()  # one is under way: no second thread
        for _ in range(500):
            if lines:
                break
            await asyncio.sleep(0.01)

    asyncio.run(main(str(tmp_path / "gone")))
    assert len(lines) == 1
    assert f"{tmp_path}/gone cannot be used: No such file or directory" in lines[0]


def test_without_a_directory_nobody_looks(seldom, lines):
    async def main():
        LogRoom(None, lines.append, seldom).look()

    asyncio.run(main())
    assert lines == []
