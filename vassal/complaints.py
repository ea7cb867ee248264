"""Log lines that clients can cause: each kind is written once a minute, so that nobody fills a log from outside.

The one danger is the memory of what was said: it is bounded, and when it is full nothing new is said.
"""

from __future__ import annotations

from time import monotonic

from vassal import logs

EVERY = 60.0
"""Seconds between two log lines for one key."""
MOST = 1000


class Complaints:
    """When something was last said, by key: a client's address, or a kind of trouble."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def say_once(self, key: str, text: str) -> None:
        """Log `text` unless something was logged for `key` within the last minute."""
        now = monotonic()
        if now < self._until.get(key, 0.0):
            return
        if len(self._until) > MOST:
            self._until = {known: until for known, until in self._until.items() if until > now}
            if len(self._until) > MOST:
                return
        self._until[key] = now + EVERY
        logs.say(text)
