"""The claim to a control socket: the lock beside it, and what lies at its path.

The one danger is a claim that two emperors have: each would think that the fleet is its own. So the lock is held for
life, and what has become of its file is looked at.
"""

from __future__ import annotations

import fcntl
import os
import stat

from vassal import net


class ControlError(Exception):
    """Something about the control socket failed; the message says what and what to do."""


class ControlInUse(ControlError):  # noqa: N818  # a condition by its name, as FileExistsError would be too narrow
    """Another emperor answers on that socket."""


def lock(path: str) -> int:
    """Take the lock beside the socket, for as long as the descriptor is open.

    Raises:
        ControlInUse: If another process has it.
        OSError: If the lock file cannot be made.
    """
    name = path + ".lock"
    while True:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner unlinked it between our open and our lock: then we hold a file that nobody can find.
            if os.path.lexists(name) and os.path.samestat(os.fstat(fd), os.lstat(name)):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise ControlInUse(_in_use(path)) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def remove_stale(path: str) -> None:
    """Make room for bind: what a killed emperor left is removed, what answers is not.

    Raises:
        ControlInUse: If somebody is bound there (whose lock file was removed by hand).
        ControlError: If something other than a socket lies there.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise ControlError(f"cannot make the control socket: {path} exists and is no socket; give another --control")
    if net.is_served(path):
        raise ControlInUse(_in_use(path))
    os.unlink(path)


def _in_use(path: str) -> str:
    return f"another emperor already answers on {path}: stop it, or give another --control PATH"


def is_held(path: str, fd: int) -> bool:
    """Whether the lock `fd` of the socket `path` is still the one that others would find."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path + ".lock"))
    except OSError:
        return False


def is_there(path: str) -> bool:
    """Whether anything lies at `path`, or may: where nobody may look it is not for us to say that it is gone."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
