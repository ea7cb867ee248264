"""What a vassal says itself, and where it goes.

The one danger: a path that a vassal names, opened with more rights than the vassal's. Files are opened after the
identity was taken, never through a symbolic link, and only if they are regular files or terminals of their owner.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time

_who = ["vassal"]
_offset = [time.localtime().tm_gmtoff]
"""Seconds east of UTC, as the machine has it: an app may change its process's own zone (Django does)."""
_file: list[str] = []
"""The file that `use_file` opened last."""


class LogError(Exception):
    """The log cannot be opened. The text is for people."""


def introduce(name: str) -> None:
    """Set the name that stands in front of every line of `say`, and take note of the time zone."""
    _who[0] = name
    _offset[0] = time.localtime().tm_gmtoff


def speaker() -> str:
    """Return the name that stands in front of every line."""
    return _who[0]


def say(text: str) -> None:
    """Write one line to standard error: local time, who speaks, `text`. Never raises."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + _offset[0]))
    write(f"{stamp} [{_who[0]}] {text}\n")


def write(text: str) -> None:
    """Write `text` as it is to standard error. Never raises."""
    with contextlib.suppress(OSError):  # a full disk must not stop a request
        os.write(2, text.encode(errors="backslashreplace"))


def open_file(path: str) -> int:
    """Open the log file `path` for appending and return its descriptor.

    Raises:
        LogError: it cannot be opened, or is neither a regular file nor a character device.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        why = "it is a symbolic link" if os.path.islink(path) else error.strerror
        raise LogError(f"cannot open the log {path}: {why}") from None
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        os.close(descriptor)
        raise LogError(f"cannot open the log {path}: not a regular file")
    os.set_blocking(descriptor, True)
    return descriptor


def redirect(descriptor: int) -> None:
    """Make `descriptor` standard output and error, and close it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the former log's disk may be full
            stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if descriptor > 2:
        os.close(descriptor)


def use_file(path: str) -> None:
    """Send standard output and error to the file `path` (``logto``) from now on.

    Raises:
        LogError: it cannot be opened.
    """
    redirect(open_file(path))
    _file[:] = [path]


def file() -> str:
    """Return the path of the file that is in use, ``""`` where there is none."""
    return _file[0] if _file else ""


def remember(path: str) -> None:
    """Take note that standard output and error are the file `path` already: `file` said so before an ``exec``."""
    _file[:] = [path] if path else []


def reopen() -> None:
    """Open the log file by its name again, after it was rotated. Keeps the old one where that fails."""
    if _file:
        try:
            redirect(open_file(_file[0]))
        except LogError as error:
            say(str(error))
