"""No input makes the language raise anything but its own error, hang, or grow without bound (hypothesis)."""

import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vassal.config.build import NOTES
from vassal.config.errors import ConfigError
from vassal.config.language import read_configuration
from vassal.config.limits import ENTRIES
from vassal.config.load import typed
from vassal.config.settings import Settings
from vassal.config.table import VASSAL

PATIENCE = 20.0
"""Seconds in which any input must be done: hundreds of times what one takes, so that only a hang fails."""
MOST_CHARS = 8 << 20
"""Characters that all values together may have, however a file multiplies them."""

NAMES = ["a", "b", "socket", "processes", "env", "route", "strict", "x.y", "_"]
CONDITIONS = [f"if-{no}{what}" for no in ("", "not-") for what in ("env", "opt", "exists", "dir", "file", "hostname")]
WORDS = [
    *NAMES,
    *CONDITIONS,
    *("for", "for-glob", "for-times", "for-readline", "endfor", "endif", "end", "else", "if-reload", "ifdir"),
    *("set", "set-ph", "ini", "include", "inherit", "json", "inject-before", "inject-after", "fallback-config"),
    *("if-hostname-match", "xml", "strict", "print", "ignore-refused"),
]
PIECES = [
    *("%(a)", "%(b)", "%(a b)", "%(a + 1)", "%(a * a)", "%(b ++)", "%(_)", "%(", "%%", "%n", "%d", "%9", "%Y", "%"),
    *(
        "$(HOME)",
        "$(HOME:-x)",
        "$(NOSUCH-y)",
        "$(",
        "@(other.ini)",
        "@(nosuch)",
        "@(exec://echo 1)",
        "@(",
        "@(sym://x)",
    ),
    *(
        ")",
        "(",
        "=",
        " ",
        "a",
        "b",
        "1",
        "99999999999999999999",
        "-1",
        ":",
        ":other",
        "other.ini",
        "app.ini",
        "*/*",
        "..",
    ),
    *(" ; note", " # note", "true", "false", "/tmp", "é", "\udc80", "\t", "a=%(a)%(a)", "a=a", "A=1", "uwsgi"),
]
ENVIRON = {"HOME": "/root/%(a)", "A": "1", "UWSGI_VASSAL_PROCESSES": "%(a)"}

values = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
assignments = st.tuples(st.sampled_from(WORDS), values).map(" = ".join)
lines = st.one_of(
    assignments, st.sampled_from(WORDS), st.sampled_from(["[uwsgi]", "[other]", "[vassal]", "; x", "[", "="])
)
texts = st.lists(lines, max_size=30).map(lambda rows: "[uwsgi]\n" + "\n".join(rows))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | values | st.sampled_from(NAMES)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*WORDS, "uwsgi"]), inner)
)

quiet = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(path):
    """What was read, or the one error that may come."""
    try:
        return read_configuration(path, environ=ENVIRON, allow_exec=False), None
    except ConfigError as error:
        return None, error


def survives(place, data, name="app.ini", other=b"[uwsgi]\nb = 2\n[other]\nc = %(a)\n"):
    """Read `data`, and check what every input owes."""
    (place.root / "other.ini").write_bytes(other)
    path = place.root / name
    path.write_bytes(data)
    start = time.monotonic()
    reading, error = outcome(str(path))
    assert time.monotonic() - start < PATIENCE
    if reading is None:
        assert error.message
        assert str(error).endswith(error.message)
        return
    entries = reading.entries
    assert len(entries) <= ENTRIES
    assert sum(len(entry.value) for entry in entries) <= MOST_CHARS
    assert all(entry.option for entry in entries)
    assert not any("\0" in entry.value for entry in entries)
    build = typed(reading)
    Settings(**build.values)
    assert len(build.notes) <= 2 * NOTES
    assert time.monotonic() - start < PATIENCE


@quiet
@given(text=texts, other=texts)
def test_lines_of_the_language_in_any_order(place, text, other):
    survives(place, text.encode("utf-8", "surrogateescape"), other=other.encode("utf-8", "surrogateescape"))


OPTIONS = sorted(VASSAL.names() - {"ini", "include", "inherit", "json", "yaml", "yml", "js", "config"})
oddities = st.one_of(
    values,
    st.text(max_size=40).filter(lambda text: "\n" not in text and "\0" not in text),
    st.sampled_from(
        ["0", "-5", "4096", "1.5m", "010", "0x10", "1e3", "  ", "; c", "[::1]:80", ":99999", "a:b:c", "@x", "="]
    ),
    st.sampled_from(
        ["0 0 -1 -1 -1 x", "*/5 * * * * x", "minute=-5,unique=1 x", "cmd=a,freq=3", "exec:x", "(.*", "/a 5", "A: b"]
    ),
)


@quiet
@given(rows=st.lists(st.tuples(st.sampled_from(OPTIONS), oddities), max_size=12))
def test_any_value_for_any_option(place, rows):
    text = "[uwsgi]\n" + "\n".join(f"{name} = {value}" for name, value in rows)
    survives(place, text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", sorted({row.type: row.name for row in VASSAL.options if row.type}.values()))
def test_long_values_take_no_long_time(place, name):
    for piece in (" ", ",", "=", "a,", "a=", ", ", "freq=1,", "(", "0", "0 ", "a ", " =", "/", ":", "\\", "1.", "a:"):
        survives(place, f"[uwsgi]\n{name} = x{piece * (60_000 // len(piece))}x".encode())


@quiet
@given(data=st.binary(max_size=400))
@example(data=b"\xef\xbb\xbf[uwsgi]\na=1")
@example(data=b"[uwsgi]\nfor = a b\nini = app.ini\nendfor")
@example(data=b"[uwsgi]\nset = set=set=set=a=1")
def test_any_bytes(place, data):
    survives(place, data)


@quiet
@given(text=st.text(max_size=300))
def test_any_text_in_the_section(place, text):
    survives(place, ("[uwsgi]\n" + text).encode("utf-8", "surrogatepass"))


@quiet
@given(document=documents)
def test_any_json_document(place, document):
    survives(place, json.dumps(document).encode(), name="app.json")


@quiet
@given(text=st.text(max_size=200))
def test_any_text_as_json(place, text):
    survives(place, text.encode("utf-8", "surrogatepass"), name="app.json")


def test_placeholders_that_double_each_other(place):
    rows = "\n".join(f"p{number} = %(p{number + 1})%(p{number + 1})" for number in range(60))
    survives(place, f"[uwsgi]\n{rows}\np60 = x\nsocket = %(p0)".encode())


def test_arithmetic_that_doubles_text(place):
    rows = "\n".join(f"p{number} = %(p{number + 1} p{number + 1})" for number in range(40))
    survives(place, f"[uwsgi]\n{rows}\np40 = x\nsocket = %(p0)".encode())


def test_opened_and_never_closed(place):
    for opening in ("%(", "$(", "@(", "%(a", "((", "%(a + "):
        survives(place, b"[uwsgi]\na = " + opening.encode() * (900_000 // len(opening)))


def test_many_small_variables_in_one_value(place):
    survives(place, b"[uwsgi]\na = 1\nb = " + b"%(a)" * 200_000)


def test_many_magic_variables_in_one_value(place):
    survives(place, b"[uwsgi]\nb = " + b"%p" * 400_000)


def test_a_loop_over_a_large_value(place):
    survives(place, b"[uwsgi]\nfor-times = 100000000\na = " + b"x%(_)" * 100_000 + b"\nendfor")


def test_a_loop_of_includes(place):
    survives(place, b"[uwsgi]\nfor-times = 1000\nini = other.ini\nendfor", other=b"[uwsgi]\n" + b"a = 1\n" * 1000)


def test_a_chain_of_large_includes(place):
    data = b"[uwsgi]\n" + b"; filler\n" * 100_000
    survives(place, b"[uwsgi]\n" + b"ini = other.ini\n" * 99, other=data)


def test_many_unknown_names(place):
    survives(place, b"[uwsgi]\n" + b"".join(b"procesess%d = 1\n" % number for number in range(19_000)))


def test_deep_json(place):
    survives(place, b'{"uwsgi": ' + b"[" * 300_000, name="app.json")
    survives(place, b'{"uwsgi": {"a": ' + b'{"a":' * 5000 + b"1" + b"}" * 5002, name="app.json")
    survives(place, b'{"uwsgi": {"a": ' + b"9" * 10_000 + b"}}", name="app.json")
