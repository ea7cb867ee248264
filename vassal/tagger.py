"""A process of its own that tags the output of one smart daemon: it outlives the masters that could read a pipe.

Run as a script, it becomes the daemon, and leaves behind, in the daemon's session, the process that reads its output
and writes to the vassal's log. That one ends with the daemon, when nobody holds the other end any more. The one danger
is ending sooner: a daemon that writes to a pipe without a reader is killed by SIGPIPE. So nothing that fails here ends
it, and signals to the daemon's group are ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

COMMAND = "VASSAL_COMMAND"
"""The environment variable that holds the daemon's shell line; it is not the daemon's to see."""
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
READ = 16384
"""Bytes that are read at once."""
LINE = 4096
"""Bytes of a line after which it is cut into several."""


def run(name: str, label: str, path: str) -> None:
    """Log the lines of standard input as those of vassal `name`'s daemon `label`.

    `path` is the log's, '' where it is not known: it is opened anew when another file bears that name.
    """
    text = b""
    while data := os.read(0, READ):
        *lines, text = (text + data).split(b"\n")
        while len(text) >= LINE:
            lines.append(text[:LINE])
            text = text[LINE:]
        if lines:
            if path:
                follow(path)
            write(name, label, lines)
    if text:
        write(name, label, [text])


def write(name: str, label: str, lines: list[bytes]) -> None:
    """Write `lines`, each with time, vassal and daemon before it."""
    before = f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{name}] daemon {label}: ".encode(errors="backslashreplace")
    whole = b"".join(before + line.decode(errors="backslashreplace").encode() + b"\n" for line in lines)
    with contextlib.suppress(OSError):  # a full disk must not end a daemon
        os.write(1, whole)


def follow(path: str) -> None:
    """Write to the file that is now called `path`, where that is another one: it was rotated."""
    with contextlib.suppress(OSError):
        there, ours = os.stat(path, follow_symlinks=False), os.fstat(1)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
            descriptor = os.open(path, flags)
            os.dup2(descriptor, 1)
            os.close(descriptor)


def main(name: str, label: str, path: str) -> None:
    """Become the daemon, with its output tagged as `run` says."""
    command = os.environ.pop(COMMAND)
    reading, writing = os.pipe()
    if not os.fork():
        if not os.fork():  # twice: no daemon expects a child that it did not make
            _serve(reading, writing, name, label, path)
        os._exit(0)
    os.wait()
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    os.execv("/bin/sh", ["sh", "-c", command])


def _serve(reading: int, writing: int, name: str, label: str, path: str) -> None:
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        os.dup2(reading, 0)
        os.close(reading)
        os.close(writing)
        run(name, label, path)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
