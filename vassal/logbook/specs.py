"""What ``logger`` and its like say: ``[NAME] KIND[:ARGUMENT]``, as text; nothing is opened here.

The one danger is a log that goes nowhere: what is not plainly one of the kinds below is refused when the file is read.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

FACILITIES = {
    name: number
    for number, name in enumerate(
        ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"]
        + [""] * 4
        + [f"local{n}" for n in range(8)]
    )
    if name
} | {"security": 4}
"""syslog(3); RFC 5424 section 6.2.1."""
INFO, NOTICE = 6, 5

KINDS = ("file", "fd", "stdio", "socket", "syslog", "rsyslog", "systemd")
_FOREIGN = ("redislog", "mongodblog", "zeromq", "crypto", "graylog2")
_NAMED = re.compile(r"([A-Za-z0-9]+)\s+(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
STDIO = frozenset(("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2", "-"))
"""Paths that mean what the vassal was given as standard output: they are links, and could not be opened anew."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One place for lines.

    Attributes:
        kind: one of `KINDS`.
        name: what routes call it; ``""``: it takes all lines that no route claims.
        target: path of a file or socket, ``HOST:PORT``, or a descriptor's number.
        maxsize: bytes at which a file is rotated; 0: ``log-maxsize`` decides.
        backupname: of a file, when it is rotated; ``""``: ``log-backupname`` decides.
        tag: who speaks, for syslog; or what is put in front of each datagram.
        priority: of syslog: eight times the facility, plus the severity (RFC 5424 section 6.2.1).
    """

    kind: str
    name: str = ""
    target: str = ""
    maxsize: int = 0
    backupname: str = ""
    tag: str = ""
    priority: int = FACILITIES["daemon"] * 8 + INFO


def parse(text: str) -> Spec:
    """Return what a ``logger`` line says.

    Raises:
        ValueError: it makes no sense; the text says what is allowed.
    """
    name = ""
    named = _NAMED.fullmatch(text.strip())
    if named is not None:
        name, text = named.groups()
    kind, colon, argument = text.strip().partition(":")
    if kind in _FOREIGN:
        raise ValueError(f"the logger {kind} is not offered: let syslog or a log shipper carry the lines there")
    if kind not in KINDS:
        raise ValueError(f"there is no logger {kind!r}: allowed are [NAME] and one of {', '.join(KINDS)}")
    if kind in ("file", "fd", "socket", "rsyslog") and not argument:
        raise ValueError(f"{kind}{colon}: what is missing is where: {kind}:…")
    if kind == "file":
        return _file(name, argument)
    if kind in ("socket", "rsyslog"):
        return _socket(kind, name, argument)
    if kind == "syslog":
        tag, _, facility = argument.partition(",")
        return Spec(kind, name, tag=tag, priority=_facility(facility) * 8 + INFO)
    if kind == "fd" and not (argument.isascii() and argument.isdigit() and len(argument) < 7):
        raise ValueError("fd: a descriptor's number is expected")
    return Spec(kind, name, target=argument)


def _facility(word: str) -> int:
    if word and word not in FACILITIES:
        raise ValueError(f"there is no syslog facility {word!r}: allowed are {', '.join(FACILITIES)}")
    return FACILITIES[word or "daemon"]


def _file(name: str, argument: str) -> Spec:
    if "=" not in argument:
        return at_path(argument, name)
    found = {}
    for item in argument.split(","):
        key, equals, value = item.partition("=")
        if not equals or key.strip() not in ("logfile", "maxsize", "backupname"):
            raise ValueError("expected file:PATH or file:logfile=PATH,maxsize=BYTES,backupname=PATH")
        found[key.strip()] = value.strip()
    if not found.get("logfile"):
        raise ValueError("logfile=PATH is missing")
    size = found.get("maxsize", "0")
    if not (size.isascii() and size.isdigit() and len(size) < 16):
        raise ValueError("maxsize: expected bytes")
    spec = at_path(found["logfile"], name)
    return Spec(spec.kind, name, spec.target, int(size), found.get("backupname", ""))


def rooted(text: str, directory: str) -> str:
    """Return a ``logger`` line whose file, if it names one, is absolute; relative ones are taken from `directory`."""
    spec = parse(text)
    if spec.kind != "file":
        return text
    path = os.path.join(directory, spec.target)
    name = f"{spec.name} " if spec.name else ""
    if not (spec.maxsize or spec.backupname or "=" in path):
        return f"{name}file:{path}"
    size = f",maxsize={spec.maxsize}" if spec.maxsize else ""
    backup = f",backupname={os.path.join(directory, spec.backupname)}" if spec.backupname else ""
    return f"{name}file:logfile={path}{size}{backup}"


def at_path(path: str, name: str = "") -> Spec:
    """Return the place that a path means: a file, or what the vassal was given as standard output."""
    return Spec("stdio", name) if path in STDIO else Spec("file", name, path)


def of_logto(text: str) -> Spec:
    """Return the place that ``logto`` means: ``HOST:PORT`` is a datagram socket, as in uWSGI."""
    return Spec("socket", target=text) if _ADDRESS.fullmatch(text) else at_path(text)


def _socket(kind: str, name: str, argument: str) -> Spec:
    where, _, tag = argument.partition(",")
    number = FACILITIES["daemon"] * 8 + (NOTICE if kind == "rsyslog" else INFO)
    if kind == "rsyslog":
        tag, _, priority = tag.partition(",")
        if priority:
            if not (priority.isascii() and priority.isdigit() and int(priority) < 192):
                raise ValueError("rsyslog: the third word is a priority below 192")
            number = int(priority)
        if "/" not in where and ":" not in where:
            where += ":514"
    if "/" not in where and not where.startswith("@") and not _ADDRESS.fullmatch(where):
        raise ValueError(f"{kind}: expected HOST:PORT or the path of a UNIX socket")
    return Spec(kind, name, where, tag=tag, priority=number)


def route(text: str) -> tuple[str, str]:
    """Return (name of a logger, regular expression) of a ``log-route`` line.

    Raises:
        ValueError: it is none.
    """
    name, blank, pattern = text.strip().partition(" ")
    if not blank or not pattern.strip():
        raise ValueError("expected NAME REGEX, where NAME is that of a logger")
    return name, pattern.strip()
