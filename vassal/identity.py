"""Whose rights a vassal has, and what may be done before it has taken them.

The one danger is everything that root does on behalf of a file: it may read only files that root alone can write,
and bind only ports and sockets in directories that root alone can write. Who can replace a file decides whose file it
is. `decide` is pure; the rest are thin effects.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SOURCE = 1024 * 1024
"""Bytes of a configuration file, at most."""
MAX_LINKS = 40
"""Symbolic links on the way to a file, at most, as for the kernel (path_resolution(7))."""


class IdentityError(Exception):
    """The identity cannot be decided or taken. The text is for people and names the remedy."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user to become. `groups` are all supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""
    home: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts that `decide` judges.

    `weak` says what others than root can write on the way to the file, None where nothing. `owner` is the file's
    (uid, gid) as the monitor saw it; `loose` says how others than the owner could write the file or put another there.
    """

    root: bool
    tyrant: bool
    owner: tuple[int, int]
    weak: str | None
    loose: str | None
    vassals_uid: str
    vassals_gid: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`at_once`: take the tenant's identity before the file is opened. `own`: the file's ``uid``/``gid`` count."""

    at_once: bool
    own: bool
    why_not_own: str = ""


def decide(s: Situation) -> Verdict:
    """Return how the vassal gets its identity.

    Raises:
        IdentityError: it must not run; the reason names what to change.
    """
    if not s.root:
        return Verdict(at_once=False, own=False, why_not_own="the emperor does not run as root")
    if s.tyrant:
        if s.owner[0] == 0 or s.owner[1] == 0:
            what = "user root" if s.owner[0] == 0 else "group root"
            raise IdentityError(
                f"in tyrant mode a vassal runs as its file's owner, and this file belongs to {what}; "
                "chown it to the app's user and group"
            )
        if s.loose is not None:
            raise IdentityError(f"in tyrant mode {s.loose}")
        return Verdict(at_once=True, own=False, why_not_own="in tyrant mode the file's owner decides")
    if s.weak is None:
        return Verdict(at_once=False, own=True)
    if not s.vassals_uid:
        raise IdentityError(
            f"{s.weak}, so it cannot be trusted with root's rights; set vassals-uid in the emperor's file, use "
            "emperor-tyrant, or make it writable by root alone"
        )
    return Verdict(at_once=True, own=False, why_not_own=f"{s.weak}, so the emperor's vassals-uid decides")


def weakness(path: str, owner: tuple[int, int] = (0, 0)) -> str | None:
    """Return what others than root can write or replace on the way to `path`, None where there is nothing.

    Looks at every directory and symbolic link that the kernel passes from ``/`` to the file. In a sticky directory
    such as ``/tmp`` nobody can replace root's entries, so its mode does not count; its entry's owner does. `owner`
    (uid, gid) is somebody who may, besides root.
    """
    for name in _way(os.path.abspath(path)):
        weak = _weak_entry(name, owner)
        if weak is not None:
            return weak
    return None


def roots_alone(directory: str) -> bool:
    """Return whether root may make something in `directory`: nobody else could have put another thing in its place."""
    if weakness(directory) is not None:
        return False
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False  # making it there, later, says why it cannot be
    # A sticky directory keeps root's entries safe, but there are others' entries in it too.
    return not mode & (stat.S_IWGRP | stat.S_IWOTH)


def _way(path: str) -> Iterator[str]:
    """Yield each entry on the way to `path`: links themselves, and what they lead through."""
    yield "/"
    at, left, links = "/", deque(path.split("/")), 0
    while left and links <= MAX_LINKS:  # with more, opening it will fail
        part = left.popleft()
        if part == "..":
            at = os.path.dirname(at)
        elif part not in ("", "."):
            entry = os.path.join(at, part)
            yield entry
            try:
                target = os.readlink(entry)
            except OSError:
                at = entry  # no link
                continue
            links += 1
            left.extendleft(reversed(target.split("/")))
            at = "/" if target.startswith("/") else at


def estrangement(path: str, owner: tuple[int, int]) -> str | None:
    """Return how somebody else than root and `owner` (uid, gid) decides what lies at `path`, None where nobody does.

    Where a tenant links to another's file, that file would run in the directory of the link: with the code of whoever
    made the link, as the other.
    """
    weak = weakness(path, owner)
    if weak is None:
        return None
    whose = user_name(owner[0])
    return f"only root and the file's owner, {whose}, may be able to change what leads to {path}, but {weak}"


def _weak_entry(path: str, owner: tuple[int, int]) -> str | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None  # opening it will say so
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror})"
    if found.st_uid not in (0, owner[0]):
        return f"{path} belongs to {user_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return None
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody"
    # An access control list shows in the group bits too, whoever the group is.
    trusted = found.st_gid in (0, owner[1])
    if found.st_mode & stat.S_IWGRP and (not trusted or "system.posix_acl_access" in os.listxattr(path)):
        return f"{path} can be written by group {group_name(found.st_gid)}"
    return None


def looseness(path: str) -> str | None:
    """Return which permission bit lets others than its owner write `path` or its directory, with the remedy."""
    for name in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        for what, kind in ((name, "file"), (os.path.dirname(name), "directory")):
            try:
                mode = os.stat(what).st_mode
            except OSError:
                continue  # opening it will say why
            if mode & stat.S_IWOTH:
                return f"the {kind} {what} must not be writable by everybody (chmod o-w {what})"
            if mode & stat.S_IWGRP:
                return f"the {kind} {what} must not be writable by its group (chmod g-w {what})"
    return None


def account(user: str, group: str, extra: tuple[str, ...] = (), *, supplementary: bool = True) -> Account:
    """Return the account of `user` (a name or a number) with `group` (default: the user's own).

    `extra` are ``add-gid`` groups. Without `supplementary` the user's groups of the group database are left out.

    Raises:
        IdentityError: no such user or group.
    """
    entry = _user(user)
    uid = entry.pw_uid if entry else int(user)
    if group:
        gid = group_id(group)
    elif entry:
        gid = entry.pw_gid
    else:
        raise IdentityError(f"uid {uid} is in no user database: name its group with gid")
    groups = {gid, *(group_id(name) for name in extra)}
    if supplementary and entry:
        groups.update(os.getgrouplist(entry.pw_name, gid))
    return Account(uid, gid, tuple(sorted(groups)), entry.pw_name if entry else "", entry.pw_dir if entry else "")


def owner_account(uid: int, gid: int) -> Account:
    """Return the account of a file's owner with the file's group, for tyrant mode."""
    return account(str(uid), str(gid))


def _user(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isascii() and user.isdigit():
            return None
        raise IdentityError(f"there is no user {user!r} on this machine") from None


def group_id(group: str) -> int:
    """Return the number of `group` (a name or a number).

    Raises:
        IdentityError: no such group.
    """
    if group.isascii() and group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise IdentityError(f"there is no group {group!r} on this machine") from None


def user_id(user: str) -> int:
    """Return the number of `user` (a name or a number).

    Raises:
        IdentityError: no such user.
    """
    entry = _user(user)
    return entry.pw_uid if entry else int(user)


def user_name(uid: int) -> str:
    """Return the name of user `uid`, or its number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of group `gid`, or its number as text."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def take(who: Account) -> None:
    """Become `who`, for good.

    Raises:
        IdentityError: the kernel refuses, or afterwards root could still be had back.
    """
    try:
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    except OSError as error:
        raise IdentityError(f"cannot become {who.name or who.uid}: {error.strerror}") from None
    if who.uid != 0:
        try:
            os.setuid(0)
        except OSError:
            return
        raise IdentityError(f"became {who.name or who.uid}, but root's rights did not go")


@contextlib.contextmanager
def lent(who: Account) -> Iterator[None]:
    """Act as `who` for a moment, as far as the file system is concerned; root's ids stay real and saved.

    So nobody of that user can signal or trace this process meanwhile.

    Raises:
        IdentityError: the kernel refuses.
    """
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(who.groups)
        os.setegid(who.gid)
        os.seteuid(who.uid)
    except OSError as error:
        raise IdentityError(f"cannot act as {who.name or who.uid}: {error.strerror}") from None
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def open_source(path: str, version: tuple[int, ...], *, tyrant: bool) -> int:
    """Open a vassal's own file and return the descriptor, once it is sure that it is the file the monitor saw.

    Under tyrant the inode and the owner must be those of `version` (mtime_ns, inode, size, uid, gid): the
    identity was taken for that owner.

    Raises:
        IdentityError: not a regular file, another file than the monitor saw, or not to be opened.
    """
    try:
        # O_NONBLOCK: a FIFO without a writer must not hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError):
            hint = f" as {user_name(os.geteuid())} (chmod or chown it, or the directory)"
        raise IdentityError(f"cannot open {path}{hint}: {error.strerror}") from None
    found = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = f"{path} is not a regular file"
    elif found.st_size > MAX_SOURCE:
        problem = f"{path} has {found.st_size} bytes, more than the {MAX_SOURCE} that a configuration may have"
    elif tyrant and (found.st_ino, found.st_uid, found.st_gid) != (version[1], version[3], version[4]):
        problem = f"{path} was replaced while it was being opened"
    if problem is not None:
        os.close(descriptor)
        raise IdentityError(problem)
    return descriptor


def read_as_root(path: str) -> bytes:
    """Return the content of an included file, when only root can have written it.

    Raises:
        IdentityError: others could write it, it is no regular file, too large, or not to be opened.
    """
    weak = weakness(path)
    if weak is not None:
        raise IdentityError(f"cannot include {path}: {weak}, and a file that is read as root must be root's alone")
    descriptor = open_source(path, (), tyrant=False)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_SOURCE + 1)
