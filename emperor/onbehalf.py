"""Do something with another user's rights, and get plain data back.

`check` and `explain` run by root read files of tenants. The one danger is what such a file makes its reader do: follow
a link, read a secret, run a command. So a child drops to that user before it opens anything, and what comes back is
JSON of bounded size: nothing that could run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0
"""Seconds for one call: longer than all commands that one file may run take together."""
MAX_ANSWER = 16 << 20
"""Bytes of one answer."""


class OnBehalfError(Exception):
    """The child could not do it; the text is for people."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody to act for: numeric identity, and what the password database says, "" where it says nothing."""

    uid: int
    gid: int
    name: str = ""
    home: str = ""


def user(uid: int, gid: int | None = None) -> User:
    """Return the user `uid`, with the group `gid` or else their own (or, for a number without an entry, `uid`)."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, uid if gid is None else gid)
    return User(uid, entry.pw_gid if gid is None else gid, entry.pw_name, entry.pw_dir)


def named(name: str) -> User:
    """Return the user called `name`, or with that number.

    Raises:
        OnBehalfError: there is none.
    """
    try:
        return user(pwd.getpwnam(name).pw_uid)
    except KeyError:
        if name.isascii() and name.isdigit():
            return user(int(name))
        raise OnBehalfError(f"there is no user {name}") from None


def call(function: Callable[[], Any], who: User) -> Any:
    """Return what `function` returns when it runs in a child process as `who`.

    Args:
        function: what to do; it returns JSON data, and prints nothing.
        who: the identity that the child takes before, supplementary groups included.

    Raises:
        OnBehalfError: the identity cannot be taken, or the child died, said too much or took longer than `PATIENCE`.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        _run(function, who, writing)
    os.close(writing)
    try:
        answer = _listen(reading)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it has answered, or will not
        os.waitpid(child, 0)
    try:
        kind, value = json.loads(answer)
    except (ValueError, TypeError, RecursionError):
        raise OnBehalfError(f"reading as {who.name or who.uid} gave no answer") from None
    if kind != "value":
        raise OnBehalfError(str(value))
    return value


def _run(function: Callable[[], Any], who: User, writing: int) -> None:
    """Be the child; never returns."""
    try:
        try:
            become(who)
            answer = ("value", function())
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
            answer = ("error", f"{type(error).__name__}: {error}")
        with open(writing, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def become(who: User) -> None:
    """Take the identity of `who` for good, where this process has another one.

    Raises:
        OSError: it may not.
    """
    if (os.geteuid(), os.getegid()) == (who.uid, who.gid):
        return
    if who.name:
        os.initgroups(who.name, who.gid)
    else:
        os.setgroups([])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    for name, value in (("HOME", who.home), ("USER", who.name), ("LOGNAME", who.name)):
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


def _listen(reading: int) -> bytes:
    end = time.monotonic() + PATIENCE
    answer = bytearray()
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(reading, 1 << 16)
        if not piece:
            return bytes(answer)
        answer += piece
        if len(answer) > MAX_ANSWER:
            raise OnBehalfError(f"more than {MAX_ANSWER} bytes of answer")
    raise OnBehalfError(f"no answer within {PATIENCE:.0f} s")
