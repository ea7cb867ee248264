"""The option table: every name has one meaning, and every field of the settings has its row."""

from dataclasses import fields

import pytest

from emperor.settings import EMPEROR, EmperorSettings
from vassal.config import Settings, families
from vassal.config.catalogue import plugin_verdict
from vassal.config.option import ACCEPTED, REFUSED, SUPPORTED, VERDICTS, option
from vassal.config.table import VASSAL, Table
from vassal.config.types import FLAG, TEXT
from vassal.config.uwsgi_names import NAMES

# fmt: off
POPULAR = (
    "master", "processes", "chdir", "module", "socket", "uid", "vacuum", "gid", "chmod-socket", "threads",
    "die-on-term", "buffer-size", "enable-threads", "harakiri", "max-requests", "wsgi-file", "http", "pidfile",
    "emperor", "env", "logto", "http-socket", "virtualenv", "callable", "static-map", "home", "stats", "need-app",
    "plugins", "chown-socket", "http-timeout", "lazy-apps", "plugin", "single-interpreter", "touch-reload",
    "daemonize", "disable-logging", "post-buffering", "strict", "thunder-lock", "disable-write-exception",
    "http-keepalive", "pythonpath", "reload-on-rss", "ignore-sigpipe", "ignore-write-errors", "memory-report",
    "workers", "logger", "worker-reload-mercy", "http-auto-chunked", "ini", "max-worker-lifetime", "no-defer-accept",
    "add-header", "auto-procname", "log-format", "log-x-forwarded-for", "logformat", "socket-timeout",
    "harakiri-verbose", "hook-master-start", "log-5xx", "log-maxsize", "manage-script-name", "mount",
    "offload-threads", "req-logger", "cheaper", "cron", "endif", "listen", "log-4xx", "log-master", "plugins-dir",
    "show-config", "attach-daemon", "cheaper-initial", "emperor-stats-server", "endfor", "file",
    "http-enable-proxy-protocol", "idle", "if-env", "log-backupname", "log-date", "log-ioerror", "log-reopen",
    "log-zero", "max-fd", "procname", "procname-prefix-spaced", "py-call-osafterfork", "reload-mercy", "stats-http",
    "wsgi-disable-file-wrapper",
)
# fmt: on
"""What many real files hold; none of it may be refused."""

# fmt: off
NOT_OFFERED = (
    "route", "log-alarm", "spooler", "spooler-chdir", "spooler-import", "subscribe-to", "gevent", "async", "ugreen",
    "mules", "alarm", "cgroup",
)
# fmt: on


@pytest.mark.parametrize("table", [VASSAL, EMPEROR], ids=["vassal", "emperor"])
def test_every_name_has_a_verdict_with_a_reason(table):
    for name in NAMES | VASSAL.names() | table.names():
        row = table.find(name)
        assert row is not None, name
        assert row.verdict in VERDICTS, name
        if row.verdict in (ACCEPTED, REFUSED):
            assert row.reason, name
        if row.verdict == REFUSED:
            assert row.instead, name
        if row.verdict == SUPPORTED:
            assert row.help, name


@pytest.mark.parametrize("table", [VASSAL, EMPEROR], ids=["vassal", "emperor"])
@pytest.mark.parametrize(
    "name", ["proceses", "", "Processes", "static_map", "http-", "app_name", "emperor-", "*", "route*"]
)
def test_no_other_name_has_one(table, name):
    assert table.find(name) is None


def test_a_name_with_two_meanings_is_no_table():
    with pytest.raises(ValueError, match="has b twice"):
        Table([option("a", TEXT, "one", "b"), option("b", TEXT, "two")])


@pytest.mark.parametrize("name", POPULAR)
def test_what_many_files_hold_is_not_refused(name):
    assert VASSAL.find(name).verdict != REFUSED


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_would_mislead_is_refused(name):
    assert VASSAL.find(name).verdict == REFUSED


@pytest.mark.parametrize(
    "family", [families.FIRST, families.REFUSED, families.ACCEPTED], ids=["first", "refused", "accepted"]
)
def test_no_pattern_is_there_for_nothing(family):
    from fnmatch import filter as matching

    every = sorted(NAMES)
    for patterns, _, _ in family:
        for pattern in patterns.split():
            assert matching(every, pattern), pattern


@pytest.mark.parametrize(
    ("table", "settings", "beside"),
    [
        (VASSAL, Settings, set()),
        (EMPEROR, EmperorSettings, {"inject", "notes"}),
    ],
    ids=["vassal", "emperor"],
)
def test_rows_and_fields_are_the_same(table, settings, beside):
    held = {field.name for field in fields(settings)} - beside
    rows = {row.field for row in table.options if row.field and row.type is not None}
    turned = {
        "uid",
        "gid",
        "vassals_inherit_before",
        "vassals_include_before",
        "vassals_inherit",
        "vassals_include",
        "vassal_set",
    }
    assert held == (rows - turned if settings is EmperorSettings else rows)


@pytest.mark.parametrize(
    ("table", "settings"), [(VASSAL, Settings), (EMPEROR, EmperorSettings)], ids=["vassal", "emperor"]
)
def test_defaults_have_the_type_that_their_row_reads(table, settings):
    defaults = {field.name: field.default for field in fields(settings)}
    for row in table.options:
        if row.type is None or row.field not in defaults:
            continue
        default = defaults[row.field]
        if row.type.many:
            assert default == (), row.name
        elif row.type is FLAG:
            assert default is None or isinstance(default, bool), row.name
        elif row.type.name in ("number", "size", "mode"):
            assert default is None or (isinstance(default, int | float) and not isinstance(default, bool)), row.name
        else:
            assert default is None or isinstance(default, str), row.name


@pytest.mark.parametrize("table", [VASSAL, EMPEROR], ids=["vassal", "emperor"])
def test_defaults_are_values_that_could_be_written(table):
    settings = Settings if table is VASSAL else EmperorSettings
    defaults = {field.name: field.default for field in fields(settings)}
    for row in table.options:
        default = defaults.get(row.field)
        if row.type is None or row.type.many or not default:  # 0 may stand for "not at all"
            continue
        text = f"{default:o}" if row.type.name == "mode" else str(default).lower()
        assert row.type.read(text, pytest.fail) == default, row.name


@pytest.mark.parametrize(
    "names", ["python", "python3", "python311", "python3,http", "0:python3", "/usr/lib/uwsgi/python3_plugin.so"]
)
def test_plugins_that_nobody_misses(names):
    assert plugin_verdict(names) is None


@pytest.mark.parametrize(
    "names", ["php", "python3,php", "psgi", "rack", "lua", "/x/php_plugin.so", "fastrouter", "gevent"]
)
def test_plugins_of_other_languages_are_refused(names):
    verdict, reason = plugin_verdict(names)
    assert verdict == REFUSED
    assert "not offered" in reason
