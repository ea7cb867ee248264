"""The emperor's own log: whoever does not read it stops nothing."""

import contextlib
import fcntl
import os

from emperor.journal import LINES, Journal
from tests.harness import wait_until


def test_lines_are_written_whole_and_in_order():
    read, write = os.pipe()
    journal = Journal(write)
    for number in range(20):
        journal.say(f"line {number}")
    journal.flush()
    lines = os.read(read, 65536).decode().splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == [f"line {number}" for number in range(20)]
    os.close(read)
    os.close(write)


def test_a_reader_who_does_not_read_costs_lines_and_nothing_else():
    read, write = os.pipe()
    os.set_blocking(read, False)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    journal = Journal(write)
    for number in range(LINES + 500):
        journal.say(f"line {number}")  # would block here if it could
    text = b""

    def seen(what):
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(read, 65536):
                text += chunk
        journal.say("later")  # the loss is told with the next line that fits
        return what in text

    wait_until(lambda: seen(b"lines were lost"), 20, "the loss to be told")
    wait_until(lambda: seen(b"later\n"), 20, "the lines that came afterwards")
    journal.flush()
    os.close(read)
    os.close(write)


def test_a_reader_who_is_slow_costs_no_line_where_an_app_has_made_the_pipe_non_blocking():
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)
    journal = Journal(write)
    for number in range(500):
        journal.say(f"line {number}")
    text = b""
    os.set_blocking(read, False)

    def all_there():
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(read, 65536)
        return b"line 499" in text

    wait_until(all_there, 20, "the last line")
    lines = text.decode().splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == [f"line {number}" for number in range(500)]
    os.close(read)
    os.close(write)
