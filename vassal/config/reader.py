"""Bytes from disk: regular files only, never waiting, never more than fits.

The one thing that can go wrong here is what a path names: a FIFO would hang the vassal, a device would never end.
"""

from __future__ import annotations

import os
import stat

from vassal.config.limits import FILE_BYTES


def default_reader(path: str) -> bytes:
    """Return the content of the regular file at `path`.

    Raises:
        OSError: it cannot be opened, is not a regular file, or has more than `FILE_BYTES` bytes.
    """
    # O_NONBLOCK: a FIFO without a writer must not hold us; O_NOCTTY: a terminal must not become ours.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:  # a NUL in the path
        raise OSError(str(error)) from None
    try:
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int) -> bytes:
    """Return the content of an open regular file from its start; its position stays where it was.

    Raises:
        OSError: not a regular file, more than `FILE_BYTES` bytes, or a failed read.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a regular file")
    pieces = []
    size = 0
    while piece := os.pread(descriptor, FILE_BYTES + 1 - size, size):
        pieces.append(piece)
        size += len(piece)
        if size > FILE_BYTES:
            raise OSError(f"more than {FILE_BYTES} bytes")
    return b"".join(pieces)


def reason(error: OSError) -> str:
    """Say what went wrong, without the number and the path that ``str(error)`` adds."""
    return error.strerror or str(error)
