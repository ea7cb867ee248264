"""The emperor's own option table: rows in the form of the vassals' one, which judges every other name.

Rows only: nothing here can go wrong but text.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from emperor.places import parse_place
from vassal.config.line_types import HOOKS
from vassal.config.option import ACCEPTED, REFUSED, Option, option
from vassal.config.options import words
from vassal.config.table import VASSAL, Table
from vassal.config.types import (
    ACCOUNT,
    ADDRESS,
    FLAG,
    MODE,
    PAIRS,
    PATH,
    PATHS,
    TEXT,
    TEXTS,
    Type,
    choice,
    number,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _interval(text: str, _: Callable[[str], None]) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", text) or float(text) < 0.1:
        raise ValueError("expected a number of seconds from 0.1 on")
    return float(text)


def _program(text: str, _: Callable[[str], None]) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"expected a program and its arguments: {error}") from None
    if not words:
        raise ValueError("expected a program and its arguments")
    return text


def _place(text: str, _: Callable[[str], None]) -> str:
    parse_place(text)  # whose error is a ValueError
    return text


PLACES = Type("list of texts", _place, many=True)
PROGRAM = Type("program", _program)
INTERVAL = Type("number", _interval, clean=True, unit="seconds")
MILLISECONDS = number(0, 10**9, "milliseconds")


def _none(verdict: str, names: str, reason: str, instead: str = "") -> tuple[Option, ...]:
    return tuple(Option(name, None, "", verdict, reason=reason, instead=instead) for name in names.split())


OPTIONS: tuple[Option, ...] = (
    option("emperor", PLACES, "where vassals are looked for: a directory, a pattern or one file", field="places"),
    option("emperor-freq", INTERVAL, "how often to scan, beside what file events say", field="freq"),
    option("vassals-uid", ACCOUNT, "user of vassals that name none", own=True),
    option("vassals-gid", ACCOUNT, "group of vassals that name none", own=True),
    option("uid", ACCOUNT, "the same as vassals-uid: the emperor keeps its own identity"),
    option("gid", ACCOUNT, "the same as vassals-gid"),
    option("emperor-tyrant", FLAG, "each vassal runs as the owner of its file", field="tyrant"),
    option("emperor-nofollow", FLAG, "a symbolic link's own time counts, not its target's", field="nofollow"),
    option(
        "emperor-extra-extension",
        TEXTS,
        "one more extension of vassal files",
        "emperor-extra-ext",
        field="extra_extensions",
    ),
    option(
        "emperor-log-dir", PATH, "a file NAME.log in this directory for each vassal's output", field="log_dir", own=True
    ),
    option("control", PATH, "socket for emperor status, reload, stop, start and logs", "emperor-control", own=True),
    option("emperor-throttle", MILLISECONDS, "first wait after a vassal died before it was loyal", field="throttle_ms"),
    option("emperor-max-throttle", MILLISECONDS, "longest such wait", field="max_throttle_ms"),
    option(
        "emperor-required-heartbeat",
        seconds(),
        "replace a vassal whose heartbeats stopped for so long; 0: never",
        field="required_heartbeat",
    ),
    option(
        "emperor-curse-tolerance",
        seconds(),
        "how long a vassal that was told to end may take; 0: its own reload-mercy",
        field="curse_tolerance",
    ),
    option(
        "fork-server", FLAG, "fork vassals from one pre-loaded process; false: a fresh interpreter for each", own=True
    ),
    option("reload-strategy", choice("overlap", "drain", "chain"), "for vassals that name none", own=True),
    option("loyalty", seconds(), "for vassals that name none", "emperor-loyalty", own=True),
    option("start-timeout", seconds(1), "for vassals that name none", "emperor-start-timeout", own=True),
    option("vassals-inherit-before", PATHS, "file that every vassal inherits from, before its own"),
    option("vassals-include-before", PATHS, "file that every vassal includes, before its own"),
    option("vassals-inherit", PATHS, "file that every vassal inherits from, after its own"),
    option("vassals-include", PATHS, "file that every vassal includes, after its own"),
    option("vassal-set", PAIRS, "an option for every vassal, NAME=VALUE", "vassals-set"),
    option(
        "emperor-on-demand-extension",
        TEXT,
        "extension of files that name a vassal's socket: it starts parked",
        "emperor-on-demand-ext",
        field="on_demand_extension",
    ),
    option(
        "emperor-on-demand-directory",
        PATH,
        "directory of such sockets, NAME.socket",
        "emperor-on-demand-dir",
        field="on_demand_directory",
    ),
    option(
        "emperor-on-demand-exec",
        TEXT,
        "command that gets a file's path and prints such a socket",
        field="on_demand_exec",
    ),
    option(
        "emperor-stats",
        ADDRESS,
        "answer with the fleet's statistics as JSON on this address",
        "emperor-stats-server",
        field="stats",
    ),
    option("stats-http", FLAG, "put an HTTP head in front of them, after a request"),
    option("stats-minified", FLAG, "without blanks", "stats-min"),
    option("chmod-socket", MODE, "mode of the socket of emperor-stats, octal", "chmod"),
    option("logto", PATH, "file for the emperor's own output; it stays in the foreground", "logto2", "daemonize"),
    option("pidfile", PATH, "file that gets the emperor's pid", "emperor-pidfile", "safe-pidfile"),
    option("procname", TEXT, "title of the emperor", "emperor-procname", "procname-master"),
    option("vassals-start-hook", PROGRAM, "program to run before a vassal's start; its last argument is the file"),
    option("vassals-stop-hook", PROGRAM, "program to run after a vassal's end; its last argument is the file"),
    option("hook-as-emperor", HOOKS, "run with the emperor's rights when a generation has its process"),
    option("exec-as-emperor", TEXTS, "hook-as-emperor = exec:COMMAND, after those"),
    option("hook-as-emperor-before-vassal", HOOKS, "run with the emperor's rights before each generation"),
    option("hook-as-vassal-before-drop", HOOKS, "run with the emperor's rights before each generation, after those"),
    option("hook-as-vassal", HOOKS, "run before each generation, with the rights that its file is read with"),
    option("exec-as-vassal", TEXTS, "hook-as-vassal = exec:COMMAND, after those"),
    *_none(ACCEPTED, "master", "the emperor is its own master"),
    replace(
        *_none(
            ACCEPTED,
            "cap",
            "the emperor keeps the rights that it was started with (in a vassal's file it is refused)",
            "CapabilityBoundingSet= in the unit of its service bounds them",
        ),
        misplaced=True,
    ),
    *_none(ACCEPTED, "emperor-graceful-shutdown", "vassals are always stopped gracefully"),
    *_none(ACCEPTED, "emperor-subreaper early-emperor", "always so"),
    *_none(ACCEPTED, "emperor-tyrant-initgroups", "a vassal has always its owner's groups"),
    *_none(ACCEPTED, "emperor-tyrant-nofollow", "the owner is asked of the file that was opened"),
    *_none(
        ACCEPTED,
        "emperor-use-fork-server vassal-fork-base emperor-fork-server-attr",
        "the fork server is built in",
        "fork-server = false turns it off",
    ),
    *_none(
        ACCEPTED,
        "emperor-no-blacklist",
        "a vassal that dies at once always waits a little",
        "emperor-throttle and emperor-max-throttle bound how long",
    ),
    *_none(
        REFUSED,
        "emperor-magic-exec emperor-wrapper emperor-wrapper-override emperor-wrapper-fallback "
        "emperor-wrapper-attr emperor-chdir-attr emperor-collect-attr emperor-collect-attribute",
        "a vassal is run by this program alone",
        "use python and fork-server in its file",
    ),
    *_none(
        REFUSED,
        "emperor-use-clone emperor-cap vassals-cap vassal-cap",
        "isolation is not done here, and must not be believed to be",
        "use containers or systemd's sandboxing",
    ),
    *_none(
        REFUSED,
        "emperor-command-socket emperor-wait-for-command emperor-wait-for-command-ignore "
        "emperor-trigger-socket emperor-proxy-socket",
        "commands come by the control socket",
        "use emperor stop, start and reload",
    ),
    *_none(
        REFUSED,
        "emperor-broodlord vassal-sos vassal-sos-backlog zeus",
        "vassals are not multiplied",
        "use processes and cheaper in a vassal's file",
    ),
    *_none(
        REFUSED,
        "hook-emperor-start hook-as-emperor-setns "
        "hook-as-on-config-vassal hook-as-on-demand-vassal call-as-emperor call-as-emperor1 call-as-emperor2 "
        "call-as-emperor4 mount-as-emperor umount-as-emperor call-as-vassal call-as-vassal1 call-as-vassal3 "
        "mount-as-vassal umount-as-vassal",
        "this hook is not offered",
        "use hook-as-emperor, hook-as-vassal, vassals-start-hook or vassals-stop-hook",
    ),
    *_none(
        REFUSED,
        "imperial-monitor-list imperial-monitors-list",
        "an action of uwsgi's command line",
        "see emperor --help",
    ),
)

_OF_VASSALS_ONLY = ("fallback-config", "show-config", "print")
EMPEROR = Table((*(row for row in words.OPTIONS if row.name not in _OF_VASSALS_ONLY), *OPTIONS), vassals=VASSAL)
"""The table of an emperor's file."""
