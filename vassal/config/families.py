"""The families of `vassal.config.catalogue`: (patterns, reason, what to do instead). Text only."""

from __future__ import annotations

Row = tuple[str, str, str]

EMPEROR = ("emperor-", "vassals-", "vassal-", "hook-emperor-", "hook-as-emperor", "hook-as-vassal", "hook-as-on-")
"""Beginnings of names that belong into an emperor's file."""
EMPEROR_NAMES = (
    "emperor early-emperor zeus imperial-monitor-list imperial-monitors-list exec-as-emperor exec-as-vassal "
    "call-as-emperor call-as-emperor1 call-as-emperor2 call-as-emperor4 mount-as-emperor umount-as-emperor "
    "call-as-vassal call-as-vassal1 call-as-vassal3 mount-as-vassal umount-as-vassal"
)
"""The others."""
EMPEROR_OWN = "emperor-log-dir emperor-loyalty emperor-control emperor-start-timeout vassals-uid vassals-gid"
"""Names of ours that uWSGI does not know."""

PLUGINS = (
    r"python.*|http|corerouter|logfile|logsocket|r?syslog|systemd_logger|router_(static|rewrite|redirect)|signal|ping|nagios"
    r"|cheaper_\w+|stats_pusher_\w+|transformation_\w+|dummy"
)
"""Plugins, as a regular expression, whose work is built in or missed by nobody (their options have verdicts)."""

FIRST: tuple[Row, ...] = (
    ("plugin plugins need-plugin need-plugins", "Python, HTTP and log writers are built in", ""),
    (
        "harakiri-* no-harakiri-*",
        "a request beyond harakiri gets a 504 and its stack goes to the log; the worker's others may finish",
        "worker-reload-mercy bounds how long they may take",
    ),
    (
        (
            "http-cheap http-events http-quiet http-processes http-workers http-uid http-gid http-gracetime "
            "http-harakiri http-connect-timeout http-manage-source http-resubscribe http-manage-expect "
            "http-chunked-input"
        ),
        "there is no HTTP router process here: workers speak HTTP themselves",
        "",
    ),
    ("http-headers-timeout", "waiting for a head is bounded by http-timeout", "http-timeout = SECONDS"),
    ("http-buffer-size", "the longest head is bounded by buffer-size", "buffer-size = BYTES"),
    ("http-post-buffering http-post-buffering-dir", "bodies are buffered by the worker", "post-buffering = BYTES"),
    ("http-auto-gzip", "responses are not compressed here", "compress in the web server in front, or in the app"),
    ("http-server-name-as-http-host", "SERVER_NAME is the address of the socket", "take the Host header in the app"),
)
"""Looked at first: they take single names out of the families below."""

REFUSED: tuple[Row, ...] = (
    (
        (
            "route route-* error-route error-route-* final-route final-route-* response-route response-route-* "
            "router-list routers-list"
        ),
        "there is no internal routing: a rule that guards something must not vanish silently",
        "write the rule into the web server in front or the app",
    ),
    (
        (
            "fastrouter fastrouter-* rawrouter rawrouter-* sslrouter sslrouter2 sslrouter-* forkpty* http-* "
            "httprouter tuntap-* zerg zerg-* zergpool subscribe subscribe* subscription* start-unsubscribed "
            "unsubscribe-on-graceful-reload weight auto-weight st"
        ),
        "routers and subscriptions are not offered",
        "let nginx, HAProxy or Traefik find the apps by their sockets",
    ),
    (
        "https https2 https-* sni sni-* ssl-* suwsgi-socket",
        "TLS is not spoken here",
        "end TLS in the web server in front and use http-socket or socket behind it",
    ),
    (
        (
            "scgi-* fastcgi-* raw-* puwsgi-socket udp multicast multicast-* mongrel2 zeromq zeromq-socket zmq "
            "zmq-socket log-zeromq undeferred-shared-socket shared-socket map-socket remap-modifier"
        ),
        "only HTTP and the uwsgi protocol are spoken, on sockets of the vassal's own",
        "use http-socket or socket",
    ),
    ("abstract-socket", "each address says itself whether it is abstract", "write socket = @NAME"),
    (
        (
            "gevent gevent-* async asyncio ugreen ugreen-* tornado greenlet fiber stackless coroae loop goroutines "
            "rbthread rbthreads rb-thread rb-threads"
        ),
        "requests run in threads: an event loop under the app is not offered",
        "use threads = N (each blocking request takes one), or an ASGI server for asynchronous apps",
    ),
    (
        "spooler spooler-* touch-spoolers-reload",
        "there is no spooler",
        "run Celery, RQ or Huey by attach-daemon in the same file",
    ),
    (
        "mule mules mule-* farm touch-mules-reload worker-exec worker-exec2 hook-as-mule",
        "there are no mules",
        "run the program by attach-daemon in the same file",
    ),
    (
        (
            "alarm alarm-* alarms-* backlog-alarm lq-alarm listen-queue-alarm log-alarm segfault-alarm not-alarm-log "
            "not-log-alarm metric-alarm metric-threshold"
        ),
        "there are no alarms",
        "watch the log or `emperor status --json` with your monitoring",
    ),
    (
        (
            "cache cache2 cache-* check-cache add-cache-item load-file-in-cache load-file-in-cache-gzip queue "
            "queue-* sharedarea upload-progress rpc-*"
        ),
        "shared memory for the app is not offered",
        "use Redis or memcached, for instance by attach-daemon",
    ),
    (
        "legion legion-* cron-legion unique-legion-cron unique-cron-legion cron-curl cron-curl-* curl-cron curl-cron-*",
        "there are no legions, and cron runs commands only",
        "use cron = … curl URL; choose the one host by other means",
    ),
    (
        (
            "cgroup cgroup-* namespace namespace-* ns ns-* unshare unshare2 setns setns-* chroot jail jail2 jail-* "
            "jailed jid-file jidfile libjail pivot-root pivot_root mount-* umount-* cap hook-in-jail hook-pre-jail "
            "hook-post-jail exec-in-jail exec-pre-jail exec-post-jail call-in-jail call-pre-jail call-post-jail "
            "re-fork* refork* privileged-binary-patch* unprivileged-binary-patch*"
        ),
        "isolation is not done here, and must not be believed to be",
        "run the emperor or one emperor for each tenant in a container or under systemd's sandboxing",
    ),
    ("limit-nproc prio", "not set here", "set LimitNPROC= or Nice= in the service's unit"),
    ("immediate-uid immediate-gid", "identity is taken in one place", "use uid and gid"),
    (
        "reload-on-as evil-reload-on-as reload-on-pss reload-on-uss cheaper-rss-limit-*",
        "memory is watched by resident size only",
        "use reload-on-rss = MIB",
    ),
    (
        "reload-on-exception reload-on-exception-* exception-handler",
        "exceptions do not replace workers",
        "log them; the worker serves on",
    ),
    (
        (
            "fs-reload fs-brutal-reload fs-signal reload-on-fd brutal-reload-on-fd touch-signal signal signal-* timer "
            "hook-touch"
        ),
        "there is no signal framework",
        "use touch-reload, touch-exec or cron",
    ),
    (
        (
            "wait-for-* wait-iface wait-iface-* wait-interface wait-interface-* check-mount check-mountpoint "
            "mount-check mountpoint-check flock flock2 flock-wait flock-wait2"
        ),
        "a start waits for nothing",
        "wait in hook-asap = exec:COMMAND, for up to start-timeout; a failed start is tried again",
    ),
    ("file-write", "files are written by hooks", "use hook-asap = write:FILE TEXT"),
    ("envdir early-envdir", "environment directories are not read", "write env = NAME=VALUE"),
    ("force-cwd", "the working directory is set by one option", "use chdir"),
    ("error-page-*", "error pages are not offered", "use error_page of the web server in front, or the app"),
    (
        "collect-header pull-header response-header-collect after-request-* ignore-script-name vhost-host",
        "requests are not changed on their way",
        "do it in the app or in the web server in front",
    ),
    (
        "websocket-* websockets-*",
        "WebSockets are not served",
        "run an ASGI server for them by attach-daemon and let the web server choose by path",
    ),
    (
        (
            "php-* early-php early-php-* rack rails rb-* rbrequire rbshell rbshell-* rbtimer ruby-* rubyrequire rvm "
            "rvm-path gemset require shared-rb* shared-ruby* shared-require psgi psgi-* perl-* plshell plshell-* "
            "early-perl early-perl-* early-psgi lua lua-* luashell luashell-* mono-* jvm-* jwsgi clojure-load ring-* "
            "go-* gccgo-* cgi cgi-* xslt-* dumbloop-* pypy-*"
        ),
        "a vassal is a Python WSGI app: other languages are not run",
        "run it under its own server, for instance by attach-daemon",
    ),
    (
        "webdav-* glusterfs-* rados-* geoip-* ldap ldap-* pam pam-* sqlite sqlite3 pty-* pump web3 wsgi-lite nagios",
        "this plugin's work is not offered",
        "use a server that is made for it",
    ),
    (
        "carbon carbon-* rrdtool rrdtool-* statsd-* stats-push stats-pusher* zabbix-* snmp snmp-*",
        "statistics are not pushed",
        "read stats = ADDRESS or `emperor status --json` with your collector",
    ),
    (
        (
            "eval pyrun paste paste-* ini-paste ini-paste-* pecan python-raw python-worker-override py-sharedarea "
            "py-tracebacker pymodule-alias post-pymodule-alias shared-import shared-pyimport shared-py-import "
            "shared-python-import early-python* early-pyimport no-site py-program-name py-programname py pyshell "
            "pyshell-*"
        ),
        "Python is set up by few options here",
        "use module = PKG:APP or wsgi-file = FILE, with pythonpath, virtualenv, python and env",
    ),
    ("py-executable py-sys-executable", "the interpreter is chosen by one option", "use python = PATH"),
    (
        (
            "call-* dlopen symcall symcall-* hook-accepting hook-accepting-once hook-accepting1 hook-as-gateway "
            "hook-post-fork mount-* fork-socket command-mode no-server "
            "binsh notify-socket safe-fd fd-safe profiler worker-mount"
        ),
        "C functions and processes of other kinds are not called",
        "use hook-… = exec:COMMAND where there is such a hook (see the option reference)",
    ),
    (
        "blacklist end-blacklist whitelist end-whitelist",
        "options are not forbidden by lists: what a vassal may do follows from its identity",
        "use vassals-uid or emperor-tyrant",
    ),
    (
        "declare-option declare-option2",
        "options cannot be declared",
        "write them out, or include a file with placeholders",
    ),
    ("resolve", "names are not looked up while files are read", "write the address"),
    ("if-hostname-match if-not-hostname-match", "host names are compared, not searched", "use if-hostname = NAME"),
    ("xml xmlconfig", "XML is not read", "write the same options as an .ini file"),
    ("sqlite* emperor-proxy-socket", "configurations come from files", "write an .ini file"),
    (
        (
            "exit help usage version test dump-options cflags config-py dot-h build-plugin connect-and-read extract "
            "binary-append-data print-sym print-symbol get stop reload pause suspend resume python-version "
            "perl-version plugin-list plugins-list loop-list loops-list clock-list clocks-list logger-list "
            "loggers-list cheaper-algo-list cheaper-algos-list cheaper-list"
        ),
        "an action of uwsgi's command line, no option for a file",
        "see `emperor --help`",
    ),
)
"""Refused."""

ACCEPTED: tuple[Row, ...] = (
    ("enable-threads no-threads-wait", "threads are always enabled", ""),
    ("single-interpreter", "there is one interpreter in a process", ""),
    (
        "cheaper-algo thunder-lock thunder-lock-watchdog lock-engine locks ftok persistent-ipcsem use-abort",
        "workers do not contend for a lock: none is needed",
        "",
    ),
    ("plugin-dir plugins-dir autoload", "there are no plugins to load", ""),
    ("memory-report", "memory is shown by `emperor status`, not in each log line", ""),
    ("py-call-osafterfork py-call-uwsgi-fork-hooks py-master-check-signals", "forks are told to Python always", ""),
    ("log-master log-master-* threaded-logger notfound-log", "whole lines are written in any case", ""),
    ("log-reopen", "each generation opens log files by their names", ""),
    ("logfile-chown", "log files are opened with the vassal's own identity, and belong to it", ""),
    (
        "offload-thread offload-threads disable-sendfile",
        "files and slow clients are served by the worker's loop in any case",
        "",
    ),
    (
        "cheaper-busyness-* cheaper-idle",
        "one rule decides about workers; it has no knobs",
        "use cheaper and cheaper-step",
    ),
    ("no-orphans die-on-no-workers skip-atexit* skip-zero", "no process outlives its master in any case", ""),
    ("binary-path command-mode mode", "there is no uwsgi binary", ""),
    ("exit-on-reload reload-os-env propagate-touch", "a reload is always a new generation", ""),
    (
        "honour-stdin daemons-honour-stdin",
        "a vassal has no standard input",
        "use stdin= in attach-daemon2 for a daemon",
    ),
    ("max-worker-lifetime-delta", "workers that are due together are replaced one after another", ""),
    (
        "no-default-app dynamic-apps vhost",
        "one vassal serves the apps that its file names, nothing from the wire",
        "give each host its own file",
    ),
    (
        (
            "enable-metrics metric metric-dir metric-dir-restore metrics-dir metrics-dir-restore metrics-no-cores "
            "stats-no-metrics"
        ),
        "there are no metrics beside the statistics",
        "use stats = ADDRESS",
    ),
    ("drop-after-apps drop-after-init master-as-root", "no app code runs with the emperor's rights", ""),
    (
        "so-send-timeout so-write-timeout socket-send-timeout socket-write-timeout chunked-input-timeout",
        "waiting for clients is bounded by one option",
        "socket-timeout or http-timeout",
    ),
    ("chunked-input-limit response-headers-limit", "bodies are bounded by limit-post, heads by buffer-size", ""),
    (
        (
            "wsgi-accept-buffer wsgi-accept-buffers wsgi-manage-chunked-input wsgi-strict honour-range "
            "static-cache-paths-name start_response-nodelay body-read-warning wsgi-env-behavior wsgi-env-behaviour"
        ),
        "built in",
        "",
    ),
    (
        (
            "tcp-fast-open tcp-fastopen tcp-fast-open-client tcp-fastopen-client socket-rcvbuf socket-sndbuf "
            "close-on-exec close-on-exec2 no-fd-passing cpu-affinity ksm never-swap mem-collector-freq "
            "thread-stack-size thread-stacksize threads-stack-size threads-stacksize post-buffering-bufsize pcre-jit "
            "clock check-interval max-apps max-vars signal-bufsize signals-bufsize allowed-modifiers backtrace-depth "
            "reaper force-gateway forkbomb-delay disable-async-warn-on-queue-full write-errors-* rsyslog-* logger-* "
            "ping ping-timeout"
        ),
        "tuning of uWSGI's own insides",
        "",
    ),
)
"""Accepted without effect."""
