"""Packets without sockets: what is remembered of one packet must never change what another one says."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vassal.protocol import Refused, Talk
from vassal.protocol.uwsgi import UwsgiProtocol, _keys, _split

NAMES = st.sampled_from(
    ["REQUEST_METHOD", "PATH_INFO", "REMOTE_PORT", "HTTP_HOST", "HTTP_COOKIE", "SERVER_PORT", "x.y"]
)
TRICK = "\x0b\x00REMOTE_PORT"
VALUES = st.sampled_from(
    ["", "GET", "/", "40001", "127.0.0.1", TRICK, TRICK + "\x01\x00", TRICK + "\x02\x001"]
) | st.text(st.characters(max_codepoint=255), max_size=20)
PACKETS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def packed(variables, modifier1: int = 0) -> bytes:
    fields = b""
    for name, value in variables:
        for text in (name, value):
            data = text.encode("latin-1")
            fields += len(data).to_bytes(2, "little") + data
    return bytes((modifier1,)) + len(fields).to_bytes(2, "little") + b"\0" + fields


def one_by_one(data: bytes):
    environ: dict[str, str] = {}
    return environ if _split(data, 4, len(data), environ) else None


def remembering(protocol: UwsgiProtocol, data: bytes):
    environ: dict[str, str] = {}
    try:
        protocol._read(data, len(data), environ)
    except Refused:
        return None
    return environ


@settings(max_examples=300, deadline=None)
@given(st.lists(PACKETS, min_size=1, max_size=5), st.data())
@example([[("HTTP_COOKIE", TRICK + "\x01\x00a"), ("REMOTE_PORT", "1")]] * 2, None)
def test_what_is_remembered_says_the_same_as_what_is_read(packets, data):
    protocol = UwsgiProtocol()
    for variables in packets + packets:
        raw = packed(variables)
        assert remembering(protocol, raw) == one_by_one(raw)
        if data is not None and len(raw) > 5:  # and a packet whose lengths lie
            cut = bytearray(raw)
            cut[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
            assert remembering(protocol, bytes(cut)) == one_by_one(bytes(cut))


def test_a_remembered_packet_is_not_changed_by_the_app():
    protocol = UwsgiProtocol()
    raw = packed([("REQUEST_METHOD", "GET"), ("REMOTE_PORT", "1"), ("HTTP_HOST", "a")])
    first = protocol.parse(raw, Talk({}))
    assert first is not None
    first[0].environ["HTTP_HOST"] = "changed"
    second = protocol.parse(raw, Talk({}))
    assert second is not None
    assert second[0].environ["HTTP_HOST"] == "a"


def test_what_is_remembered_is_bounded():
    protocol = UwsgiProtocol()
    for number in range(2000):
        path = [("REQUEST_METHOD", "GET"), ("PATH_INFO", f"/{number}"), ("REMOTE_PORT", "1"), ("HTTP_HOST", "a")]
        assert protocol.parse(packed(path), Talk({})) is not None
    assert len(protocol._kept) <= 128


def test_long_names_are_not_kept():
    """A web server passes on header names that its clients choose; those kept are never forgotten."""
    name = "HTTP_" + "A" * 9000
    parsed = UwsgiProtocol().parse(packed([("REQUEST_METHOD", "GET"), (name, "x")]), Talk({}))
    assert parsed is not None
    assert parsed[0].environ[name] == "x"
    assert name.encode() not in _keys


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        ("/wiki", "/wiki/Start", ("/wiki", "/Start")),
        ("/wiki", "/wiki", ("/wiki", "")),
        ("/wiki/", "/wiki/Start", ("/wiki", "/Start")),
        ("/wiki", "/wikis", ("/wiki", "/wikis")),
        ("/", "/a", ("", "/a")),
        (None, "/a", ("", "/a")),
    ],
)
def test_modifier_30_takes_the_scripts_name_off_the_path(script, path, expected):
    """What MoinMoin's, Trac's and many other guides write as ``uwsgi_modifier1 30``."""
    variables = [("REQUEST_METHOD", "GET"), ("PATH_INFO", path)]
    variables += [("SCRIPT_NAME", script)] if script is not None else []
    parsed = UwsgiProtocol().parse(packed(variables, 30), Talk({}))
    assert parsed is not None
    assert (parsed[0].environ["SCRIPT_NAME"], parsed[0].environ["PATH_INFO"]) == expected


@pytest.mark.parametrize("modifier1", [5, 31, 255])
def test_other_modifiers_are_refused_by_number(modifier1):
    with pytest.raises(Refused, match=f"modifier1 is {modifier1}"):
        UwsgiProtocol().parse(packed([("REQUEST_METHOD", "GET")], modifier1), Talk({}))
