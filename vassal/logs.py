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
from typing import TYPE_CHECKING

from vassal.logbook.sinks import DescriptorSink

if TYPE_CHECKING:
    from collections.abc import Callable

CREATED = 0o640
"""Mode of a log file that is made, before the umask."""

_who = ["vassal"]
_offset = [time.localtime().tm_gmtoff]
"""Seconds east of UTC, as the machine has it: an app may change its process's own zone (Django does)."""
_file: list[str] = []
"""The file that `use_file` opened last."""
_form: list[str] = []
"""How the time in front of each line is written; as below where this is empty."""
_prefix = [""]
_twin: list[int] = []
"""A descriptor that leads where standard error does, but does not block: see `prepare`."""
_sink: list[DescriptorSink] = []
_plain: list[int] = []
_route: list[Callable[[bytes], None]] = []
"""What takes the lines instead of standard error."""


class LogError(Exception):
    """The log cannot be opened. The text is for people."""


# --- what is said ----------------------------------------------------------------------------------------------------


def introduce(name: str) -> None:
    """Set the name that stands in front of every line of `say`, and take note of the time zone."""
    _who[0] = name
    _offset[0] = time.localtime().tm_gmtoff


def speaker() -> str:
    """Return the name that stands in front of every line."""
    return _who[0]


def style(date: str | None, prefix: str | None) -> None:
    """Set how lines of `say` begin: ``log-date`` (``""``: as ctime(3) writes it, None: as always), ``log-prefix``."""
    _form[:] = [] if date is None else [date]
    _prefix[0] = f"{prefix} " if prefix else ""


def prefix() -> str:
    """Return what stands in front of every line (``log-prefix``), with its blank."""
    return _prefix[0]


def say(text: str) -> None:
    """Write one line: local time, who speaks, `text`. Never raises, never blocks."""
    at = time.gmtime(time.time() + _offset[0])
    if not _form:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", at)
    else:
        stamp = f"{time.strftime(_form[0], at) if _form[0] else time.asctime(at)} -"
    write(f"{_prefix[0]}{stamp} [{_who[0]}] {text}\n")


def write(text: str) -> None:
    """Write `text` as it is to the log. Never raises, never blocks: what is not taken is lost, and counted."""
    data = text.encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # no descriptor at all: a log must not stop a request
        if _route:
            _route[0](data)
        else:
            sink().write(data, data.count(b"\n"))


def sink() -> DescriptorSink:
    """Return what takes the lines of standard error without ever blocking.

    Raises:
        OSError: there is no standard error.
    """
    if not _sink:
        _sink.append(DescriptorSink(file() or "standard error", _twin[0] if _twin else 2))
    return _sink[0]


def plain() -> tuple[int, int]:
    """Return descriptors of what standard output and error were before a pipe took their place.

    Who outlives this process writes there: the pipe ends with its reader.
    """
    return (_plain[0], _plain[1]) if _plain else (1, 2)


def keep_plain(descriptors: tuple[int, ...]) -> None:
    """Take note of what `plain` is to return."""
    _plain[:] = descriptors


def route(take: Callable[[bytes], None]) -> None:
    """Give the lines to `take` from now on."""
    _route[:] = [take]


def prepare() -> None:
    """Open where standard error leads a second time, so as not to block: a pipe may not be read, a terminal be stopped.

    Done before the identity is taken: a pipe belongs to whoever made it. Without a twin a write waits only where
    somebody else has filled the pipe in the very moment before.
    """
    forget_twin()
    with contextlib.suppress(OSError):
        mode = os.fstat(2).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            _twin[:] = [os.open("/proc/self/fd/2", flags)]


def forget_twin() -> None:
    """Close what `prepare` has opened."""
    for descriptor in _twin:
        os.close(descriptor)
    _twin.clear()
    _sink.clear()


def twin() -> int:
    """Return the descriptor that `prepare` has opened, -1 for none."""
    return _twin[0] if _twin else -1


# --- files -----------------------------------------------------------------------------------------------------------


def open_file(path: str, *, truncate: bool = False, mode: int | None = None) -> int:
    """Open the log file `path` for appending and return its descriptor; `mode` is what it shall have.

    Raises:
        LogError: it cannot be opened, or is neither a regular file nor a character device.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | (os.O_TRUNC if truncate else 0), CREATED)
    except OSError as error:
        raise LogError(f"cannot open the log {path}: {_why(path, error)}") from None
    found = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(found) or stat.S_ISCHR(found)):
        os.close(descriptor)
        raise LogError(f"cannot open the log {path}: not a regular file")
    if mode is not None and stat.S_IMODE(found) != mode:
        try:
            os.fchmod(descriptor, mode)
        except OSError as error:
            say(f"cannot give the log {path} the mode {mode:o}: {error.strerror}")
    os.set_blocking(descriptor, True)
    return descriptor


def _why(path: str, error: OSError) -> str:
    with contextlib.suppress(OSError, ValueError):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return "it is a symbolic link"
        if stat.S_ISFIFO(mode):
            return "not a regular file but a FIFO"
        if stat.S_ISSOCK(mode):
            return "not a regular file but a socket"
    if isinstance(error, PermissionError):
        return f"{error.strerror} for user {os.geteuid()}, who must be able to write it or to make it there"
    return error.strerror or str(error)


def redirect(descriptor: int) -> None:
    """Make `descriptor` standard output and error, and close it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the former log's disk may be full
            stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if descriptor > 2:
        os.close(descriptor)
    forget_twin()


def use_file(path: str, *, truncate: bool = False, mode: int | None = None) -> None:
    """Send standard output and error to the file `path` (``logto``) from now on.

    Raises:
        LogError: it cannot be opened.
    """
    redirect(open_file(path, truncate=truncate, mode=mode))
    _file[:] = [path]


def file() -> str:
    """Return the path of the file that is in use, ``""`` where there is none."""
    return _file[0] if _file else ""


def remember(path: str, descriptor: int) -> None:
    """Take note of what `file` and `twin` were before an ``exec``."""
    _file[:] = [path] if path else []
    if descriptor >= 0:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 (the function's own signature)
        _twin[:] = [descriptor]
