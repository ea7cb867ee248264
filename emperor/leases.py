"""Ask the kernel whether somebody has a file open for writing.

A read lease (fcntl(2), F_SETLEASE) is refused with EAGAIN while a writer exists; it is given back at once. Works for
the file's owner and with CAP_LEASE, on local file systems.

The danger here: opening what a stranger can replace. A device node or FIFO must never be opened, so the path is first
taken with O_PATH, which opens nothing, then judged, and only a regular file is opened, through that very descriptor.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import signal
import stat


class Writer(enum.Enum):
    """Whether a file is open for writing."""

    NONE = "none"
    OPEN = "open"
    UNKNOWN = "unknown"
    """The kernel does not say: not our file, or no leases on this file system."""


def writer_of(path: str, identity: tuple[int, int]) -> Writer:
    """Whether anybody has the file open for writing right now.

    Args:
        path: The file; symbolic links are followed.
        identity: (device, inode) that must be met there.

    Returns:
        UNKNOWN where it cannot be told, also when the file is gone or another one lies there by now.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return Writer.UNKNOWN
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or (facts.st_dev, facts.st_ino) != identity:
            return Writer.UNKNOWN
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return Writer.UNKNOWN
    finally:
        os.close(handle)
    try:
        return _try_lease(fd)
    finally:
        os.close(fd)  # gives the lease back, too, should the line below not have been reached


def _try_lease(fd: int) -> Writer:
    try:
        # Who opens the file for writing in the microseconds that the lease lasts makes the kernel send a signal. The
        # default one, SIGIO, kills; SIGWINCH is ignored by default, so no process-wide disposition has to change.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGWINCH)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writer.OPEN if error.errno == errno.EAGAIN else Writer.UNKNOWN
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return Writer.UNKNOWN
    return Writer.NONE
