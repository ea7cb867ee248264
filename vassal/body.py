"""Request bodies: collected without a thread being held, in memory while small, in a temporary file beyond that.

The one danger: a client that says it will send much. Nothing is allocated by announced sizes, only by received bytes.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

from vassal.protocol import CHUNKED
from vassal.protocol.chunked import ChunkedBody

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MEMORY = 256 * 1024
"""Bytes of a body kept in memory where post-buffering does not say otherwise."""


class EmptyInput(io.BufferedIOBase):
    """``wsgi.input`` of every request without a body. It holds nothing, so all threads share one."""

    def readable(self) -> bool:
        """Tell that it can be read, as whatever wraps it (``io.TextIOWrapper``) asks first."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 (PEP 3333's signature)
        """Return nothing."""
        return b""

    read1 = readline = read

    def readlines(self, hint: int = -1, /) -> list[bytes]:  # noqa: ARG002 (PEP 3333's signature)
        """Return nothing."""
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Do nothing: it is shared."""


EMPTY = EmptyInput()


class Body:
    """The body of one request while it arrives."""

    __slots__ = ("_chunks", "_file", "_memory", "_small", "left", "size")

    def __init__(self, length: int, *, in_memory: int, limit: int = 0) -> None:
        self.left = length
        """Bytes to come, or `CHUNKED`."""
        self.size = 0
        self._memory = io.BytesIO()
        self._file: IO[bytes] | None = None
        self._small = in_memory
        self._chunks = ChunkedBody(self.write, limit) if length == CHUNKED else None

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received; return what follows the body once it is complete, None before.

        Raises:
            Refused: a chunked body is malformed or too large.
            OSError: the temporary file cannot be written.
        """
        if self._chunks is not None:
            return self._chunks.feed(data)
        if len(data) <= self.left:
            self.left -= len(data)
            self.write(data)
            return None if self.left else b""
        rest = data[self.left :]
        self.write(data[: self.left])
        self.left = 0
        return rest

    def write(self, data: bytes) -> None:
        """Keep `data`."""
        self.size += len(data)
        if self._file is None:
            if self.size <= self._small:
                self._memory.write(data)
                return
            import tempfile  # noqa: PLC0415 (few bodies are so large, every vassal would hold it)

            self._file = tempfile.TemporaryFile(prefix="vassal-body-")  # noqa: SIM115 (closed with the request)
            self._file.write(self._memory.getvalue())
            self._memory = io.BytesIO()
        self._file.write(data)

    def open(self) -> Any:
        """Return the complete body as a file that stands at its beginning."""
        opened = self._file or self._memory
        opened.seek(0)
        return opened

    def close(self) -> None:
        """Give up the memory or the file."""
        self._memory = io.BytesIO()
        if self._file is not None:
            self._file.close()
