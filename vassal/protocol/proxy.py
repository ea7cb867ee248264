"""The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): who is behind a load balancer.

Read only from peers that are trusted proxies. As in uWSGI it may be missing: a health check from the same machine or
container speaks for itself. The one danger is a client that says it itself, hence the trust is decided by whoever calls
this.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING

from vassal.protocol import Refused, Request, Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    Parse = Callable[[bytes, Talk], tuple[Request, bytes] | None]

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1_LIMIT = 107
"""Bytes of a line of version 1 (section 2.1)."""
V2_LIMIT = 4096
"""Bytes of addresses and extensions in version 2; the specification allows 65535, real ones have a few hundred."""

_V1 = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
).fullmatch
_FAMILIES = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}
_V2_FAMILIES = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}


def read(data: bytes) -> tuple[tuple[str, str] | None, int] | None:
    """Return ((client's address, port), length of the header); None: it is not complete.

    The address is None where the proxy speaks for itself (no header, ``LOCAL``) or does not know (``UNKNOWN``).

    Raises:
        Refused: a malformed header.
    """
    if data[:12] == V2_SIGNATURE[: len(data)]:
        return _read_v2(data)
    if data[:6] != b"PROXY "[: len(data)]:
        return None, 0
    end = data.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT:
            raise Refused(400, "a PROXY line without end")
        return None
    line = data[: end + 2]
    if line.startswith((b"PROXY UNKNOWN\r", b"PROXY UNKNOWN ")):
        return None, end + 2
    match = _V1(line)
    if match is None or int(match[4]) > 65535:
        raise Refused(400, "a malformed PROXY line")
    address = match[2].decode("ascii")
    try:
        socket.inet_pton(_FAMILIES[match[1]], address)
    except OSError:
        raise Refused(400, "a malformed address in a PROXY line") from None
    return (address, match[4].decode("ascii")), end + 2


def _read_v2(data: bytes) -> tuple[tuple[str, str] | None, int] | None:
    if len(data) < 16:
        return None
    command, family, size = struct.unpack_from("!BBH", data, 12)
    if command not in (0x20, 0x21) or size > V2_LIMIT:
        raise Refused(400, "a malformed PROXY header of version 2")
    if len(data) < 16 + size:
        return None
    known = _V2_FAMILIES.get(family)
    if command == 0x20 or known is None:  # LOCAL, or a family that says nothing to us
        return None, 16 + size
    kind, width = known
    if size < 2 * width + 4:
        raise Refused(400, "a PROXY header of version 2 that is too short for its addresses")
    address = socket.inet_ntop(kind, data[16 : 16 + width])
    (port,) = struct.unpack_from("!H", data, 16 + 2 * width)
    return (address, str(port)), 16 + size


def unwrap(parse: Parse, introduce: Callable[[Talk, str, str], None]) -> Parse:
    """Return a parser for one connection: first the PROXY header, then what `parse` reads.

    `introduce` is told the client's address and port, once.
    """
    skip = -1

    def parse_behind(data: bytes, talk: Talk) -> tuple[Request, bytes] | None:
        nonlocal skip
        if skip < 0:
            found = read(data)
            if found is None:
                return None
            client, skip = found
            if client is not None:
                introduce(talk, *client)
        if skip >= len(data):
            return None
        parsed = parse(data[skip:], talk)
        if parsed is not None:
            skip = 0  # what follows the first request has no header any more
        return parsed

    return parse_behind
