"""Whether the files that made a generation are still what they were: its workers may only take new code, not options.

The one danger is a look that fails and counts as sameness: what cannot be read has been edited.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal.config.reader import default_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Files:
    """The files that were read, and a checksum over them; no files: nobody has looked."""

    paths: tuple[str, ...]
    sum: int

    @classmethod
    def of(cls, paths: Sequence[str], read: Callable[[str], bytes]) -> Files:
        """Return `paths` with their checksum; nothing where one cannot be read."""
        total = 0
        for path in paths:
            try:
                content = read(path)
            except OSError:
                return cls((), 0)
            total = zlib.crc32(b"%d:" % len(content) + content, total)
        return cls(tuple(paths), total)

    def unedited(self) -> bool:
        """Whether all of them are there and have the same content. Read with the rights of whoever asks."""
        return bool(self.paths) and Files.of(self.paths, default_reader) == self
