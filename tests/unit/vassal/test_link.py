"""The link: what may travel on it, and what a hostile end achieves."""

import contextlib
import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vassal import link


@pytest.fixture
def ends():
    ours, theirs = link.pair()
    closed: list[int] = []

    def close(fd: int) -> None:
        closed.append(fd)
        os.close(fd)

    emperor = link.End(ours, link.AT_EMPEROR, close_fd=close)
    yield emperor, theirs, closed
    emperor.close()
    theirs.close()


def examples():
    return [
        link.Hello(1),
        link.Facts(1000, 60, "drain", ("/a.ini",), ("note",)),
        link.Listening((), ()),
        link.Ready(2, 10, 60, cheap=False),
        link.Failed("load", "why", "trace"),
        link.Stats(1, 2, (3,), 4, 5),
        link.Released(7, ("job",)),
        link.ReloadWanted("HUP"),
        link.Parking(12),
    ]


@pytest.mark.parametrize("record", examples(), ids=lambda record: record.NAME)
def test_every_record_arrives_as_it_was_sent(ends, record):
    emperor, theirs, _ = ends
    theirs.send(link.encode(record))
    assert emperor.read() == (record, ())
    assert emperor.read() is None


def test_a_contract_brings_its_descriptors(tmp_path):
    ours, theirs = link.pair()
    vassal = link.End(theirs, link.AT_VASSAL)
    emperor = link.End(ours, link.AT_EMPEROR)
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        contract = link.Contract("serve", "blog", 1, "/x.ini", (1, 2, 3, 4, 5), log=True, environment={"A": "b"})
        emperor.post(contract, (log.fileno(),))
        record, fds = vassal.read()
        assert record == contract
        assert os.fstat(fds[0]).st_ino == os.fstat(log.fileno()).st_ino
        assert not os.get_inheritable(fds[0])
        os.close(fds[0])
    emperor.close()
    with pytest.raises(link.LinkClosed):
        vassal.read()
    vassal.close()


HOSTILE = {
    "not json": b"\xff\xfe",
    "an array": b"[]",
    "no type": b"{}",
    "a type that is a list": b'{"type":["hello"]}',
    "an unknown type": b'{"type":"surprise"}',
    "only for the other direction": b'{"type":"activate"}',
    "a missing field": b'{"type":"hello"}',
    "an extra field": b'{"type":"hello","protocol":1,"more":1}',
    "a boolean for an integer": b'{"type":"hello","protocol":true}',
    "a huge integer": b'{"type":"hello","protocol":99999999999999999999999}',
    "a float": b'{"type":"hello","protocol":1.0}',
    "a string for a list": b'{"type":"stats","workers":1,"requests":1,"pids":"12"}',
    "a list of strings": b'{"type":"stats","workers":1,"requests":1,"pids":["12"]}',
    "deep nesting": b'{"type":"hello","protocol":' + b"[" * 60_000,
    "NaN": b'{"type":"hello","protocol":NaN}',
}


@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_record_is_an_error(ends, packet):
    emperor, theirs, _ = ends
    theirs.send(packet)
    with pytest.raises(link.LinkError):
        emperor.read()


@given(
    st.binary(max_size=400)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_bytes_raise_anything_else(packet):
    with contextlib.suppress(link.LinkError):
        link.decode(packet, link.AT_EMPEROR)


def test_an_oversized_packet_is_an_error(ends):
    emperor, theirs, _ = ends
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    theirs.send(b"x" * (link.MAX_PACKET + 10))
    with pytest.raises(link.LinkError, match="larger"):
        emperor.read()


def test_descriptors_that_nobody_asked_for_are_disposed_of(ends):
    emperor, theirs, closed = ends
    before = set(os.listdir("/proc/self/fd"))
    with open("/dev/null", "rb") as null:
        socket.send_fds(theirs, [link.encode(link.Hello(1))], [null.fileno()] * 3)
    with pytest.raises(link.LinkError, match="descriptors"):
        emperor.read()
    assert len(closed) == 3
    assert set(os.listdir("/proc/self/fd")) == before


def test_more_descriptors_than_fit_are_an_error_and_none_leaks(ends):
    emperor, theirs, _ = ends
    before = set(os.listdir("/proc/self/fd"))
    with open("/dev/null", "rb") as null:
        socket.send_fds(theirs, [link.encode(link.Listening((), ()))], [null.fileno()] * (link.MAX_FDS + 20))
    with pytest.raises(link.LinkError, match="lost"):
        emperor.read()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_reader_that_does_not_read_is_given_up(ends):
    emperor, _, _ = ends

    def flood():
        for _ in range(100_000):
            emperor.post(link.Report())

    with pytest.raises(link.LinkError, match="does not read"):
        flood()


def test_failures_are_cut_to_a_packet():
    failed = link.failure("load", "a\nb" * 5000, "\u20ac" * 200_000)
    assert len(link.encode(failed)) <= link.MAX_PACKET
    assert "\n" not in failed.reason


def test_closing_is_told_after_everything_was_read(ends):
    emperor, theirs, _ = ends
    theirs.send(link.encode(link.Hello(1)))
    theirs.close()
    assert emperor.read() == (link.Hello(1), ())
    with pytest.raises(link.LinkClosed):
        emperor.read()
