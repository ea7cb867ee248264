"""Room for what is under way: descriptors that nothing new may take.

An emperor at its limit (RLIMIT_NOFILE) must still hear its fork server, scan its places and answer `emperor status`, or
nobody could ever relieve it. The one danger is a limit that is met by what cannot be refused any more: descriptors that
come in a packet are lost then, and the packet with them. So whoever is about to begin something asks here first.
"""

from __future__ import annotations

import errno
import os
import resource

KEPT = 32
"""Descriptors that stay free: pidfds and listeners of generations that start, scans, clients of the control socket."""


def require(count: int = KEPT) -> None:
    """Return if something new may begin: `count` descriptors are free.

    Raises:
        OSError: they are not; its text says what to raise.
    """
    held: list[int] = []
    try:
        held.append(os.open("/dev/null", os.O_PATH | os.O_CLOEXEC))
        while len(held) < count:
            held.append(os.dup(held[0]))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise OSError(
            errno.EMFILE,
            f"of the emperor's {limit} descriptors fewer than {count} are left (raise RLIMIT_NOFILE: ulimit -n, or "
            "LimitNOFILE= in the systemd unit)",
        ) from None
    finally:
        for descriptor in held:
            os.close(descriptor)
