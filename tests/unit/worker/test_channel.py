import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vassal import channel
from vassal.channel import Accept, ChannelError, Failed, Leaving, Loaded, Retire

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
messages = st.one_of(
    st.builds(Loaded),
    st.builds(Accept),
    st.builds(Leaving, reason=text, stuck=st.booleans()),
    st.builds(Failed, stage=text, reason=text, detail=text),
    st.builds(Retire, mercy=st.floats(0, 1e6)),
)


@given(messages)
def test_what_is_sent_is_received(message):
    assert channel.decode(channel.encode(message)) == message


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"type": "unknown"}',
        b'{"type": []}',
        b'{"type": "retire"}',
        b'{"type": "retire", "mercy": "5"}',
        b'{"type": "retire", "mercy": true}',
        b'{"type": "retire", "mercy": 1, "more": 2}',
        b'{"type": "leaving", "reason": 5}',
        b"[" * 60000,
    ],
)
def test_anything_else_is_an_error(packet):
    with pytest.raises(ChannelError):
        channel.decode(packet)


@pytest.mark.parametrize("character", ["a", "ä", "\U0001f600", "\x00", "\ud800"])
def test_a_packet_is_never_too_large(character):
    packet = channel.encode(Failed("load", character * 10**5, character * 10**6))
    assert len(packet) <= channel.MAX_PACKET
    assert isinstance(channel.decode(packet), Failed)


def test_sending_never_blocks():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            for _ in range(100_000):
                if not channel.send(ours, Leaving("x" * 1000)):
                    break
            else:
                pytest.fail("the socket never filled up")
            assert channel.receive(theirs) == Leaving("x" * 1000)
        assert not channel.send(ours, Loaded())


def test_receiving():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with pytest.raises(BlockingIOError):
            channel.receive(ours)
        with theirs:
            assert channel.send(theirs, Accept())
        assert channel.receive(ours) == Accept()
        assert channel.receive(ours) is None
