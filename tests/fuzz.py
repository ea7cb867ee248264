"""Hostile bytes for both protocols: ``python tests/fuzz.py [SECONDS]``, or ``make fuzz FUZZ_SECONDS=60``.

The targets take turns: the HTTP parser beside h11, and in pieces; chunked bodies and uwsgi packets beside models; and
whole connections, one or a crowd (a worker's loop with its threads, in this process) with apps that behave badly, too.
It fails on anything that is no answer: an exception, an error that the server logs about itself, a client that waits in
vain, a connection or descriptor that stays, memory that grows. The danger here is a fuzzer that only tests its own
rejection: so inputs are grown from valid requests, and each target counts how many it accepted.
"""

import faulthandler
import gc
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.clients import uwsgi_packet  # after the path
from tests.corpus_reader import cases
from tests.fuzz_server import FuzzServer
from tests.readings import LIMIT, ours, theirs
from vassal.body import Body
from vassal.protocol import CHUNKED, Answered, Refused, Talk
from vassal.protocol.uwsgi import UwsgiProtocol

BATCH = 150
"""Examples of one target before the next one has its turn."""
HANG = 180.0
"""Seconds that a batch may take; then all stacks are printed and the process ends."""
WARM_SHARE = 0.3
"""Share of the time after which memory is looked at first: caches are full then."""
GROWTH = 24 * 1024 * 1024
"""Bytes that may be added from then on: what the allocator keeps for itself differs by a few MiB."""

SEEDS = [case.raw for case in cases("valid") + cases("invalid") if len(case.raw) < 2000]
TOKENS = [
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"/ ", b"/read ", b"/partial ", b"/file ", b"/write ", b"/raise ",
    b"/stream ", b"/late ", b"/held ", b"* ", b"http://a/b ", b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"Host: x\r\n", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0\r\n\r\n", b"5\r\nhello\r\n", b"-1", b"0x5",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99999\r\n", b"hello",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
    b"Connection: keep-alive\r\n", b"Connection: upgrade\r\n", b"X-A: b\r\n", b"\xff", b"A" * 300, b"ffffffffffffffff",
]  # fmt: skip
PREFIXES = [
    b"%b %b HTTP/1.1\r\nHost: x\r\n%b" % (method, path, framing)
    for method in (b"GET", b"POST", b"HEAD")
    for path in (b"/", b"/read", b"/partial", b"/file", b"/write", b"/raise", b"/stream", b"/late", b"/large")
    for framing in (
        b"\r\n", b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", b"Connection: close\r\n\r\n",
    )
]  # fmt: skip
tokens = st.lists(st.sampled_from(TOKENS), max_size=25).map(b"".join)
cuts = st.lists(st.integers(1, 60), max_size=12)
counts: Counter[str] = Counter()
batched = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@st.composite
def mutated(draw, source):
    """Bytes of `source` with a few pieces removed, doubled, replaced or put in."""
    data = draw(source)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        new = draw(st.sampled_from([b"", data[at:end] * 2, *TOKENS]) | st.binary(max_size=4))
        data = data[:at] + new + data[end:]
    return data


LENGTHS = [
    b"Content-Length: 5", b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: +5", b"Content-Length:5 ",
    b"Content-Length: 5, 5", b"content-length: 6", b"Content-Length : 5", b"Content_Length: 5",
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding : chunked", b" folded",
]  # fmt: skip
OTHERS = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: h2c", b"Expect: 100-continue",
    b"Host: y", b"X: \xff", b"X: a\rb", b"X: a\nb", b"X: a\0b",
]  # fmt: skip
BODIES = [
    b"",
    b"hello",
    b"hell",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"6\r\nhello\r\n0\r\n\r\n",
]


@st.composite
def framed(draw):
    """A request whose framing is made of parts that do not belong together."""
    line = draw(
        st.sampled_from([b"POST /read HTTP/1.1", b"GET / HTTP/1.1", b"POST /partial HTTP/1.0", b"HEAD / HTTP/1.1"])
    )
    groups = [draw(st.lists(st.sampled_from(group), max_size=1)) for group in (LENGTHS, CODINGS, OTHERS)]
    fields = draw(st.permutations([field for group in groups for field in group]))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    return end.join([line, b"Host: x", *fields, b"", draw(st.sampled_from(BODIES))])


@st.composite
def repeated(draw):
    """Requests of one connection with the same fields, as a browser or a proxy sends them: fields that are known."""
    fields = draw(st.sampled_from([b"", b"X-A: b\r\n", b"Connection: keep-alive\r\n", b"Cookie: a=b; c=d\r\n"]))
    length = draw(st.sampled_from([b"", b"Content-Length: 5\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"]))
    made = b""
    for _ in range(draw(st.integers(2, 6))):
        method = draw(st.sampled_from([b"POST", b"POST", b"PUT", b"GET", b"HEAD", b"OPTIONS"]))
        target = draw(
            st.sampled_from([b"/read", b"/", b"/?", b"/read?", b"/read?a=?", b"/%2f", b"/held", b"*", b"http://a/"])
        )
        made += method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n" + fields + length + b"\r\n"
        made += draw(st.sampled_from([b"hello", b"\r\n\r\nX", b"GET /"])) if b"5" in length else b""
    return made


requests = framed() | st.sampled_from(PREFIXES) | mutated(st.sampled_from(PREFIXES)) | mutated(st.sampled_from(SEEDS))
whole = st.lists(requests, min_size=1, max_size=4).map(b"".join)
cut_short = st.tuples(requests, st.integers(1, 60)).map(lambda made: made[0][: -made[1]])
alike = repeated() | repeated() | mutated(repeated())
streams = st.one_of(whole, whole, alike, alike, cut_short, cut_short, tokens | st.binary(max_size=200))


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut `data` into pieces of these sizes and a rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in (*pieces, data) if piece]


# --- the targets -----------------------------------------------------------------------------------------------------


@batched
@given(streams)
def http_beside_h11(data):
    """Neither reader may see another request than the other one where both see one."""
    mine, other = ours(data), theirs(data)
    counts["HTTP requests accepted"] += len(mine.requests)
    both = min(len(mine.requests), len(other.requests))
    assert mine.requests[:both] == other.requests[:both]


@batched
@given(streams, cuts)
def http_in_pieces(data, sizes):
    """Where a read ends tells nothing about the requests."""
    pieces = in_pieces(data, sizes)
    in_parts, at_once = ours(*pieces), ours(data)
    assert in_parts == at_once
    counts["HTTP requests in pieces"] += len(in_parts.requests)


@st.composite
def chunked(draw):
    """(the bytes of a chunked body, what it decodes to)."""
    wire, plain = b"", b""
    for piece in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b c"'])) % len(piece)
        wire += size + b"\r\n" + piece + b"\r\n"
        plain += piece
    trailer = draw(st.sampled_from([b"", b"", b"X-A: b\r\n"]))
    return wire + b"0\r\n" + trailer + b"\r\n", plain


def decoded(data: bytes, sizes: list[int]) -> tuple[bytes | None, bytes | int | None]:
    """(the body or None, what follows it; None: it is incomplete; or the status it is refused with)."""
    body = Body(CHUNKED, in_memory=50, limit=LIMIT)
    try:
        pieces = in_pieces(data, sizes)
        for number, piece in enumerate(pieces):
            rest = body.feed(piece)
            if rest is not None:
                return body.open().read(), rest + b"".join(pieces[number + 1 :])
        return None, None
    except Refused as refused:
        return None, refused.status
    finally:
        body.close()


@batched
@given(chunked(), st.binary(max_size=20), cuts, st.data())
def chunked_beside_a_model(made, behind, sizes, data):
    """What is valid decodes to what went in; what is not is the same in any pieces."""
    wire, plain = made
    assert decoded(wire + behind, sizes) == (plain, behind)
    counts["chunked bodies decoded"] += 1
    odd = data.draw(mutated(st.just(wire + behind)))
    assert decoded(odd, sizes) == decoded(odd, [])


names = st.sampled_from(
    [
        "REQUEST_METHOD",
        "PATH_INFO",
        "CONTENT_LENGTH",
        "SERVER_PROTOCOL",
        "HTTP_HOST",
        "HTTPS",
        "UWSGI_FILE",
        "wsgi.input",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=20)
values = st.sampled_from(["GET", "POST", "/", "/read", "/stream", "5", "-1", "", "on"]) | st.text(
    st.characters(max_codepoint=255), max_size=30
)


@st.composite
def packets(draw):
    """A uwsgi packet, most of them near to valid."""
    found = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", **draw(st.dictionaries(names, values, max_size=5))}
    whole = uwsgi_packet(found, modifier1=draw(st.sampled_from([0, 0, 0, 0, 100, 5]))) + draw(st.binary(max_size=30))
    return draw(st.just(whole) | mutated(st.just(whole)))


@batched
@given(packets() | st.binary(min_size=1, max_size=100))
def uwsgi_packet_alone(data):
    """A request, a refusal or None; nothing from the wire replaces an object of ours."""
    if not data:
        return
    try:
        parsed = UwsgiProtocol(limit_post=1000).parse(data, Talk({"wsgi.input": None}))
    except (Refused, Answered):
        return
    if parsed is not None:
        counts["uwsgi requests accepted"] += 1
        request, rest = parsed
        assert request.environ["wsgi.input"] is None
        assert "UWSGI_FILE" not in request.environ
        assert data.endswith(rest)


PORT = b"\x0b\x00REMOTE_PORT"
WORDS = [
    b"REMOTE_PORT",
    b"REQUEST_METHOD",
    b"HTTP_COOKIE",
    b"",
    b"GET",
    b"1",
    PORT,
    PORT + b"\x01\x00",
    b"x" + PORT + b"\x02\x001",
]
variables = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS) | st.binary(max_size=6)), max_size=8)
REMEMBERS = UwsgiProtocol()


def one_by_one(data: bytes) -> dict[str, str] | None:
    """The variables of a packet; None: its lengths lie."""
    found, position = {}, 4
    while position < len(data):
        pair = []
        for _ in range(2):
            size = int.from_bytes(data[position : position + 2], "little")
            if position + 2 + size > len(data):
                return None
            pair.append(data[position + 2 : position + 2 + size].decode("latin-1"))
            position += 2 + size
        name, value = pair
        if name and "." not in name and "\0" not in name:
            found[name] = value
    return found


@batched
@given(st.lists(variables, min_size=1, max_size=4), st.integers(0, 400), st.integers(0, 255))
def uwsgi_packets_beside_a_model(packets_, at, value):
    """What is remembered of thousands of packets says of the next one what stands in it."""
    for pairs in packets_ * 2:
        fields = b"".join(len(word).to_bytes(2, "little") + word for pair in pairs for word in pair)
        good = b"\0" + len(fields).to_bytes(2, "little") + b"\0" + fields
        lies = bytearray(good)
        if at + 4 < len(lies):
            lies[at + 4] = value
        for data in (good, bytes(lies)):
            found: dict[str, str] | None = {}
            try:
                REMEMBERS._read(data, len(data), found)
            except Refused:
                found = None
            assert found == one_by_one(data), data
            counts["uwsgi packets read"] += found is not None


def crowd(server: FuzzServer) -> Callable[[], None]:
    """Make the target in which several clients ask at once: their answers wait for each other, and are not mixed up."""

    @batched
    @given(
        st.lists(st.tuples(st.sampled_from([b"/read", b"/held", b"/late-close"]), st.integers(1, 5), cuts), max_size=5),
        streams,
    )
    def target(clients, noise):
        asked, expected = [], []
        for number, (path, count, sizes) in enumerate(clients):
            bodies = [b"%d-%d" % (number, n) for n in range(count)]
            head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
            asked.append(in_pieces(b"".join(head + body for body in bodies), sizes))
            expected.append(bodies)
        answers = server.ask_all([*asked, [noise] if noise else []])
        for bodies, answer in zip(expected, answers, strict=False):
            assert read_bodies(answer) == bodies, answer
            counts["crowd: responses"] += len(bodies)

    return target


def read_bodies(answer: bytes) -> list[bytes]:
    """The bodies of responses with a length each."""
    bodies = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        size = int(re.search(rb"Content-Length: ([0-9]+)", head)[1])
        bodies.append(answer[:size])
        answer = answer[size:]
    return bodies


def connection(server: FuzzServer, source: st.SearchStrategy[bytes], name: str) -> Callable[[], None]:
    """Make the target that sends bytes to a whole server."""

    @batched
    @given(source, cuts, st.sampled_from(["patient", "patient", "patient", "leaves", "resets"]))
    def target(data, sizes, manner):
        answers = server.ask(in_pieces(data, sizes), manner)
        counts[f"{name}: responses"] += answers.count(b"HTTP/1.1 ")
        assert manner != "patient" or answers[:9] in (b"", b"HTTP/1.1 ") or answers == b"\x64\x00\x00\x01", answers

    return target


# --- the run ---------------------------------------------------------------------------------------------------------


def batch(target: Callable[[], None], number: int) -> None:
    """Run one target for `BATCH` examples, made from `number`."""
    faulthandler.dump_traceback_later(HANG, exit=True)
    seed(number)(target)()
    faulthandler.cancel_dump_traceback_later()


def size() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return psutil.Process().memory_info().rss


def run(seconds: float, first: int) -> None:
    """Fuzz for so long; `first` is the first seed.

    Raises:
        AssertionError: something is wrong; hypothesis has printed the smallest example that it found.
    """
    with FuzzServer("http") as http, FuzzServer("uwsgi") as uwsgi:
        targets = [
            http_beside_h11,
            http_in_pieces,
            chunked_beside_a_model,
            uwsgi_packet_alone,
            uwsgi_packets_beside_a_model,
            crowd(http),
            connection(http, streams, "HTTP connections"),
            connection(uwsgi, packets() | st.binary(max_size=100), "uwsgi connections"),
        ]
        began = time.monotonic()
        before, rounds = 0, 0
        while (passed := time.monotonic() - began) < seconds:
            for target in targets:
                batch(target, first + rounds)
            rounds += 1
            http.check()
            uwsgi.check()
            if not before and passed > seconds * WARM_SHARE:
                before = size()
        after = size()
        examples = rounds * BATCH * len(targets)
        growth = f", {(after - before) / 2**20:+.1f} MiB" if before else ""
        print(f"{examples} examples in {passed:.0f} s{growth}; " + "; ".join(f"{v} {k}" for k, v in counts.items()))
        assert not before or after - before < GROWTH, f"memory grew from {before} to {after} bytes"
        assert all(counts[key] for key in counts), counts


def main() -> None:
    """Read the arguments: seconds, then a seed."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    first = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"Fuzzing for {seconds:g} s, seed {first} (again: {sys.argv[0]} {seconds:g} {first})", flush=True)
    run(seconds, first)
    sys.stdout.flush()
    os._exit(0)  # threads that a failed example left behind must not keep us


if __name__ == "__main__":
    main()
