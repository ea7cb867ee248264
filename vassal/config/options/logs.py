"""Options for logs and statistics. Rows only: nothing here can go wrong but text."""

from __future__ import annotations

from vassal.config.log_types import ENCODERS, LOG_FORMAT, LOG_PATH, LOG_ROUTES, LOG_SOCKETS, LOGGERS
from vassal.config.option import Option, option
from vassal.config.types import (
    ADDRESS,
    BYTES,
    FLAG,
    MODE,
    PATH,
    PATHS,
    REGEXES,
    TEXT,
    TEXT_OR_BARE,
    number,
)

OPTIONS: tuple[Option, ...] = (
    option(
        "logto", LOG_PATH, "file for the vassal's output, opened with its own identity; HOST:PORT: sent there by UDP"
    ),
    option("logto2", LOG_PATH, "the same"),
    option(
        "daemonize", LOG_PATH, "the same as logto: nothing is put into the background under an emperor", "daemonize2"
    ),
    option("disable-logging", FLAG, "no request log, but for what the log-… options below ask for"),
    option("log-format", LOG_FORMAT, "line of the request log with %(…) variables, or json", "logformat"),
    option("logformat-strftime", FLAG, "%(ftime) has the form that log-date says, not Apache's", "log-format-strftime"),
    option("log-micros", FLAG, "the default line tells microseconds"),
    option(
        "log-date",
        TEXT_OR_BARE,
        "form of the time in front of the server's own lines, for strftime; without a value that of ctime",
        "logdate",
    ),
    option("log-prefix", TEXT, "put this in front of the server's own lines and of request lines"),
    option("log-4xx", FLAG, "log 4xx responses even with disable-logging"),
    option("log-5xx", FLAG, "log 5xx responses even with disable-logging"),
    option(
        "log-slow",
        number(0, None, "milliseconds"),
        "log requests that took as long or longer, even with disable-logging",
    ),
    option("log-big", BYTES, "log responses of this size or more, even with disable-logging"),
    option("log-zero", FLAG, "log responses without a body, even with disable-logging"),
    option("log-sendfile", FLAG, "log responses that are files, even with disable-logging"),
    option("log-ioerror", FLAG, "log requests that ended in a broken connection, even with disable-logging"),
    option("log-encoder", ENCODERS, "what is done to each line: json, format …", "worker-log-encoder"),
    option("log-req-encoder", ENCODERS, "what is done to each request line", "worker-log-req-encoder"),
    option(
        "logger",
        LOGGERS,
        "where the log goes: [NAME] file:…, stdio, syslog:…, rsyslog:…, systemd, socket:… or fd:…",
        "worker-logger",
    ),
    option("req-logger", LOGGERS, "where the request log goes", "logger-req", "worker-logger-req"),
    option("log-syslog", TEXT_OR_BARE, "log to syslog as TAG,FACILITY"),
    option("log-socket", LOG_SOCKETS, "log to HOST:PORT by UDP, or to a UNIX datagram socket"),
    option("log-route", LOG_ROUTES, "lines that match go to this logger, and nowhere else"),
    option("log-req-route", LOG_ROUTES, "the same for request lines"),
    option("log-drain", REGEXES, "lines that match go nowhere"),
    option("log-filter", REGEXES, "lines that match none of these go nowhere"),
    option("log-maxsize", BYTES, "begin a new log file at this size"),
    option("log-backupname", PATH, "name of the full one; without it the path and the time"),
    option("log-truncate", FLAG, "begin with an empty log file when the vassal is first started"),
    option("logfile-chmod", MODE, "mode of log files, octal"),
    option("touch-logreopen", PATHS, "open log files again when this file is touched"),
    option("touch-logrotate", PATHS, "begin a new log file when this file is touched"),
    option("stats", ADDRESS, "answer with statistics as JSON on this address", "stats-server"),
    option("stats-http", FLAG, "wait for an HTTP request, and answer with an HTTP head before the statistics"),
    option("stats-minified", FLAG, "statistics without blanks", "stats-min"),
    option("stats-no-cores", FLAG, "statistics without the threads of each worker"),
    option("master-fifo", PATHS, "take commands, a letter each, from this named pipe"),
)
