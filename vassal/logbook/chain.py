"""From a line to its places: filters, routes, encoders (uWSGI's Logging and LogEncoders pages).

The one danger is that a line is silently nowhere: a line that no route claims goes to every logger without a name, and
where there is none of these to what the vassal had before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vassal.logbook import sinks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.logbook.encoders import Encoder
    from vassal.logbook.sinks import Sink

SLOW_PATTERN = 4096
"""Bytes of a line that patterns are tried on: a line of a megabyte must not hold anybody up."""


class Chain:
    """What becomes of each line.

    Args:
        targets: all loggers that may take lines.
        base: where lines go for which there is no logger.
        encoders: applied in their order.
        routes: (name of a logger, pattern): lines that match go there, and nowhere else.
        drains: lines that match one of these go nowhere.
        filters: where there are any, lines that match none of these go nowhere.
    """

    def __init__(  # noqa: PLR0913 (each is an option of its own)
        self,
        targets: Sequence[Sink],
        base: Sink,
        *,
        encoders: Sequence[Encoder] = (),
        routes: Sequence[tuple[str, str]] = (),
        drains: Sequence[str] = (),
        filters: Sequence[str] = (),
    ) -> None:
        self.defaults = [sink for sink in targets if not sink.name] or [base]
        self.sinks = tuple(dict.fromkeys((*self.defaults, *targets)))
        self._encoders = encoders
        by_name: dict[str, list[Sink]] = {}
        for sink in targets:
            by_name.setdefault(sink.name, []).append(sink)
        self._routes = [(re.compile(pattern.encode()), by_name.get(name, [])) for name, pattern in routes]
        self._drains = [re.compile(pattern.encode()) for pattern in drains]
        self._filters = [re.compile(pattern.encode()) for pattern in filters]
        self.plain = not (encoders or routes or drains or filters)
        """Lines are passed on as they are."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Pass on `lines`, each with its end. Never blocks, never raises."""
        if self.plain:
            sinks.write_all(self.defaults, b"".join(lines), len(lines))
            return
        for line in lines:
            for sink in self._places(line):
                sinks.write_all((sink,), self._encode(line, sink), 1)

    def _places(self, line: bytes) -> Sequence[Sink]:
        start = line[:SLOW_PATTERN]
        if any(pattern.search(start) for pattern in self._drains):
            return ()
        if self._filters and not any(pattern.search(start) for pattern in self._filters):
            return ()
        claimed = [sink for pattern, places in self._routes if pattern.search(start) for sink in places]
        return list(dict.fromkeys(claimed)) or self.defaults

    def _encode(self, line: bytes, sink: Sink) -> bytes:
        binary = False
        for encoder in self._encoders:
            if not encoder.only or encoder.only == sink.name:
                line = encoder.encode(line)
                binary = encoder.binary
        return line if binary or line.endswith(b"\n") else line + b"\n"


def line_cutter(write: Callable[[Sequence[bytes]], None], limit: int = 65536) -> Callable[[bytes], None]:
    """Return a function that takes bytes as they come and gives whole lines to `write`; ``b""`` ends the last one."""
    rest = bytearray()

    def take(data: bytes) -> None:
        if not data:
            if rest:
                write([bytes(rest) + b"\n"])
                rest.clear()
            return
        rest.extend(data)
        *lines, last = bytes(rest).split(b"\n")
        rest[:] = last
        while len(rest) >= limit:
            lines.append(bytes(rest[:limit]))
            del rest[:limit]
        if lines:
            write([line + b"\n" for line in lines])

    return take
