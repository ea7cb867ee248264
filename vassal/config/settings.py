"""The settings of a vassal, typed: what the options of its file came to.

A field bears its option's name with ``_`` for ``-`` (`sockets`, `print_lines` and `static_map` gather several lines); a
test holds each against the option table. Paths are as they were written: whoever opens them resolves them. The one
thing that can go wrong here is a default that says something else than the documentation, which is generated from
these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

APPS = ("module", "wsgi_file", "mount")
"""Fields that name an app."""
_BESIDE = (
    "import_",
    "static_map",
    "check_static",
    "check_static_docroot",
    "attach_daemon",
    "attach_control_daemon",
    "attach_daemon2",
    "smart_attach_daemon",
    "smart_attach_daemon2",
    "cron",
    "unique_cron",
    "cron2",
    "touch_exec",
)
"""Fields that give a vassal without an app something to serve or to run; so do all hooks."""
NO_WORK = "it names no app (module, wsgi-file, mount) and nothing else to serve or run: was it cut short?"
"""What is said of a file that would take a site down by its success."""
NO_SOCKET = "no socket is named, so nobody can call this app: set http-socket or socket"
"""What is said of an app without any."""

Texts = tuple[str, ...]
Pairs = tuple[tuple[str, str], ...]
Ages = tuple[tuple[str, int], ...]
Maps = tuple[tuple[str, str, bool], ...]
"""(URL, path, whether the whole of a request's path follows it), in the order of the file."""


@dataclass(frozen=True, slots=True)
class SocketSpec:
    """One address to listen on: `protocol` is ``http`` or ``uwsgi``; `file` and `line` say who asked for it."""

    protocol: str
    address: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, bytes and MiB are whole numbers; see ``docs/options.md`` for each."""

    # --- the language
    strict: bool = False
    ignore_refused: Texts = ()
    fallback_config: str | None = None
    show_config: bool = False
    print_lines: Texts = ()
    # --- the app
    module: str | None = None
    wsgi_file: str | None = None
    callable: str | None = None
    mount: Pairs = ()
    manage_script_name: bool = False
    chdir: str | None = None
    chdir2: str | None = None
    pythonpath: Texts = ()
    virtualenv: str | None = None
    python: str | None = None
    env: Pairs = ()
    unenv: Texts = ()
    lazy_apps: bool = False
    need_app: bool = False
    wsgi_disable_file_wrapper: bool = False
    import_: Texts = ()
    uwsgi_module: bool = True
    pyargv: str | None = None
    optimize: int = 0
    py_auto_reload: int = 0
    py_auto_reload_ignore: Texts = ()
    catch_exceptions: bool = False
    # --- processes
    master: bool = True
    processes: int = 1
    threads: int = 1
    cheap: bool = False
    idle: int = 0
    die_on_idle: bool = False
    cheaper: int = 0
    cheaper_initial: int = 0
    cheaper_step: int = 1
    cheaper_overload: int = 3
    fork_server: bool | None = None
    uid: str | None = None
    gid: str | None = None
    add_gid: Texts = ()
    no_initgroups: bool = False
    umask: int | None = None
    limit_as: int = 0
    max_fd: int = 0
    pidfile: str | None = None
    safe_pidfile: str | None = None
    vacuum: bool = False
    procname: str | None = None
    procname_prefix: str | None = None
    procname_prefix_spaced: str | None = None
    procname_append: str | None = None
    procname_master: str | None = None
    auto_procname: bool = True
    die_on_term: bool = True
    # --- reload and recycling
    reload_strategy: str = "overlap"
    reload_mercy: int = 60
    worker_reload_mercy: int = 60
    start_timeout: int = 60
    ready_check: str | None = None
    ready_check_timeout: int = 10
    loyalty: int = 10
    heartbeat: int = 0
    touch_reload: Texts = ()
    touch_workers_reload: Texts = ()
    touch_chain_reload: Texts = ()
    harakiri: int = 0
    max_requests: int = 0
    max_requests_delta: int = 0
    min_worker_lifetime: int = 10
    max_worker_lifetime: int = 0
    reload_on_rss: int = 0
    evil_reload_on_rss: int = 0
    # --- sockets and protocols
    sockets: tuple[SocketSpec, ...] = ()
    protocol: str = "uwsgi"
    listen: int = 100
    chmod_socket: int | None = None
    chown_socket: str | None = None
    reuse_port: bool = False
    freebind: bool = False
    so_keepalive: bool = False
    tcp_nodelay: bool = True
    no_defer_accept: bool = True
    enable_proxy_protocol: bool = False
    buffer_size: int = 32768
    http_timeout: int = 60
    socket_timeout: int = 60
    http_keepalive: int = 1
    http_auto_chunked: bool = True
    post_buffering: int = 0
    limit_post: int = 0
    add_header: Texts = ()
    rem_header: Texts = ()
    trusted_proxies: Texts = ()
    log_x_forwarded_for: bool = False
    ignore_sigpipe: bool = False
    ignore_write_errors: bool = False
    disable_write_exception: bool = False
    # --- logs and statistics
    logto: str | None = None
    logto2: str | None = None
    daemonize: str | None = None
    disable_logging: bool = False
    log_format: str | None = None
    logformat_strftime: bool = False
    log_micros: bool = False
    log_date: str | None = None
    log_prefix: str | None = None
    log_4xx: bool = False
    log_5xx: bool = False
    log_slow: int = 0
    log_big: int = 0
    log_zero: bool = False
    log_sendfile: bool = False
    log_ioerror: bool = False
    log_encoder: Texts = ()
    log_req_encoder: Texts = ()
    logger: Texts = ()
    req_logger: Texts = ()
    log_syslog: str | None = None
    log_socket: Texts = ()
    log_route: Texts = ()
    log_req_route: Texts = ()
    log_drain: Texts = ()
    log_filter: Texts = ()
    log_maxsize: int = 0
    log_backupname: str | None = None
    log_truncate: bool = False
    logfile_chmod: int | None = None
    touch_logreopen: Texts = ()
    touch_logrotate: Texts = ()
    stats: str | None = None
    stats_http: bool = False
    stats_minified: bool = False
    stats_no_cores: bool = False
    master_fifo: Texts = ()
    # --- beside the app
    attach_daemon: Texts = ()
    attach_control_daemon: Texts = ()
    attach_daemon2: Texts = ()
    smart_attach_daemon: Pairs = ()
    smart_attach_daemon2: Pairs = ()
    cron: Texts = ()
    unique_cron: Texts = ()
    cron2: Texts = ()
    cron_harakiri: int = 0
    static_map: Maps = ()
    check_static: Texts = ()
    check_static_docroot: bool = False
    static_index: Texts = ()
    static_safe: Texts = ()
    static_skip_ext: Texts = ()
    static_expires: Ages = ()
    static_expires_mtime: Ages = ()
    static_expires_uri: Ages = ()
    static_expires_uri_mtime: Ages = ()
    static_expires_path_info: Ages = ()
    static_expires_path_info_mtime: Ages = ()
    static_expires_type: Ages = ()
    static_expires_type_mtime: Ages = ()
    static_gzip: Texts = ()
    static_gzip_all: bool = False
    static_gzip_dir: Texts = ()
    static_gzip_ext: Texts = ()
    static_cache_paths: int = 0
    mime_file: Texts = ()
    file_serve_mode: str | None = None
    hook_asap: Texts = ()
    hook_pre_app: Texts = ()
    hook_post_app: Texts = ()
    hook_master_start: Texts = ()
    hook_accepting1_once: Texts = ()
    hook_as_user: Texts = ()
    hook_as_root: Texts = ()
    hook_as_user_atexit: Texts = ()
    hook_emperor_stop: Texts = ()
    hook_emperor_reload: Texts = ()
    hook_emperor_lost: Texts = ()
    exec_asap: Texts = ()
    exec_pre_app: Texts = ()
    exec_post_app: Texts = ()
    exec_as_user: Texts = ()
    exec_as_root: Texts = ()
    exec_as_user_atexit: Texts = ()
    touch_exec: Pairs = ()


_WORK = tuple(name for name in Settings.__slots__ if name in (*APPS, *_BESIDE) or name.startswith(("hook_", "exec_")))


def works(values: Callable[[str], object]) -> bool:
    """Whether a vassal has anything to do by the `values` of its fields (false for one that is not set)."""
    return any(values(name) for name in _WORK)
