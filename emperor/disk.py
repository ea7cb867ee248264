"""What the values of a vassal's file lead to on this machine: paths that are missing, addresses that cannot be bound.

Nothing is opened, created or bound. The one danger is to call something missing that merely cannot be seen from here:
only ENOENT and ENOTDIR mean missing.
"""

from __future__ import annotations

import errno
import glob
import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vassal import net
from vassal.config import Entry, Note
from vassal.config.log_types import log_file
from vassal.config.settings import APPS, NO_SOCKET, NO_WORK, works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vassal.config.build import Build

ANY_IPV4 = "0.0.0.0"
_GONE = (errno.ENOENT, errno.ENOTDIR)
_OPEN_END = re.compile(r"[%$@]\(")
"""A variable that was not filled in: where it leads shows at the start only."""
_NETWORKED = re.compile(r"[A-Za-z]\w*:")
"""``logto = udp:…`` and the like."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An address that a file wants for itself. `host` is "" for a path or an abstract name, which is in `place`."""

    place: str
    host: str
    port: int
    option: str
    file: str
    line: int
    shared: bool
    """``reuse-port``: others may bind it too."""

    def collides(self, other: Claim) -> bool:
        """Whether both cannot be bound at once."""
        if not self.host or not other.host:
            return self.place == other.place
        if not self.port or self.port != other.port or (self.shared and other.shared):
            return False  # port 0 is a free one for each
        if self.host == other.host:
            return True
        # Linux binds "::" for IPv4 as well unless it is told otherwise (ipv6(7), IPV6_V6ONLY).
        hosts = {self.host, other.host}
        return "::" in hosts or (ANY_IPV4 in hosts and not any(":" in host for host in hosts))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What must be at the end of a path: `what` for people, `test` for its mode, `level` of the note otherwise."""

    what: str
    level: str
    test: Callable[[int], bool]


def _anything(_: int) -> bool:
    return True


_DIRECTORY = _Kind("directory", "error", stat.S_ISDIR)
_SOFT_DIRECTORY = _Kind("directory", "warning", stat.S_ISDIR)
_FILE = _Kind("file", "error", stat.S_ISREG)
_SOFT = _Kind("path", "warning", _anything)

_AT_FILE = {"chdir": _DIRECTORY}
"""Fields whose paths are relative to the file's directory."""
_PARENTS_AT_FILE = ("logto", "logto2", "daemonize", "log_backupname", "pidfile", "safe_pidfile")
"""Likewise; the file itself need not be there, but its directory."""
_LOGGERS = ("logger", "req_logger")
"""Places for log lines, of which files are relative to the working directory."""
_MAKERS = ("hook_asap", "exec_asap", "hook_as_root", "exec_as_root", "hook_as_user", "exec_as_user")
"""Hooks that run before sockets, logs and pidfiles are made."""
_AFTER_CHDIR = {
    "wsgi_file": _FILE,
    "virtualenv": _DIRECTORY,
    "chdir2": _SOFT_DIRECTORY,
    "check_static": _SOFT_DIRECTORY,
    "mime_file": _SOFT,
    "touch_reload": _SOFT,
    "touch_workers_reload": _SOFT,
    "touch_chain_reload": _SOFT,
    "touch_logreopen": _SOFT,
    "touch_logrotate": _SOFT,
    "static_map": _SOFT,
    "static_map2": _SOFT,
}
"""Fields whose paths are relative to the working directory. Only what fails a start for certain is an error."""


def winners(build: Build) -> list[tuple[str, Entry, Any]]:
    """Return (field, entry, value) of all that counts: of single values the last, of lists each, in file order."""
    last = {row.field: entry for row, entry, _ in build.taken if row.field and row.type and not row.type.many}
    return [
        (row.field, entry, value)
        for row, entry, value in build.taken
        if row.field and (last.get(row.field, entry) is entry)
    ]


def judge(path: str, build: Build) -> tuple[list[Note], list[Claim]]:
    """Look at what the values of the vassal's file at `path` lead to.

    Args:
        path: absolute; relative values are taken from its directory, after ``chdir`` from there.
        build: its values.

    Returns:
        What is missing or cannot work, and the addresses that it claims.
    """
    look = _Look(os.path.dirname(path), build)
    for field, entry, value in winners(build):
        look.take(field, entry, value)
    if not works(build.values.get):
        look.notes.append(Note(path, None, "error", None, NO_WORK))
    if any(build.values.get(name) for name in APPS) and not build.values.get("sockets"):
        look.notes.append(Note(path, None, "warning", "socket", NO_SOCKET))
    return look.notes, look.claims


class _Look:
    def __init__(self, base: str, build: Build) -> None:
        self.base = base
        self.directory = os.path.join(base, build.values.get("chdir") or "")
        self.shared = bool(build.values.get("reuse_port"))
        early = any(build.values.get(name) for name in _MAKERS)
        self.missing = "warning" if early else "error"
        """Of a directory that is missing now: a hook may make it before it is needed."""
        self.notes: list[Note] = []
        self.claims: list[Claim] = []

    def take(self, field: str, entry: Entry, value: Any) -> None:
        if _OPEN_END.search(entry.value):
            return
        if field == "sockets":
            self.socket(entry, str(value))
        elif field in _PARENTS_AT_FILE:
            if not _NETWORKED.match(str(value)):
                self.parent(entry, os.path.join(self.base, str(value)))
        elif field in _LOGGERS:
            self.logger(entry, str(value))
        elif field in _AT_FILE:
            self.path(entry, os.path.join(self.base, str(value)), _AT_FILE[field])
        elif field in _AFTER_CHDIR:
            # A map names URL and path.
            written = value[1] if isinstance(value, tuple) else value
            self.path(entry, os.path.join(self.directory, str(written)), _AFTER_CHDIR[field])
        elif field == "pythonpath":
            self.pattern(entry, os.path.join(self.directory, str(value)))
        elif field == "python" and "/" in str(value):
            self.path(entry, os.path.join(self.directory, str(value)), _FILE)

    def path(self, entry: Entry, path: str, kind: _Kind) -> None:
        mode = self.mode(entry, path, kind.what, kind.level)
        if mode is not None and not kind.test(mode):
            self.note(entry, kind.level, f"{entry.option}: {path} is no {kind.what}")

    def pattern(self, entry: Entry, path: str) -> None:
        if glob.has_magic(path):
            if next(glob.iglob(path), None) is None:
                self.note(entry, "warning", f"{entry.option}: nothing matches {path}")
        else:
            self.path(entry, path, _SOFT)

    def logger(self, entry: Entry, text: str) -> None:
        path = log_file(text)
        if path and not _OPEN_END.search(path):
            self.parent(entry, os.path.join(self.directory, path))

    def parent(self, entry: Entry, path: str) -> None:
        directory = os.path.dirname(path)
        mode = self.mode(entry, directory, "directory", self.missing)
        if mode is not None and not stat.S_ISDIR(mode):
            self.note(entry, "error", f"{entry.option}: {directory} is no directory")

    def mode(self, entry: Entry, path: str, what: str, level: str) -> int | None:
        try:
            return os.stat(path).st_mode
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in _GONE:
                self.note(entry, "warning", f"{entry.option}: cannot look at {path}: {error.strerror}")
            else:
                self.note(entry, level, f"{entry.option}: there is no {what} {path}")
            return None

    def socket(self, entry: Entry, text: str) -> None:
        host, colon, port = text.rpartition(":")
        if not text.startswith("@") and colon and "/" not in text:
            host = _plain(host)
            self.claim(entry, f"{host}:{port}", host, int(port))
            return
        try:
            address = net.parse(text, self.directory)
        except net.AddressError as error:
            self.note(entry, "error", f"{entry.option}: {error}")
            return
        if address.is_path:
            self.parent(entry, address.path)
        self.claim(entry, address.key, "", 0)

    def claim(self, entry: Entry, place: str, host: str, port: int) -> None:
        self.claims.append(Claim(place, host, port, entry.option, entry.file, entry.line, self.shared))

    def note(self, entry: Entry, level: str, message: str) -> None:
        self.notes.append(Note(entry.file, entry.line or None, level, entry.option, message))


def _plain(host: str) -> str:
    """Return one spelling for each host; names stay, since looking them up is the start's business."""
    host = host.removeprefix("[").removesuffix("]").lower()
    if host in ("", "*"):
        return ANY_IPV4
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def collisions(claims: Iterable[tuple[str, Claim]]) -> list[tuple[str, Claim, str, Claim]]:
    """Return (vassal, claim, earlier vassal, its claim) for each claim that an earlier vassal's forbids.

    Args:
        claims: (vassal's path, claim) in the order in which the vassals come.
    """
    found = []
    by_key: dict[str | int, list[tuple[str, Claim]]] = {}
    for path, claim in claims:
        earlier = by_key.setdefault(claim.port or claim.place, [])
        first = next(((other, old) for other, old in earlier if other != path and claim.collides(old)), None)
        if first is not None:
            found.append((path, claim, *first))
        earlier.append((path, claim))
    return found
