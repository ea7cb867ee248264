"""Who waits for what becomes of a reload or a start.

The one danger is a wait without end: every outcome that concerns a generation or a later one answers, and so does the
end of the vassal.
"""

from __future__ import annotations

import asyncio

Answer = tuple[bool, int | None, str]
"""Whether it went well, the generation that decided it, and a line for people."""


class Waiters:
    """Futures by vassal, each for the first outcome of a generation or a later one."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, asyncio.Future[Answer]]]] = {}

    def outcome(self, name: str, generation: int) -> asyncio.Future[Answer]:
        """Return a future for what becomes of vassal `name` once `generation` or a later one has been decided."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append((generation, future))
        return future

    def resolve(self, name: str, generation: int | None, *, ok: bool, text: str) -> None:
        """Answer those who wait for `generation` or an earlier one; for None everybody who waits for `name`."""
        left = []
        for wanted, future in self._waiting.pop(name, []):
            if generation is not None and generation < wanted:
                left.append((wanted, future))
            elif not future.done():
                future.set_result((ok, generation, text))
        if left:
            self._waiting[name] = left
