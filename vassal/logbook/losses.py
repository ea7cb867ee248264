"""Lines that were lost: counted by whoever could not write them, summed by the master, told once a minute.

Pure. The one danger is silence: what is lost is told at once, and then as often as it goes on.
"""

from __future__ import annotations

EVERY = 60.0
"""Seconds between two words about one place."""


class Losses:
    """Sums up by place. Times are seconds of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._why: dict[str, str] = {}
        self._tell_at: dict[str, float] = {}

    def add(self, label: str, lines: int, why: str) -> None:
        """Count so many lines that were lost at the place `label`, because of `why`."""
        self._counts[label] = self._counts.get(label, 0) + lines
        self._why[label] = why

    def due(self, now: float) -> list[str]:
        """Return what is to be told now."""
        found = []
        for label in [label for label in self._counts if now >= self._tell_at.get(label, 0.0)]:
            count = self._counts.pop(label)
            self._tell_at[label] = now + EVERY
            what = "1 log line was" if count == 1 else f"{count} log lines were"
            found.append(f"{what} lost: {label}: {self._why.pop(label)}")
        return found

    @property
    def waiting(self) -> bool:
        """Whether there is something that has not been told."""
        return bool(self._counts)
