"""What the kernel knows of a vassal: memory of its workers, connections that wait at its sockets.

Read when somebody asks, never for a request. The one danger is an answer that does not come: nothing here waits, and
what cannot be read is 0.
"""

from __future__ import annotations

import os
import socket
import struct

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TCP_INFO_BYTES = 32
"""As much of ``struct tcp_info`` (linux/tcp.h) as is used: eight bytes, then words."""
_UNACKED, _SACKED = 24, 28
"""Offsets of the fields that hold, for a listening socket, the accept queue's length and its limit (tcp(7), ss(8))."""
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_UDIAG_SHOW_RQLEN = 0x10
_UNIX_DIAG_RQLEN = 4
"""sock_diag(7); linux/sock_diag.h and linux/unix_diag.h."""
_HEADER = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port (netlink(7))."""
_REQUEST = struct.Struct("=BBHIIIII")
"""``struct unix_diag_req``: family, protocol, pad, states, inode, what to show, and no cookie."""
_ANSWER_BYTES = 16
"""Of ``struct unix_diag_msg``, after which attributes follow."""
_ANY = 0xFFFFFFFF
_REPLY = 8192


def memory(pid: int) -> tuple[int, int]:
    """Return resident and virtual size of process `pid` in bytes (proc(5), ``statm``); zeros where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            words = file.read().split()
        return int(words[1]) * _PAGE, int(words[0]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0, 0


def queue(sock: socket.socket) -> tuple[int, int]:
    """Return how many connections wait at the listening socket `sock`, and how many may; zeros where nobody knows."""
    try:
        if sock.family == socket.AF_UNIX:
            return _unix_queue(os.fstat(sock.fileno()).st_ino)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return _word(info, _UNACKED), _word(info, _SACKED)
    except (OSError, struct.error):
        return 0, 0


def _word(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", data, offset)[0])


def _unix_queue(inode: int) -> tuple[int, int]:
    """Ask the kernel for one UNIX socket. It answers within the call that sends; needs the module ``unix_diag``."""
    body = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, inode & _ANY, _UDIAG_SHOW_RQLEN, _ANY, _ANY)
    packet = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, 1, 1, 0) + body
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(packet, (0, 0))
        return parse_queue(kernel.recv(_REPLY))


def parse_queue(reply: bytes) -> tuple[int, int]:
    """Return (waiting, limit) from a reply of sock_diag; zeros where it holds none (no such socket, no such module)."""
    if len(reply) < _HEADER.size:
        return 0, 0
    length, kind, *_ = _HEADER.unpack_from(reply)
    at = _HEADER.size + _ANSWER_BYTES
    end = min(length, len(reply))
    while kind == _SOCK_DIAG_BY_FAMILY and at + 4 <= end:
        size, what = struct.unpack_from("=HH", reply, at)
        if what == _UNIX_DIAG_RQLEN and at + 12 <= end:
            return _word(reply, at + 4), _word(reply, at + 8)
        if size < 4:
            break
        at += (size + 3) & ~3
    return 0, 0
