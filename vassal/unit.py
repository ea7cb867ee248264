"""Speaks to systemd (sd_notify(3)): for the emperor, and for a vassal by hand, whose unit may have ``Type=notify``.

The one danger is the app: it must not find the socket, or it could speak for its server.
"""

from __future__ import annotations

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
    send(_address[0], f"READY=1\n{status_line(status)}")


def status_line(text: str) -> str:
    """Return the assignment that ``systemctl status`` shows."""
    return "STATUS=" + " ".join(text.split())  # a line feed would begin another assignment


def send(address: str, message: str) -> bool:
    """Send `message` to NOTIFY_SOCKET's `address`; return whether it was taken. Never raises, never blocks."""
    if not address.startswith(("/", "@")):
        return False  # nobody, or a kind that is not ours to speak (vsock)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(message.encode("utf-8", "backslashreplace"))
    except OSError:
        return False
    return True
