"""Tells systemd how the emperor is: ready, reloading, stopping, alive (sd_notify(3)).

The danger here: blocking, or failing, for the sake of a courtesy. The socket does not block; what finds no room is sent
with the next sign of life. The fork server and the vassals must not inherit NOTIFY_SOCKET, or an app could speak for
the emperor.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vassal import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = (
    *unit.VARIABLES,
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "RUNTIME_DIRECTORY",
    "LOGS_DIRECTORY",
)
"""What systemd leaves in the environment for the emperor alone: to be taken out of everybody else's."""


OWED = 8
"""Messages that are kept for later: more than the emperor has to say between two signs of life."""


class Notifier:
    """Speaks to the service manager, or to nobody where there is none.

    Args:
        environ: NOTIFY_SOCKET (a path, or an abstract name after `@`), WATCHDOG_USEC and WATCHDOG_PID count.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog = _interval(environ) if self._address else None
        """Seconds between two calls of `alive`: half of what systemd tolerates; None if it does not ask."""
        self._owed: list[str] = []

    def ready(self, status: str) -> bool:
        """The fleet is up; also ends a `reloading`. Returns, as all do, whether it could be told by now."""
        return self._say(f"READY=1\n{unit.status_line(status)}")

    def reloading(self, status: str) -> bool:
        """A reload of the whole fleet has begun (systemd wants the monotonic time in microseconds with it)."""
        return self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n{unit.status_line(status)}")

    def stopping(self, status: str) -> bool:
        """The emperor is about to end."""
        return self._say(f"STOPPING=1\n{unit.status_line(status)}")

    def status(self, status: str) -> bool:
        """One line for `systemctl status`."""
        return self._say(unit.status_line(status))

    def alive(self) -> bool:
        """The loop turns: due every `watchdog` seconds."""
        self._settle()
        return self._send("WATCHDOG=1")

    def _say(self, message: str) -> bool:
        """Send `message` after all that is owed; what the manager has no room for now is owed."""
        self._owed = [*self._owed, message][-OWED:]
        return self._settle()

    def _settle(self) -> bool:
        while self._owed and self._send(self._owed[0]):
            self._owed.pop(0)
        return not self._owed

    def _send(self, message: str) -> bool:
        return unit.send(self._address, message)


def _interval(environ: Mapping[str, str]) -> float | None:
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        meant_for = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 and meant_for == os.getpid() else None
