"""Options for sockets and protocols. Rows only: nothing here can go wrong but text."""

from __future__ import annotations

from vassal.config.option import Option, option
from vassal.config.types import (
    ADDRESSES,
    BYTES,
    FLAG,
    HEADERS,
    MODE,
    NETWORKS,
    OWNER,
    TEXTS,
    choice,
    number,
    seconds,
)

OPTIONS: tuple[Option, ...] = (
    option(
        "http-socket",
        ADDRESSES,
        "speak HTTP on this address",
        "http",
        "http11-socket",
        field="sockets",
        protocol="http",
    ),
    option("uwsgi-socket", ADDRESSES, "speak the uwsgi protocol on this address", field="sockets", protocol="uwsgi"),
    option("socket", ADDRESSES, "speak what `protocol` says on this address", field="sockets", protocol="default"),
    option(
        "protocol",
        choice("uwsgi", "http", "http11"),
        "what `socket` lines speak",
        "socket-protocol",
        protocol="choice",
    ),
    option("listen", number(1, 1 << 20), "length of the queue of connections that wait to be accepted"),
    option("chmod-socket", MODE, "mode of UNIX sockets, octal", "chmod"),
    option("chown-socket", OWNER, "owner of UNIX sockets, USER:GROUP"),
    option("reuse-port", FLAG, "let other programs bind the same port (SO_REUSEPORT)"),
    option("freebind", FLAG, "bind addresses that this host does not have yet (IP_FREEBIND)"),
    option("so-keepalive", FLAG, "probe silent connections (SO_KEEPALIVE)"),
    option("tcp-nodelay", FLAG, "send small packets at once (TCP_NODELAY)"),
    option("no-defer-accept", FLAG, "always on: connections are accepted before their first byte"),
    option(
        "enable-proxy-protocol",
        FLAG,
        "take the client's address from a PROXY protocol header, where a trusted proxy sends one",
        "http-enable-proxy-protocol",
    ),
    option("http-timeout", seconds(), "how long to wait for the bytes of an HTTP client"),
    option("socket-timeout", seconds(), "how long to wait for the bytes of a uwsgi client; 60, where uWSGI has 4"),
    option(
        "http-keepalive",
        seconds(bare="1"),
        "keep HTTP connections open: 1 for the usual time, more for seconds, 0 for never",
    ),
    option("http-auto-chunked", FLAG, "always on: HTTP/1.1 responses of unknown length are chunked"),
    option("post-buffering", BYTES, "read bodies longer than this into a file before the app is called"),
    option("limit-post", BYTES, "longest request body; 0: any"),
    option("add-header", HEADERS, "a header for every response, NAME: VALUE"),
    option("trusted-proxies", NETWORKS, "addresses whose X-Forwarded-* and PROXY headers are believed", own=True),
    option("log-x-forwarded-for", FLAG, "take the client's address from X-Forwarded-For of trusted proxies"),
    option("ignore-sigpipe", FLAG, "do not log clients that went away"),
    option("ignore-write-errors", FLAG, "do not log failed writes to clients"),
    option("disable-write-exception", FLAG, "let the app not notice that the client went away"),
    option("rem-header", TEXTS, "take this header out of every response", "del-header"),
)
