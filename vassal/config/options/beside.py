"""Options for what runs beside the app: daemons, cron, static files, hooks.

Rows only: nothing here can go wrong but text.
"""

from __future__ import annotations

from vassal.config.line_types import CRON2S, CRONS, DAEMON2S, HOOKS, SMARTS, TOUCH_EXECS
from vassal.config.option import Option, option
from vassal.config.types import EXPIRIES, FLAG, MAPS, PATHS, REGEXES, TEXTS, TYPE_EXPIRIES, WHOLE_MAPS, choice, seconds

OPTIONS: tuple[Option, ...] = (
    option("attach-daemon", TEXTS, "keep this shell command running beside the app"),
    option("attach-control-daemon", TEXTS, "the same, and the vassal starts anew when it ends"),
    option("attach-daemon2", DAEMON2S, "keep a command running: cmd=…,freq=…,pidfile=… and so on"),
    option("smart-attach-daemon", SMARTS, "PIDFILE COMMAND: keep a daemon, which writes PIDFILE, through reloads"),
    option("smart-attach-daemon2", SMARTS, "the same, for a daemon that writes no PIDFILE: the vassal does"),
    option("cron", CRONS, "run a command at times: minute hour day month weekday COMMAND"),
    option("unique-cron", CRONS, "the same, never twice at once"),
    option("cron2", CRON2S, "the same with names: minute=…,hour=…,unique=1 COMMAND"),
    option("cron-harakiri", seconds(), "end a cron command that runs longer"),
    option("static-map", MAPS, "serve files: URL=DIRECTORY or URL=FILE"),
    option("static-map2", WHOLE_MAPS, "the same, with the URL's path kept below the directory", field="static_map"),
    option("check-static", PATHS, "serve what exists in this directory", "static-check"),
    option(
        "check-static-docroot", FLAG, "serve what exists in the DOCUMENT_ROOT that a web server on a UNIX socket names"
    ),
    option("static-index", TEXTS, "file that answers for a directory"),
    option("static-safe", PATHS, "a directory that links may lead to"),
    option("static-skip-ext", TEXTS, "never serve files that end so"),
    option("static-expires", EXPIRIES, "caching time of files whose name a regular expression finds"),
    option("static-expires-mtime", EXPIRIES, "the same, counted from the file's change"),
    option("static-expires-uri", EXPIRIES, "caching time by the request's URI"),
    option("static-expires-uri-mtime", EXPIRIES, "the same, counted from the file's change"),
    option("static-expires-path-info", EXPIRIES, "caching time by the request's path"),
    option("static-expires-path-info-mtime", EXPIRIES, "the same, counted from the file's change"),
    option("static-expires-type", TYPE_EXPIRIES, "caching time by content type"),
    option("static-expires-type-mtime", TYPE_EXPIRIES, "the same, counted from the file's change"),
    option("static-gzip", REGEXES, "send FILE.gz for names that this regular expression finds"),
    option("static-gzip-all", FLAG, "send FILE.gz where there is one"),
    option("static-gzip-dir", PATHS, "send FILE.gz below this directory", "static-gzip-prefix"),
    option("static-gzip-ext", TEXTS, "send FILE.gz for names that end so", "static-gzip-suffix"),
    option("static-cache-paths", seconds(), "remember for so long where a file was found"),
    option("mime-file", PATHS, "a file of content types", "mimefile"),
    option(
        "file-serve-mode",
        choice("x-sendfile", "xsendfile", "x-accel-redirect", "x-accel", "nginx", "offloading"),
        "who sends the file: the web server by a header, or we",
        "fileserve-mode",
    ),
    option("hook-asap", HOOKS, "run as soon as the file is read, with the rights that it was read with"),
    option(
        "hook-as-root",
        HOOKS,
        "run before the identity is taken; only for a file of root's own, not under emperor-tyrant",
    ),
    option("hook-as-user", HOOKS, "run with the vassal's identity, before its directory and interpreter"),
    option("hook-pre-app", HOOKS, "run before the app is loaded"),
    option("hook-post-app", HOOKS, "run after the app was loaded"),
    option("hook-master-start", HOOKS, "run before the workers are started"),
    option("hook-accepting1-once", HOOKS, "run before the first worker accepts"),
    option("hook-as-user-atexit", HOOKS, "run when the workers have ended; a failure is only logged"),
    option("hook-emperor-stop", HOOKS, "run when the emperor ends the vassal; a failure is only logged"),
    option("hook-emperor-reload", HOOKS, "run when the emperor retires a generation that has a successor"),
    option("hook-emperor-lost", HOOKS, "run when the emperor has died"),
    option("exec-asap", TEXTS, "hook-asap = exec:COMMAND, after those"),
    option("exec-as-root", TEXTS, "hook-as-root = exec:COMMAND, after those"),
    option("exec-as-user", TEXTS, "hook-as-user = exec:COMMAND, after those"),
    option("exec-pre-app", TEXTS, "hook-pre-app = exec:COMMAND, after those"),
    option("exec-post-app", TEXTS, "hook-post-app = exec:COMMAND, after those"),
    option("exec-as-user-atexit", TEXTS, "hook-as-user-atexit = exec:COMMAND, after those"),
    option("touch-exec", TOUCH_EXECS, "FILE COMMAND: run the command when the file is touched"),
)
