"""The types of whole lines: cron, daemons, hooks. What runs them reads the same text again, into records of its own.

The one thing that can go wrong here is to allow what will not run: a line that passes here is one that can be run.
"""

from __future__ import annotations

import re
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

_DAEMON_KEYS = frozenset(
    [
        "cmd",
        "command",
        "exec",
        "freq",
        "pidfile",
        "control",
        "daemonize",
        "daemon",
        "touch",
        "stopsignal",
        "stop_signal",
        "reloadsignal",
        "reload_signal",
        "stdin",
        "uid",
        "gid",
        "chdir",
    ]
)


def _daemon2(text: str, _: Callable[[str], None]) -> str:
    if re.search(r"(?:^|,)\s*ns_pid\s*=", text):
        raise ValueError("ns_pid is not offered: run the daemon under its own service or container")
    keys = keyed(text, _DAEMON_KEYS)
    if not any(keys.get(name) for name in ("cmd", "command", "exec")):
        raise ValueError("cmd=… is missing")
    return text


DAEMON2S = Type("list of daemon lines", _daemon2, many=True)


def _smart(text: str, _: Callable[[str], None]) -> tuple[str, str]:
    pidfile, blank, command = text.partition(" ")
    if not blank or not command.strip():
        raise ValueError("expected PIDFILE COMMAND")
    return pidfile, command.strip()


SMARTS = Type("list of PIDFILE COMMAND", _smart, many=True)


def hooks(text: str, _: Callable[[str], None]) -> str:
    """Take the forms of a hook that are run here.

    Raises:
        ValueError: another action.
    """
    action, colon, _rest = text.partition(":")
    if colon and action.strip() in ("exec", "unix_signal"):
        return text
    raise ValueError("only the form exec:COMMAND is run (and unix_signal:15 gracefully_kill_them_all is accepted)")


HOOKS = Type("list of hooks", hooks, many=True)
