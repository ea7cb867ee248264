"""Run one short-lived command and take what it prints, within a time and a size.

The one thing that can go wrong here is a command that leaves something behind: it gets a session of its own, and
that whole group is killed before the command is reaped, while its number cannot belong to anybody else.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence


class BoundsError(Exception):
    """The command could not be run, took too long or printed too much; the message says which."""


def run(  # noqa: PLR0913 - named arguments, each a bound or what a process is made of
    argv: Sequence[str],
    *,
    seconds: float,
    size: int,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> tuple[int, bytes]:
    """Run `argv` and return its exit status (negative: the signal) and what it wrote to standard output.

    Args:
        argv: program and arguments, no shell.
        seconds: until standard output is closed and the command has ended.
        size: bytes of output.
        stdin: what it reads; standard error is ours.
        environ: its environment; None: ours.
        directory: its working directory; None: ours.

    Raises:
        BoundsError: as the class says.
    """
    import subprocess  # noqa: PLC0415 - most files run nothing, every start would pay

    deadline = time.monotonic() + seconds
    given = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with open(given, "wb", closefd=False) as file:
            file.write(stdin)
        os.lseek(given, 0, os.SEEK_SET)
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=subprocess.PIPE,
            env=environ,
            cwd=directory or None,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise BoundsError(f"cannot be run: {error}") from None
    finally:
        os.close(given)
    try:
        output = _collect(process, deadline, seconds, size)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        process.stdout.close()
        status = process.wait()
    return status, output


def _collect(process: subprocess.Popen[bytes], deadline: float, seconds: float, size: int) -> bytes:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    ended = os.pidfd_open(process.pid)
    pieces: list[bytes] = []
    room = size
    try:
        with selectors.PollSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise BoundsError(f"took more than {seconds:g} s")
                for key, _ in ready:
                    if key.fd == ended:
                        selector.unregister(ended)
                        continue
                    piece = os.read(descriptor, 65536)
                    room -= len(piece)
                    if room < 0:
                        raise BoundsError(f"printed more than {size} bytes")
                    pieces.append(piece)
                    if not piece:
                        selector.unregister(descriptor)
    finally:
        os.close(ended)
    return b"".join(pieces)
