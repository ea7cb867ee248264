"""Tells systemd that a vassal by hand is ready (sd_notify(3)): units that were written for uWSGI have ``Type=notify``.

The one danger is the app: it must not find the socket, or it could speak for its server.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What is meant for the server alone, and taken out of the app's environment."""
_address = [""]


def take(environ: MutableMapping[str, str]) -> None:
    """Remember where systemd listens, if it does, and take its variables out of `environ`."""
    _address[0] = environ.get("NOTIFY_SOCKET", "")
    for name in VARIABLES:
        environ.pop(name, None)


def ready(status: str) -> None:
    """Say that clients are served, with one line for ``systemctl status``. Never raises, never blocks."""
    address = _address[0]
    if not address.startswith(("/", "@")):
        return  # nobody, or a kind that is not ours to speak (vsock)
    text = "READY=1\nSTATUS=" + " ".join(status.split())  # a line feed would begin another assignment
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
    ):
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.send(text.encode("utf-8", "backslashreplace"))
