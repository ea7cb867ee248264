"""Options for the app: where it lies, how it is loaded, who it runs as.

Rows only: nothing here can go wrong but text.
"""

from __future__ import annotations

from vassal.config.option import Option, option
from vassal.config.types import (
    ACCOUNT,
    ACCOUNTS,
    BYTES,
    FLAG,
    MASK,
    MEBIBYTES,
    PAIRS,
    PATH,
    PATHS,
    TEXT,
    TEXTS,
    choice,
    number,
    seconds,
)

OPTIONS: tuple[Option, ...] = (
    # --- the app
    option("module", TEXT, "the app as MODULE or MODULE:CALLABLE", "wsgi"),
    option("wsgi-file", PATH, "the app as a Python file", "file"),
    option("callable", TEXT, "name of the callable in the module or file; default application"),
    option("mount", PAIRS, "one more app under a path: PATH=FILE, PATH=MODULE or PATH=MODULE:CALLABLE"),
    option("manage-script-name", FLAG, "split SCRIPT_NAME and PATH_INFO at the mount's path"),
    option("chdir", PATH, "working directory, taken before the app is loaded"),
    option("chdir2", PATH, "working directory, taken after the app is loaded"),
    option("pythonpath", PATHS, "a directory for sys.path; also a pattern", "python-path", "pp"),
    option("virtualenv", PATH, "the app's virtual environment", "home", "venv", "pyhome"),
    option("python", PATH, "the interpreter that runs the app, if it is not that of the virtual environment", own=True),
    option("env", PAIRS, "an environment variable for the app, NAME=VALUE", "ienv"),
    option("unenv", TEXTS, "an environment variable that the app must not see"),
    option("lazy-apps", FLAG, "load the app in each worker instead of once before they fork", "lazy"),
    option("need-app", FLAG, "fail the start if no app can be loaded"),
    option("wsgi-disable-file-wrapper", FLAG, "offer no wsgi.file_wrapper"),
    option(
        "import",
        TEXTS,
        "import a module in every worker",
        "pyimport",
        "py-import",
        "python-import",
        field="import_",
    ),
    option("pyargv", TEXT, "sys.argv of the app, after its first item, uwsgi"),
    option("optimize", number(0, 2), "Python's optimisation level; with one the vassal gets an interpreter of its own"),
    option(
        "py-auto-reload",
        seconds(),
        "development: reload when a module's file changes, asked every N seconds",
        "py-autoreload",
        "python-auto-reload",
        "python-autoreload",
    ),
    option("py-auto-reload-ignore", TEXTS, "a module that py-auto-reload leaves aside"),
    option("catch-exceptions", FLAG, "development: show the traceback of an error in the response"),
    # --- processes
    option("master", FLAG, "always on: a vassal has a master"),
    option("processes", number(1, 4096), "worker processes", "workers"),
    option("threads", number(1, 1024), "threads in each worker that may run the app"),
    option("cheap", FLAG, "start without workers; the first connection starts them"),
    option("idle", seconds(), "retire the workers after that long without a request; 0: never"),
    option(
        "die-on-idle",
        FLAG,
        "with idle: end the whole vassal and let the emperor wait on its sockets",
    ),
    option(
        "cheaper",
        number(),
        "keep at least that many workers and start the others when they are needed",
    ),
    option("cheaper-initial", number(), "with cheaper: workers at start"),
    option("cheaper-step", number(1), "with cheaper: workers started at a time"),
    option("cheaper-overload", seconds(1), "with cheaper: how often the need is judged"),
    option("fork-server", FLAG, "fork from the emperor's fork server; false: a fresh interpreter", own=True),
    option("uid", ACCOUNT, "user that the vassal runs as (root emperor only)"),
    option("gid", ACCOUNT, "group that the vassal runs as (root emperor only)"),
    option("add-gid", ACCOUNTS, "a supplementary group"),
    option("no-initgroups", FLAG, "take none of the user's supplementary groups"),
    option("umask", MASK, "file mode creation mask, octal"),
    option("limit-as", MEBIBYTES, "address space of each process"),
    option("max-fd", number(1), "open files of each process"),
    option("pidfile", PATH, "file that gets the master's pid, written when the vassal is ready", "pidfile2"),
    option("safe-pidfile", PATH, "the same", "safe-pidfile2"),
    option("vacuum", FLAG, "remove sockets and pidfile when the vassal ends for good"),
    option("procname", TEXT, "title of all processes"),
    option("procname-prefix", TEXT, "put in front of the titles"),
    option("procname-prefix-spaced", TEXT, "put in front of the titles, with a blank"),
    option("procname-append", TEXT, "put behind the titles"),
    option("procname-master", TEXT, "title of the master"),
    option("auto-procname", FLAG, "always on: titles say what a process is"),
    option("die-on-term", FLAG, "always on: TERM ends a vassal gracefully"),
    # --- reload and recycling
    option(
        "reload-strategy",
        choice("overlap", "drain", "chain"),
        "overlap: new up, then old down; drain: old down, then new up; chain: worker by worker",
        own=True,
    ),
    option("reload-mercy", seconds(), "how long an old generation may finish its requests"),
    option("worker-reload-mercy", seconds(), "how long a worker that is replaced may finish its requests"),
    option(
        "start-timeout", seconds(1), "how long a new generation may take to be ready while an old one serves", own=True
    ),
    option(
        "ready-check",
        TEXT,
        "path that a new generation must answer with 2xx or 3xx before it takes over",
        own=True,
    ),
    option("ready-check-timeout", seconds(1), "how long that answer may take", own=True),
    option(
        "loyalty", seconds(), "a vassal that was ready for so long is loyal: its death is no failed start", own=True
    ),
    option("heartbeat", seconds(), "tell the emperor every so often that the vassal is alive"),
    option("touch-reload", PATHS, "reload when this file is touched"),
    option("touch-workers-reload", PATHS, "replace the workers when this file is touched"),
    option("touch-chain-reload", PATHS, "the same, worker by worker"),
    option("harakiri", seconds(), "end a request that takes longer; 0: never"),
    option("max-requests", number(), "replace a worker after so many requests; 0: never"),
    option("max-requests-delta", number(), "add that times the worker's number to max-requests"),
    option("min-worker-lifetime", seconds(), "replace no worker for max-requests before it is so old"),
    option("max-worker-lifetime", seconds(), "replace a worker that is so old; 0: never"),
    option("reload-on-rss", MEBIBYTES, "replace a worker that has more memory resident, after its request"),
    option(
        "evil-reload-on-rss",
        MEBIBYTES,
        "kill a worker that has more memory resident, at once, without waiting for its request",
    ),
    option("buffer-size", BYTES, "longest request head"),
)
