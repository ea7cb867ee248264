"""Values: what each type takes, what it refuses, and that it says what is allowed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.options import INTERVAL
from vassal.config import line_types, types
from vassal.config.options import app, beside, logs, serve, words
from vassal.config.table import VASSAL

EVERY = sorted({row.type for row in VASSAL.options if row.type is not None}, key=lambda kind: (kind.name, id(kind)))


def read(kind, text):
    said = []
    return kind.read(text, said.append), said


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (types.FLAG, "true", True),
        (types.FLAG, "", True),
        (types.FLAG, "YES", True),
        (types.FLAG, "on", True),
        (types.FLAG, "1", True),
        (types.FLAG, "false", False),
        (types.FLAG, "0", False),
        (types.FLAG, "Off", False),
        (types.FLAG, "no", False),
        (types.number(), "0", 0),
        (types.number(), "42", 42),
        (types.number(1, 5), "5", 5),
        (types.seconds(), "30", 30),
        (types.BYTES, "32768", 32768),
        (types.BYTES, "64k", 65536),
        (types.BYTES, "1M", 1 << 20),
        (types.BYTES, "2gb", 2 << 30),
        (types.BYTES, "1.5k", 1536),
        (types.MEBIBYTES, "512", 512),
        (types.MEBIBYTES, "1g", 1024),
        (types.MEBIBYTES, "512m", 512),
        (types.MODE, "660", 0o660),
        (types.MODE, "0660", 0o660),
        (types.MODE, "0o660", 0o660),
        (types.MODE, "", 0o666),
        (types.MASK, "022", 0o022),
        (types.MASK, "0", 0),
        (types.MASK, "0027", 0o027),
        (types.OWNER, "www-data:www-data", "www-data:www-data"),
        (types.OWNER, "1000", "1000"),
        (types.OWNER, ":adm", ":adm"),
        (types.ACCOUNT, "www-data", "www-data"),
        (types.ACCOUNT, "33", "33"),
        (types.ADDRESS, ":8000", ":8000"),
        (types.ADDRESS, "127.0.0.1:0", "127.0.0.1:0"),
        (types.ADDRESS, "[::1]:80", "[::1]:80"),
        (types.ADDRESS, "/run/a:b.sock", "/run/a:b.sock"),
        (types.ADDRESS, "@name", "@name"),
        (types.ADDRESS, "app.sock", "app.sock"),
        (types.choice("a", "b"), "B", "b"),
        (types.PAIRS, "A=b=c", ("A", "b=c")),
        (types.PAIRS, "/x = app.py", ("/x", " app.py")),
        (types.PAIRS, "A=", ("A", "")),
        (types.MAPS, "/static=/srv/static/", ("/static", "/srv/static/", False)),
        (types.WHOLE_MAPS, "/static=/srv", ("/static", "/srv", True)),
        (types.MAPS, "/srv", ("/srv", "/srv", False)),
        (types.HEADERS, "X-Frame-Options: DENY", "X-Frame-Options: DENY"),
        (types.NETWORKS, "10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
        (types.EXPIRIES, "/static/build/* 2592000", ("/static/build/*", 2592000)),
        (types.EXPIRIES, r"\.(css|js)=3600", (r"\.(css|js)", 3600)),
        (types.TYPE_EXPIRIES, "image/png=60", ("image/png", 60)),
        (INTERVAL, "0.5", 0.5),
        (INTERVAL, "3", 3.0),
    ],
)
def test_values(kind, text, value):
    found, said = read(kind, text)
    assert found == value
    assert type(found) is type(value)
    assert said == []


@pytest.mark.parametrize(
    ("kind", "text", "allowed"),
    [
        (types.FLAG, "maybe", "true"),
        (types.FLAG, "-", "true"),
        (types.number(), "x", "whole number from 0"),
        (types.number(), "-1", "whole number from 0"),
        (types.number(), "1.5", "whole"),
        (types.number(1, 5), "6", "from 1 to 5"),
        (types.number(), "1_000", "whole"),
        (types.number(), "٣", "whole"),
        (types.number(), "9" * 5000, "whole"),
        (types.seconds(1), "0", "seconds"),
        (types.seconds(), "5m", "seconds"),
        (types.BYTES, "ten", "bytes"),
        (types.BYTES, "-1", "bytes"),
        (types.BYTES, "1t", "bytes"),
        (types.MEBIBYTES, "x", "MiB"),
        (types.MODE, "rw", "octal"),
        (types.MODE, "689", "octal"),
        (types.MODE, "66", "octal"),
        (types.MASK, "1777", "octal"),
        (types.MASK, "", "octal"),
        (types.OWNER, "a b", "USER:GROUP"),
        (types.OWNER, "a:b:c", "USER:GROUP"),
        (types.OWNER, ":", "USER:GROUP"),
        (types.ACCOUNT, "two words", "one name"),
        (types.ADDRESS, "127.0.0.1:http", "0 to 65535"),
        (types.ADDRESS, ":70000", "0 to 65535"),
        (types.ADDRESS, "::1:80", "brackets"),
        (types.ADDRESS, "=0", "HOST:PORT"),
        (types.ADDRESS, "fd://3", "HOST:PORT"),
        (types.choice("a", "b"), "c", "a and b"),
        (types.choice("a"), "c", "allowed is a"),
        (types.PAIRS, "A", "NAME=VALUE"),
        (types.PAIRS, "=x", "NAME=VALUE"),
        (types.HEADERS, "no colon", "NAME: VALUE"),
        (types.HEADERS, "Content-Length: 3", "the server's own to set"),
        (types.HEADERS, "transfer-encoding: chunked", "the server's own to set"),
        (types.HEADERS, "Bad Name: x", "NAME: VALUE"),
        (types.HEADERS, "X-A: b\r\nX-C: d", "line end"),
        (types.NETWORKS, "10.0.0.0/33", "network"),
        (types.NETWORKS, "example.org", "network"),
        (types.REGEXES, "(", "regular expression"),
        (types.EXPIRIES, "( 60", "regular expression"),
        (types.EXPIRIES, "x", "seconds"),
        (line_types.CRONS, "* * *", "five"),
        (line_types.CRONS, "-1 -1 -1 -1 -1", "command"),
        (line_types.CRON2S, "minutes=1 true", "minute"),
        (line_types.CRON2S, "minute=x true", "number"),
        (line_types.CRON2S, "minute=1", "command"),
        (line_types.DAEMON2S, "freq=3", "cmd"),
        (line_types.DAEMON2S, "cmd=x,ns_pid=1", "ns_pid"),
        (line_types.DAEMON2S, "cmd=x,legion=a", "legion"),
        (line_types.DAEMON2S, "cmd=x,freq=often", "number"),
        (line_types.DAEMON2S, "cmd=x,stopsignal=99", "signal"),
        (line_types.DAEMON2S, "cmd=x,reload_signal=SIGX", "signal"),
        (line_types.DAEMON2S, "cmd=x,daemonize=1", "pidfile"),
        (line_types.SMARTS, "/run/x.pid", "PIDFILE COMMAND"),
        (line_types.SMARTS, "/run/x.pid,often x", "FREQ"),
        (line_types.SMARTS, ",3 x", "PIDFILE"),
        (line_types.HOOKS, "mount:proc none /proc", "exec:"),
        (INTERVAL, "0", "0.1"),
        (INTERVAL, "fast", "0.1"),
    ],
)
def test_a_bad_value_says_what_is_allowed(kind, text, allowed):
    with pytest.raises(ValueError, match=allowed):
        read(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "warning"),
    [
        (types.FLAG, "2", "counts as true"),
        (types.ADDRESS, "8000", "write :8000"),
        (types.ADDRESS, "127.0.0.1", "no colon"),
        (line_types.CRONS, "-1440 -1 -1 -1 -1 true", "hourly"),
        (line_types.CRONS, "0 24 -1 -1 -1 true", "beyond -23 to 23"),
        (line_types.CRON2S, "minute=-1440,unique=1 true", "hourly"),
        (line_types.CRON2S, "month=13 true", "beyond -12 to 12"),
    ],
)
def test_what_is_odd_is_told(kind, text, warning):
    _, said = read(kind, text)
    assert len(said) == 1
    assert warning in said[0]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (line_types.CRONS, "0 2 -1 -1 -1 /usr/bin/true --flag"),
        (line_types.CRONS, "*/5 * * * * true"),
        (line_types.CRONS, "0 9-17 * jan,feb mon-fri true"),
        (line_types.CRONS, "@daily true"),
        (line_types.CRON2S, "minute=-5,unique=1,harakiri=60 cd /x && true"),
        (line_types.CRON2S, "true"),
        (line_types.DAEMON2S, "cmd=redis-server,pidfile=/run/r.pid,stopsignal=15"),
        (line_types.DAEMON2S, "cmd=celery -Q a\\,b,stopsignal=quit,freq=3,daemon=1,pidfile=x"),
        (line_types.HOOKS, "exec:touch /tmp/x"),
        (line_types.HOOKS, "unix_signal:15 gracefully_kill_them_all"),
    ],
)
def test_lines_that_are_kept_as_they_are(kind, text):
    assert read(kind, text) == (text, [])


def test_a_comment_ends_a_value_after_white_space_only():
    assert types.uncommented("300  # seconds") == "300"
    assert types.uncommented("false ; note") == "false"
    assert types.uncommented("a;b#c") == "a;b#c"
    assert types.uncommented("300") == "300"


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
@given(text=st.text(max_size=60))
def test_no_text_is_more_than_a_wrong_value(kind, text):
    with contextlib.suppress(ValueError):
        kind.read(text, lambda _: None)


def test_comments_are_cut_off_only_where_no_value_could_hold_them():
    strings = {"text", "path", "list of texts", "list of paths", "list of NAME=VALUE", "list of headers"}
    for family in (app, beside, logs, serve, words):
        for row in family.OPTIONS:
            if row.type is not None and row.type.name in strings:
                assert not row.type.clean, row.name
            if row.type is not None and row.type.name in ("flag", "number", "size", "mode"):
                assert row.type.clean, row.name
