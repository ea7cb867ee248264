"""Standard output and error as an app meets them: a log that cannot be written costs no request.

A full disk makes `print` raise, in an app that did nothing wrong. Here what cannot be written is lost, as a line of
`logging` would be. The one danger is to hide any other mistake: only the errors in `LOST` are passed over, since nobody
who writes a log line can do anything about them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

LOST = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EPIPE))
"""A disk or a quota that is full, read-only or broken; a limit of size; a pipe that nobody reads."""


class LossyFile(io.FileIO):
    """A descriptor that takes everything, and loses what it cannot keep."""

    def write(self, data: Any, /) -> int:
        """Write `data` (bytes, or what has their buffer); return how many bytes are dealt with.

        Raises:
            OSError: for another reason than those of `LOST`.
        """
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in LOST:
                raise
            return memoryview(data).nbytes


def lossy(stream: TextIO, descriptor: int) -> TextIO:
    """Return a stream on `descriptor` like `stream`, which never fails for want of room."""
    raw = LossyFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def hold() -> None:
    """Open standard descriptors that somebody has closed on /dev/null, before anything else is opened.

    The next file would get their numbers, and what is printed would be written there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 (the lowest free: this one)


def settle() -> None:
    """Put such streams in the place of ``sys.stdout`` and ``sys.stderr``."""
    sys.stdout, sys.stderr = lossy(sys.stdout, 1), lossy(sys.stderr, 2)
