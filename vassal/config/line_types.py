"""The types of whole lines: cron, daemons, hooks. What runs them reads the same text again, into records of its own.

The one thing that can go wrong here is to allow what will not run: a line that passes here is one that can be run.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from vassal.config.types import Type
from vassal.cron import parse

if TYPE_CHECKING:
    from collections.abc import Callable

_CRON_RANGES = (("minute", -59, 59), ("hour", -23, 23), ("day", -31, 31), ("month", -12, 12), ("week", -7, 7))
_CRON = re.compile(r"(-?[0-9]+)\s+(-?[0-9]+)\s+(-?[0-9]+)\s+(-?[0-9]+)\s+(-?[0-9]+)\s+\S")
_CRONTAB = re.compile(r"(?:@[a-z]+|(?:[0-9A-Za-z*/,-]+\s+){4}[0-9A-Za-z*/,-]+)\s+\S")


def cron_range(name: str, value: int) -> str | None:
    """Return a warning for a cron number beyond its field's range, or None."""
    for field_name, low, high in _CRON_RANGES:
        if field_name == name and not low <= value <= high:
            if value < low and name == "minute":
                return f"minute={value} is beyond -59: no minute but 0 divides by {-value}, so it runs hourly"
            return f"{name}={value} is beyond {low} to {high}"
    return None


def _cron(text: str, warn: Callable[[str], None]) -> str:
    match = _CRON.match(text)
    if match is not None:
        for (name, _, _), value in zip(_CRON_RANGES, match.groups(), strict=False):
            warning = cron_range(name, int(value[:18]))
            if warning:
                warn(warning)
        return text
    if _CRONTAB.match(text):
        parse(text)
        return text
    raise ValueError(
        "expected five numbers (minute hour day month weekday, -1 for any), or five crontab fields or @daily and the "
        "like, then a command"
    )


CRONS = Type("list of cron lines", _cron, many=True)


_ITEM = re.compile(r"(?:[^,\\]|\\.)+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def keyed(text: str, known: frozenset[str]) -> dict[str, str]:
    """Read ``key=value,key=value``; a backslash keeps a comma (uWSGI's key-value lists do so).

    Raises:
        ValueError: another key, or no such list.
    """
    found: dict[str, str] = {}
    for item in _ITEM.findall(text):
        key, equals, value = item.partition("=")
        if not equals or key.strip() not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"expected KEY=VALUE,KEY=VALUE with the keys {allowed}; a comma in a value is written \\,")
        found[key.strip()] = _ESCAPE.sub(r"\1", value.strip())
    return found


CRON2_KEYS = frozenset(("minute", "hour", "day", "month", "week", "unique", "harakiri"))


def _cron2(text: str, warn: Callable[[str], None]) -> str:
    keys, _, command = text.partition(" ")
    if "=" not in keys:
        command = text
        keys = ""
    for key, value in keyed(keys, CRON2_KEYS).items():
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise ValueError(f"{key}={value}: expected a number")
        warning = cron_range(key, int(value))
        if warning:
            warn(warning)
    if not command.strip():
        raise ValueError(
            "expected minute=…,hour=…,day=…,month=…,week=…,unique=…,harakiri=… and a command after a blank"
        )
    return text


CRON2S = Type("list of cron2 lines", _cron2, many=True)

_KEYS = (
    "cmd command exec freq pidfile control daemonize daemon touch stopsignal stop_signal reloadsignal reload_signal "
    "stdin uid gid chdir max_throttle notifypid"
)
DAEMON_KEYS = frozenset(_KEYS.split())
_SIGNAL_KEYS = ("stopsignal", "stop_signal", "reloadsignal", "reload_signal")
_NUMBER = re.compile(r"[0-9]{1,9}")


def _daemon2(text: str, _: Callable[[str], None]) -> str:
    if re.search(r"(?:^|,)\s*ns_pid\s*=", text):
        raise ValueError("ns_pid is not offered: run the daemon under its own service or container")
    if re.search(r"(?:^|,)\s*legion\s*=", text):
        raise ValueError("legion is not offered: a daemon runs wherever its vassal does")
    keys = keyed(text, DAEMON_KEYS)
    if not any(keys.get(name) for name in ("cmd", "command", "exec")):
        raise ValueError("cmd=… is missing")
    for name in ("freq", "max_throttle"):
        if name in keys and not _NUMBER.fullmatch(keys[name]):
            raise ValueError(f"{name}={keys[name]}: expected a number")
    for name in _SIGNAL_KEYS:
        if name in keys:
            _check_signal(name, keys[name])
    if (keys.get("daemonize") or keys.get("daemon")) and not keys.get("pidfile"):
        raise ValueError("daemonize needs pidfile=…, which the next generation finds it by")
    return text


def _check_signal(name: str, value: str) -> None:
    known = value.isdigit() and int(value[:9]) in signal.valid_signals()
    if not known and f"SIG{value.upper().removeprefix('SIG')}" not in signal.Signals.__members__:
        raise ValueError(f"{name}={value}: expected the number or the name of a signal")


DAEMON2S = Type("list of daemon lines", _daemon2, many=True)


def _smart(text: str, _: Callable[[str], None]) -> tuple[str, str]:
    pidfile, blank, command = text.partition(" ")
    if not blank or not command.strip():
        raise ValueError("expected PIDFILE COMMAND")
    path, comma, freq = pidfile.partition(",")
    if not path or (comma and not _NUMBER.fullmatch(freq)):
        raise ValueError("expected PIDFILE COMMAND or PIDFILE,FREQ COMMAND")
    return pidfile, command.strip()


SMARTS = Type("list of PIDFILE COMMAND", _smart, many=True)


_HOOK = re.compile(r"\s*(!?)\s*([a-z0-9_]+)\s*:(.*)", re.DOTALL)
_PATH_AND = re.compile(r"\S+ .+", re.DOTALL)
_HOOK_FORMS: dict[str, tuple[str, re.Pattern[str]]] = {
    "exec": ("COMMAND", re.compile(r".*\S.*", re.DOTALL)),
    "safeexec": ("COMMAND", re.compile(r".*\S.*", re.DOTALL)),
    "print": ("TEXT", re.compile(r".*", re.DOTALL)),
    "log": ("TEXT", re.compile(r".*", re.DOTALL)),
    "write": ("FILE TEXT", _PATH_AND),
    "writen": ("FILE TEXT", _PATH_AND),
    "append": ("FILE TEXT", _PATH_AND),
    "appendn": ("FILE TEXT", _PATH_AND),
    "create": ("FILE", re.compile(r".+")),
    "creat": ("FILE", re.compile(r".+")),
    "mkdir": ("DIRECTORY", re.compile(r".+")),
    "unlink": ("FILE", re.compile(r".+")),
    "chmod": ("FILE MODE", re.compile(r".+ [0-7]{3,4}")),
    "chown": ("FILE USER GROUP", re.compile(r".+ [^ :]+ [^ :]+")),
    "unix_signal": (
        "15 gracefully_kill_them_all",
        re.compile(r"(?:15|2) gracefully_kill_them_all|1 grace_them_all|3 kill_them_all"),
    ),
}
"""What a hook may do, and the form of its argument (uWSGI's Hooks page and its handlers of the same names)."""
_HOOK_INSTEAD = {
    "cd": "chdir = DIRECTORY",
    "chdir": "chdir = DIRECTORY",
    "putenv": "env = NAME=VALUE",
    "wait_for_fs": "exec: with a command that waits",
    "wait_for_file": "exec: with a command that waits",
    "wait_for_dir": "exec: with a command that waits",
    "wait_for_socket": "exec: with a command that waits",
    "mount": "exec:mount … in hook-as-root",
    "umount": "exec:umount … in hook-as-root",
}


def hook(text: str) -> tuple[str, str, bool]:
    """Return the action of a hook, its argument, and whether its text is to stay out of the log (``!exec:…``).

    Raises:
        ValueError: no such action, or not with this argument.
    """
    match = _HOOK.fullmatch(text)
    if match is None:
        raise ValueError("expected ACTION:ARGUMENT, for instance exec:COMMAND")
    private, action, argument = match.groups()
    argument = argument.strip()
    form, pattern = _HOOK_FORMS.get(action, ("", None))
    if pattern is None:
        instead = _HOOK_INSTEAD.get(action)
        offered = ", ".join(name for name in _HOOK_FORMS if name not in ("creat", "log"))
        raise ValueError(f"{action}: is not offered in a hook: " + (f"use {instead}" if instead else f"use {offered}"))
    if not pattern.fullmatch(argument):
        raise ValueError(f"expected {action}:{form}")
    return action, argument, bool(private)


def _hook(text: str, _: Callable[[str], None]) -> str:
    hook(text)
    return text


HOOKS = Type("list of hooks", _hook, many=True)


def _touch_exec(text: str, _: Callable[[str], None]) -> tuple[str, str]:
    path, blank, command = text.partition(" ")
    if not blank or not command.strip():
        raise ValueError("expected FILE COMMAND")
    return path, command.strip()


TOUCH_EXECS = Type("list of FILE COMMAND", _touch_exec, many=True)
