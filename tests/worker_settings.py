"""The settings that a worker reads, as plain values: its tests need no configuration file.

A test compares the names with the real `Settings`, so that this cannot drift away from it.
"""

from dataclasses import dataclass


@dataclass
class WorkerSettings:
    processes: int = 1
    threads: int = 1
    module: str | None = None
    wsgi_file: str | None = None
    callable: str | None = None
    mount: tuple[tuple[str, str], ...] = ()
    manage_script_name: bool = False
    virtualenv: str | None = None
    need_app: bool = False
    chdir2: str | None = None
    http_timeout: int = 60
    socket_timeout: int = 60
    http_keepalive: int = 1
    buffer_size: int = 32768
    post_buffering: int = 0
    limit_post: int = 0
    add_header: tuple[str, ...] = ()
    rem_header: tuple[str, ...] = ()
    wsgi_disable_file_wrapper: bool = False
    import_: tuple[str, ...] = ()
    pyargv: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    log_x_forwarded_for: bool = False
    enable_proxy_protocol: bool = False
    tcp_nodelay: bool = True
    so_keepalive: bool = False
    py_auto_reload: int = 0
    py_auto_reload_ignore: tuple[str, ...] = ()
    harakiri: int = 0
    max_requests: int = 0
    max_requests_delta: int = 0
    min_worker_lifetime: int = 0
    max_worker_lifetime: int = 0
    reload_on_rss: int = 0
    worker_reload_mercy: int = 60
    catch_exceptions: bool = False
    ignore_write_errors: bool = False
    disable_write_exception: bool = False
    static_map: tuple[tuple[str, str, bool], ...] = ()
    check_static: tuple[str, ...] = ()
    check_static_docroot: bool = False
    static_index: tuple[str, ...] = ()
    static_safe: tuple[str, ...] = ()
    static_skip_ext: tuple[str, ...] = ()
    static_expires: tuple[tuple[str, int], ...] = ()
    static_expires_mtime: tuple[tuple[str, int], ...] = ()
    static_expires_uri: tuple[tuple[str, int], ...] = ()
    static_expires_uri_mtime: tuple[tuple[str, int], ...] = ()
    static_expires_path_info: tuple[tuple[str, int], ...] = ()
    static_expires_path_info_mtime: tuple[tuple[str, int], ...] = ()
    static_expires_type: tuple[tuple[str, int], ...] = ()
    static_expires_type_mtime: tuple[tuple[str, int], ...] = ()
    static_gzip: tuple[str, ...] = ()
    static_gzip_all: bool = False
    static_gzip_dir: tuple[str, ...] = ()
    static_gzip_ext: tuple[str, ...] = ()
    static_cache_paths: int = 0
    mime_file: tuple[str, ...] = ()
    file_serve_mode: str | None = None
