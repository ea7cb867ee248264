"""Options for logs and statistics. Rows only: nothing here can go wrong but text."""

from __future__ import annotations

from vassal.config.option import PLANNED, Option, option
from vassal.config.types import (
    ADDRESS,
    BYTES,
    FLAG,
    MODE,
    PATH,
    PATHS,
    TEXT,
    TEXT_OR_BARE,
    TEXTS,
    number,
)

OPTIONS: tuple[Option, ...] = (
    option("logto", PATH, "file for the vassal's output, opened with its own identity"),
    option("logto2", PATH, "the same"),
    option("daemonize", PATH, "the same as logto: nothing is put into the background under an emperor", "daemonize2"),
    option("disable-logging", FLAG, "no request log", verdict=PLANNED),
    option("log-format", TEXT, "line of the request log with %(…) variables, or json", "logformat", verdict=PLANNED),
    option(
        "logformat-strftime",
        FLAG,
        "fill in strftime letters in the request log's times",
        "log-format-strftime",
        verdict=PLANNED,
    ),
    option(
        "log-date",
        TEXT_OR_BARE,
        "put the date in front of each line; a value is its strftime form",
        "logdate",
        verdict=PLANNED,
    ),
    option("log-prefix", TEXT, "put this in front of each line", verdict=PLANNED),
    option("log-4xx", FLAG, "log 4xx responses even with disable-logging", verdict=PLANNED),
    option("log-5xx", FLAG, "log 5xx responses even with disable-logging", verdict=PLANNED),
    option(
        "log-slow",
        number(0, None, "milliseconds"),
        "log requests that took longer, even with disable-logging",
        verdict=PLANNED,
    ),
    option("log-big", BYTES, "log responses that are larger, even with disable-logging", verdict=PLANNED),
    option("log-zero", FLAG, "log responses without a body, even with disable-logging", verdict=PLANNED),
    option(
        "log-ioerror",
        FLAG,
        "log requests that ended in a broken connection, even with disable-logging",
        verdict=PLANNED,
    ),
    option("log-encoder", TEXTS, "form of log lines: json, format …", "worker-log-encoder", verdict=PLANNED),
    option("log-req-encoder", TEXTS, "form of request log lines", "worker-log-req-encoder", verdict=PLANNED),
    option("logger", TEXTS, "where the log goes: file:…, stdio, syslog:…, systemd", "worker-logger", verdict=PLANNED),
    option("req-logger", TEXTS, "where the request log goes", "logger-req", "worker-logger-req", verdict=PLANNED),
    option("log-syslog", TEXT_OR_BARE, "log to syslog", verdict=PLANNED),
    option("log-maxsize", BYTES, "begin a new log file at this size", verdict=PLANNED),
    option("log-backupname", PATH, "name of the full one", verdict=PLANNED),
    option("log-truncate", FLAG, "begin with an empty log file", verdict=PLANNED),
    option("log-reopen", FLAG, "open log files again after a reload", verdict=PLANNED),
    option("logfile-chown", FLAG, "give log files to the vassal's user", verdict=PLANNED),
    option("logfile-chmod", MODE, "mode of log files, octal", verdict=PLANNED),
    option("touch-logreopen", PATHS, "open log files again when this file is touched", verdict=PLANNED),
    option("touch-logrotate", PATHS, "begin a new log file when this file is touched", verdict=PLANNED),
    option("stats", ADDRESS, "answer with statistics as JSON on this address", "stats-server"),
    option("stats-http", FLAG, "wait for an HTTP request, and answer with an HTTP head before the statistics"),
    option("stats-minified", FLAG, "statistics without blanks", "stats-min"),
    option("stats-no-cores", FLAG, "statistics without the threads of each worker"),
    option("master-fifo", PATHS, "take commands, a letter each, from this named pipe"),
)
