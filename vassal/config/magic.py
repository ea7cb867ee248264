"""Magic variables: ``%n``, ``%d`` and their like, replaced while a file is read.

The table is uWSGI's ("Configuring uWSGI", Magic variables). Lower case speaks of the file that the line stands in,
upper case of the vassal's own file. The one danger is ``%`` in ordinary text: uWSGI replaces an unknown ``%x`` by
nothing, and so do we, but never silently.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import time
from typing import TYPE_CHECKING

from vassal import __version__
from vassal.config.limits import VALUE_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIABLE = re.compile(r"%(.)", re.DOTALL)
OF_THE_FILE = "opsdenxcij"
"""Variables that have an upper-case form for the vassal's own file."""


def djb33x(path: bytes) -> str:
    """Return the hash behind ``%j``: djb33x of the path, little-endian, as eight upper-case hexadecimal digits."""
    value = 5381
    for byte in path:
        # C's char has a sign here: a byte above 127 counts as byte - 256.
        value = ((value << 5) + value ^ (byte if byte < 128 else byte - 256)) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex().upper()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


class Host:
    """What is the same for all files of one load: the base directory, host, clock and identity, asked for once."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._known: dict[str, str] = {"%": "%", "(": "%(", "[": "\033", "V": __version__}
        now = time.time_ns()
        self._questions: dict[str, Callable[[], str]] = {
            "v": lambda: self._base,
            "h": lambda: os.uname().nodename,
            "k": lambda: str(max(1, os.sysconf("SC_NPROCESSORS_ONLN"))),
            "t": lambda: str(now // 1_000_000_000),
            "T": lambda: str(now // 1_000),
            "u": lambda: str(os.getuid()),
            "U": lambda: _user(os.getuid()),
            "g": lambda: str(os.getgid()),
            "G": lambda: _group(os.getgid()),
        }

    def get(self, letter: str) -> str | None:
        """Return the value of ``%letter``, or None if there is no such variable."""
        known = self._known.get(letter)
        if known is None and letter in self._questions:
            known = self._known[letter] = self._questions[letter]()
        return known


class Magic:
    """The variables of one file and section.

    Args:
        written: the path as it was written (``%o``), without a section.
        path: the same, made absolute from the base directory.
        section: the section that was asked for by name, else "".
        host: what all files share.
        own: the vassal's own file; None: this is it.
    """

    def __init__(self, written: str, path: str, section: str, host: Host, own: Magic | None) -> None:
        self._host = host
        self._own = own or self
        # uWSGI keeps the path of a symbolic link and resolves that of a file.
        self._path = path if os.path.islink(path) else os.path.realpath(path)
        head, _, name = self._path.rpartition("/")
        directory = head + "/"
        stem, dot, extension = name.rpartition(".")
        self._known = {
            "o": written,
            "p": self._path,
            "s": name,
            "d": directory,
            "e": extension if dot else "",
            "n": stem if dot else name,
            "c": head.rpartition("/")[2],
            "x": section,
        }

    def _lazy(self, letter: str) -> str | None:
        if letter == "i":
            try:
                return str(os.lstat(self._path).st_ino)
            except OSError:
                return ""
        if letter == "j":
            return djb33x(os.fsencode(self._path))
        if letter.isascii() and letter.isdigit():
            parts = [part for part in os.path.dirname(self._path).split("/") if part]
            return parts[int(letter)] if int(letter) < len(parts) else ""
        return None

    def get(self, letter: str) -> str | None:
        """Return the value of ``%letter``, or None if there is no such variable."""
        value = self._known.get(letter)
        if value is None:
            value = self._lazy(letter)
            if value is not None:
                self._known[letter] = value
            elif letter.lower() in OF_THE_FILE and letter.isupper():
                value = self._own.get(letter.lower())
            else:
                value = self._host.get(letter)
        return value

    def expand(self, text: str, lost: Callable[[str], None]) -> str:
        """Return `text` with every variable replaced; each that does not exist becomes nothing and is told to `lost`.

        Raises:
            ValueError: the result would be longer than `VALUE_CHARS`.
        """
        if "%" not in text:
            return text
        grown = len(text)

        def replace(match: re.Match[str]) -> str:
            nonlocal grown
            value = self.get(match[1])
            if value is None:
                lost(match[0])
                return ""
            grown += len(value)
            if grown > VALUE_CHARS:
                raise ValueError(f"with its variables the text is longer than {VALUE_CHARS} characters")
            return value

        return _VARIABLE.sub(replace, text)
