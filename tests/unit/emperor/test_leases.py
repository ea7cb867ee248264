"""Who has a file open for writing, as the kernel says."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from emperor import leases
from emperor.leases import Writer, writer_of
from emperor.places import (
    PlaceOptions,
    parse_place,
    scan,
)
from tests.harness import write_file

OPTIONS = PlaceOptions()


def look(text, options=OPTIONS, settled=None):
    return scan(parse_place(str(text)), options, settled or {})


def test_the_kernel_says_whether_a_file_is_open_for_writing(tmp_path):
    path = tmp_path / "a.ini"
    with path.open("w") as file:
        file.write("x")
        file.flush()
        writing = next(iter(look(tmp_path).files.values())).writer
    closed = next(iter(look(tmp_path).files.values())).writer
    if closed is Writer.UNKNOWN:
        pytest.skip("no leases on this file system")
    assert (writing, closed) == (Writer.OPEN, Writer.NONE)


def test_a_settled_version_is_not_asked_about(tmp_path):
    path = tmp_path / "a.ini"
    with path.open("w"):
        before = look(tmp_path).files[str(path)]
        after = look(tmp_path, settled={str(path): before.version}).files[str(path)]
    assert after.writer is Writer.NONE


def test_another_file_than_the_one_looked_at_is_not_opened(tmp_path):
    path = write_file(tmp_path / "a.ini", "")
    facts = path.stat()
    assert writer_of(str(path), (facts.st_dev, facts.st_ino + 1)) is Writer.UNKNOWN
    assert writer_of(str(tmp_path / "none"), (0, 0)) is Writer.UNKNOWN


def test_a_fifo_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.ini")
    facts = os.stat(tmp_path / "a.ini")
    assert writer_of(str(tmp_path / "a.ini"), (facts.st_dev, facts.st_ino)) is Writer.UNKNOWN
    with pytest.raises(OSError, match="No such device"):  # ENXIO: nobody reads
        os.open(tmp_path / "a.ini", os.O_WRONLY | os.O_NONBLOCK)


def test_who_opens_the_file_while_the_lease_stands_costs_no_signal_that_kills(tmp_path, monkeypatch):
    path = write_file(tmp_path / "a.ini", "")
    facts = path.stat()
    if writer_of(str(path), (facts.st_dev, facts.st_ino)) is Writer.UNKNOWN:
        pytest.skip("no leases on this file system")
    got = []
    for number in (signal.SIGIO, signal.SIGWINCH):
        signal.signal(number, lambda number, _frame: got.append(number))
    real = fcntl.fcntl

    def slow(fd, command, argument):
        if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
            opener = f"import os; os.open({str(path)!r}, os.O_WRONLY)"
            child = subprocess.Popen([sys.executable, "-c", opener])
            end = time.monotonic() + 10
            while not got and time.monotonic() < end:
                time.sleep(0.01)
            result = real(fd, command, argument)
            assert child.wait(10) == 0
            return result
        return real(fd, command, argument)

    monkeypatch.setattr(leases.fcntl, "fcntl", slow)
    assert writer_of(str(path), (facts.st_dev, facts.st_ino)) is Writer.NONE
    assert got == [signal.SIGWINCH]


@pytest.fixture(autouse=True)
def _signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGIO, signal.SIGWINCH)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
