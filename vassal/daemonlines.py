"""What the lines of a vassal's file say of its daemons.

`vassal.config` has checked the lines; the one thing that can go wrong here is to read them differently.
"""

from __future__ import annotations

import re
import signal
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal.config.line_types import DAEMON_KEYS, keyed

if TYPE_CHECKING:
    from vassal.config import Settings

LONGEST_WAIT = 60.0
"""Seconds before an attempt, at most; uWSGI's are 300."""
_BEFORE = re.compile(r"exec|nice|env|-.*|[0-9]+|[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
"""Words before the program's name."""
_SIMPLE = re.compile(r"[A-Za-z0-9_./+-]+(?:[ \t][^;&|<>()`\n]*)?", re.ASCII)
_WORDS = (
    "break builtin case cd command continue do done elif else esac eval exec exit export fi for function getopts hash "
    "if in jobs local read readonly return set shift source then time times trap type ulimit umask unalias unset "
    "until wait while . :"
)
_SHELLS_OWN = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Spec:
    """One line. Paths are as written; `uid` and `gid` names or numbers, '' for the vassal's own."""

    command: str
    pidfile: str = ""
    daemonize: bool = False
    """The vassal itself keeps it apart and writes its pidfile (``smart-attach-daemon2``)."""
    control: bool = False
    freq: int = 0
    """Attempts in a row after which it is given up, 0: never."""
    touch: tuple[str, ...] = ()
    stop_signal: int = signal.SIGTERM
    reload_signal: int = 0
    stdin: bool = False
    uid: str = ""
    gid: str = ""
    chdir: str = ""
    longest_wait: float = LONGEST_WAIT
    notify: bool = False

    @property
    def smart(self) -> bool:
        """Whether it outlives its generation."""
        return bool(self.pidfile)

    @property
    def key(self) -> str:
        """Return what tells, in the next generation, whether a running daemon is this one, unchanged."""
        parts = (self.command, self.pidfile, str(self.daemonize), self.uid, self.gid, self.chdir)
        return f"{zlib.crc32(chr(0).join(parts).encode(errors='surrogateescape')):08x}"

    @property
    def label(self) -> str:
        """Return a word that names it in the log."""
        words = (word for word in self.command.split() if not _BEFORE.fullmatch(word))
        return next(words, "sh").rsplit("/", 1)[-1][:40]


def parsed(settings: Settings) -> list[Spec]:
    """Return the daemons of a vassal's file.

    Raises:
        ValueError: a line is none (`vassal.config` has checked them).
    """
    found = [Spec(line) for line in settings.attach_daemon]
    found += [Spec(line, control=True) for line in settings.attach_control_daemon]
    found += [_keyed(line) for line in settings.attach_daemon2]
    for lines, daemonize in ((settings.smart_attach_daemon, False), (settings.smart_attach_daemon2, True)):
        for where, command in lines:
            pidfile, _, freq = where.partition(",")
            found.append(Spec(command, pidfile, daemonize, freq=int(freq or 0)))
    return found


def _keyed(line: str) -> Spec:
    """Read one ``attach-daemon2`` (uWSGI's AttachingDaemons page; flags count as set by any value)."""
    keys = keyed(line, DAEMON_KEYS)

    def first(*names: str) -> str:
        return next((keys[name] for name in names if keys.get(name)), "")

    return Spec(
        command=first("cmd", "command", "exec"),
        pidfile=first("pidfile"),
        daemonize=bool(first("daemonize", "daemon")) and bool(first("pidfile")),
        control=bool(first("control")),
        freq=int(first("freq") or 0),
        touch=tuple(path for path in first("touch").split(";") if path),
        stop_signal=signal_number(first("stopsignal", "stop_signal") or "15"),
        reload_signal=signal_number(first("reloadsignal", "reload_signal") or "0"),
        stdin=bool(first("stdin")),
        uid=first("uid"),
        gid=first("gid"),
        chdir=first("chdir"),
        longest_wait=float(first("max_throttle") or LONGEST_WAIT),
        notify=bool(first("notifypid")),
    )


def signal_number(text: str) -> int:
    """Return the number of a signal that is written as a number or a name (``QUIT``, ``SIGQUIT``); 0 for none.

    Raises:
        ValueError: there is no such signal.
    """
    name = text.upper()
    if name.isdigit():
        number = int(name)
        if number and number not in signal.valid_signals():
            raise ValueError(f"{text}: there is no such signal")
        return number
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except KeyError:
        raise ValueError(f"{text}: expected the number or the name of a signal") from None


def shell_line(command: str) -> str:
    """Return `command`, so that a shell becomes it where it is one program: no shell then stands between.

    A daemon's own pid is then that of its first process, and its status and signals are its own.
    """
    word = command.split(None, 1)[0] if command.split() else ""
    if _SIMPLE.fullmatch(command) and "=" not in word and word not in _SHELLS_OWN:
        return f"exec {command}"
    return command
