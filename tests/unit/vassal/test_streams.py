"""Streams that lose what has no room, and hide nothing else."""

import io
import os

import pytest

from vassal.streams import LossyFile, lossy


@pytest.fixture
def full():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def text(line_buffering=False):
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", line_buffering=line_buffering)


@pytest.mark.parametrize("line_buffering", [False, True])
def test_a_full_disk_is_not_the_writers_business(full, line_buffering):
    stream = lossy(text(line_buffering), full)
    for _ in range(3):
        assert stream.write("x" * 100_000 + "\n") == 100_001
        stream.flush()
    assert LossyFile(full, "w", closefd=False).write(memoryview(b"abcd").cast("H")) == 4


def test_what_fits_is_written_as_the_former_stream_would(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        stream = lossy(text(line_buffering=True), file.fileno())
        stream.write("caf\udce9\n")  # without a flush: a line is a line
        assert (tmp_path / "log").read_bytes() == b"caf\\udce9\n"
        assert stream.fileno() == file.fileno()
        del stream
        file.write(b"still open")


def test_another_mistake_is_raised(tmp_path):
    (tmp_path / "log").touch()
    reading = os.open(tmp_path / "log", os.O_RDONLY)
    stream = lossy(text(), os.open(tmp_path / "log", os.O_WRONLY))
    os.dup2(reading, stream.fileno())
    stream.write("x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        stream.flush()
    os.close(stream.fileno())
    os.close(reading)
