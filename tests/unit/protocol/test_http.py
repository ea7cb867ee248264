"""The parser without sockets: what tests/corpus/http cannot say."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vassal.protocol.http as http_module
from tests.corpus_reader import cases
from vassal.body import Body
from vassal.protocol import CHUNKED, Refused, Talk
from vassal.protocol.http import HttpProtocol, check_httptools

FACTS = {"SCRIPT_NAME": "", "wsgi.url_scheme": "http"}


def protocol(**limits):
    return HttpProtocol(**{"buffer_size": 32768, **limits})


def outcomes(data: bytes, pieces: list[int], *, limit: int = 1 << 20) -> list[object]:
    """What a connection makes of `data` in pieces: (method, URI, body) of each request, a status last."""
    http, talk = protocol(limit_post=limit), Talk(FACTS)
    found: list[object] = []
    buffer, body, request = b"", None, None
    position = 0
    sizes = iter(pieces)
    try:
        while position < len(data) or buffer:
            before = (position, buffer, body)
            size = next(sizes, len(data))
            piece, position = data[position : position + size], position + size
            if body is None:
                parsed = http.parse(buffer + piece, talk) if buffer + piece else None
                if parsed is None:
                    buffer += piece
                else:
                    request, buffer = parsed
                    body = Body(request.length, in_memory=100, limit=limit)
                    rest = body.feed(buffer) if request.length else buffer
                    buffer = b"" if rest is None else rest
            else:
                rest = body.feed(piece)
                buffer = b"" if rest is None else rest
            if body is not None and rest is not None:
                found.append((request.environ["REQUEST_METHOD"], request.environ["REQUEST_URI"], body.open().read()))
                if not request.keep_alive:
                    return found
                body.close()
                body = None
            if (position, buffer, body) == before or (position >= len(data) and (body is not None or parsed is None)):
                break
    except Refused as refused:
        found.append(refused.status)
    finally:
        if body is not None:
            body.close()
    return found


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_pieces_make_no_difference(data):
    case = data.draw(st.sampled_from([c for c in cases("valid") + cases("invalid") if len(c.raw) < 2000]))
    whole = outcomes(case.raw, [])
    sizes = data.draw(st.lists(st.integers(1, 40), max_size=60))
    assert outcomes(case.raw, sizes) == whole


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_heads_that_are_known_are_read_as_if_they_were_not(data):
    """What a connection remembers of its last head must never change what the next one says."""
    http, talk = protocol(limit_post=1000), Talk(FACTS)
    lines = st.sampled_from([b"GET / ", b"POST /a?b=1 ", b"PUT /%20 ", b"GET * ", b"OPTIONS * ", b"HEAD / ", b"get / "])
    tails = st.sampled_from(
        [
            b"HTTP/1.1\r\nHost: x\r\n\r\n",
            b"HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
            b"HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            b"HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0\r\nContent-Length: 3\r\n\r\n",
            b"HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        ]
    )
    rests = st.sampled_from(
        [b"", b"abc", b"HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", b"abcGET / HTTP/1.1\r\n\r\n"]
    )
    for line, tail, rest in data.draw(st.lists(st.tuples(lines, tails, rests), min_size=2, max_size=6)):
        raw = line + tail + rest
        assert reading(http, raw, talk) == reading(http, raw, Talk(FACTS))


def reading(http, raw, talk):
    try:
        parsed = http.parse(raw, talk)
    except Refused as refused:
        return refused.status
    if parsed is None:
        return None
    request, rest = parsed
    about = request.length, request.keep_alive, request.old, request.head_only, request.expects, request.plain
    return request.environ, about, rest


WORDS = (
    b"GET |POST |/ |HTTP/1.1|HTTP/1.0|\r\n|\n|\r| |\t|\0|Host: x|Host:|:|Content-Length: |5|0|Transfer-Encoding: |"
    b"chunked|, |hello|X-A: b|\xff|Connection: close"
).split(b"|")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join))
def test_arbitrary_bytes_make_requests_or_refusals_and_nothing_else(data):
    for outcome in outcomes(data, [7, 1, 30, 2]):
        assert isinstance(outcome, (tuple, int))


def test_the_environ_is_a_copy():
    http, talk = protocol(), Talk(FACTS)
    for _ in range(4):  # read in full, then by what is known
        request, rest = http.parse(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", talk)
        assert rest == b""
        request.environ["wsgi.url_scheme"] = "changed"
        request.environ["HTTP_HOST"] = "changed"
        request.environ["EXTRA"] = "x"
    fresh, _ = http.parse(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", talk)
    assert fresh.environ["wsgi.url_scheme"] == "http"
    assert fresh.environ["HTTP_HOST"] == "x"
    assert fresh.environ["QUERY_STRING"] == ""
    assert "EXTRA" not in fresh.environ
    assert FACTS == {"SCRIPT_NAME": "", "wsgi.url_scheme": "http"}


TARGETS = ["/", "/a", "/a?b", "/%41?", "*", "http://y/z", "/a b", "/\0"]
FIELDS = [
    "Host: x",
    "Host: z",
    "X-A: b",
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "X_A: b",
]
HEADS = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "FOO"]),
    st.sampled_from(TARGETS),
    st.sampled_from(["1.1", "1.0", "1.2"]),
    st.just(["Host: x"])
    | st.lists(st.sampled_from([*FIELDS, "Content-Length: 0", "X-Forwarded-Proto: https"]), max_size=4),
)
PLAIN = ("1.1", ["Host: x"])


@settings(max_examples=100, deadline=None)
@given(st.lists(HEADS, max_size=6))
@example([("GET", target, *PLAIN) for target in ("/a", "/a", "/a?", "/?", "/a?b", "/")])
def test_what_is_remembered_of_a_connection_changes_nothing(heads):
    """A connection that remembers its last fields must read each head as one that remembers nothing."""
    talk = Talk(FACTS)
    http = protocol()
    for method, target, version, fields in heads:
        raw = f"{method} {target} HTTP/{version}\r\n".encode() + b"".join(f"{f}\r\n".encode() for f in fields) + b"\r\n"
        assert _seen(http, raw, talk) == _seen(protocol(), raw, Talk(FACTS))


def _seen(http, raw, talk):
    try:
        request, rest = http.parse(raw, talk)
    except Refused as refused:
        return refused.status
    flags = ("length", "keep_alive", "old", "chunks", "head_only", "expects", "plain")
    return request.environ, rest, [getattr(request, flag) for flag in flags]


def test_the_framing_of_a_request():
    http = protocol(limit_post=100)
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    assert http.parse(head + b"Content-Length: 7\r\n\r\nabc", Talk(FACTS))[0].length == 7
    assert http.parse(head + b"Transfer-Encoding: chunked\r\n\r\n", Talk(FACTS))[0].length == CHUNKED
    with pytest.raises(Refused) as caught:
        http.parse(head + b"Content-Length: 101\r\n\r\n", Talk(FACTS))
    assert caught.value.status == 413


@pytest.mark.parametrize("before", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" * 3])
def test_a_head_byte_by_byte_is_not_read_again_for_each(monkeypatch, before):
    """A large head in tiny pieces would else cost a second of a processor."""
    http, talk = protocol(), Talk(FACTS)
    while before:
        request, before = http.parse(before, talk)
    looked_at = 0
    search, line = http_module._BARE, http_module._REQUEST_LINE

    def bare(data, start=0):
        nonlocal looked_at
        looked_at += len(data) - start
        return search(data, start)

    def request_line(data):
        nonlocal looked_at
        looked_at += data.find(b"\n")
        return line(data)

    monkeypatch.setattr(http_module, "_BARE", bare)
    monkeypatch.setattr(http_module, "_REQUEST_LINE", request_line)
    head = b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200
    for size in range(1, len(head) + 1):
        assert http.parse(head[:size], talk) is None
    assert looked_at < 8 * len(head)
    request, rest = http.parse(head + b"\r\nrest", talk)
    assert (request.environ["HTTP_HOST"], rest) == ("x", b"rest")
    assert http.parse(b"GET / HTTP/1.1\r\nHost: y\r\n\r\n", talk)[0].environ["HTTP_HOST"] == "y"


def test_what_clients_choose_is_not_kept_without_bounds():
    """Names and hosts are remembered for good, the fields of a connection as long as it lives."""
    http, talk = protocol(), Talk(FACTS)
    long = b"a" * 9000
    for _ in range(3):
        http.parse(b"GET / HTTP/1.1\r\nHost: " + long + b"\r\n" + long + b": b\r\n\r\n", talk)
    assert long.decode() not in http_module._good_hosts
    assert long not in http_module._keys
    assert talk.tail == b""


def test_buffer_size_bounds_a_head():
    http = protocol(buffer_size=100)
    assert http.parse(b"GET /" + b"a" * 60 + b" HTTP/1.1\r\n", Talk(FACTS)) is None
    line, field = b"GET /" + b"a" * 100, b"GET / HTTP/1.1\r\nA: " + b"a" * 100
    for raw, status in (
        (line, 414),
        (line + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (field, 431),
        (field + b"\r\nHost: x\r\n\r\n", 431),
    ):
        with pytest.raises(Refused) as caught:
            http.parse(raw, Talk(FACTS))
        assert caught.value.status == status


@pytest.mark.parametrize("version", ["0.1.1", "0.5.0", "0.6.3"])
def test_an_old_httptools_is_refused_by_name(version):
    problem = check_httptools(version)
    assert version in problem
    assert "httptools>=0.6.4" in problem


@pytest.mark.parametrize("version", [None, "0.6.4", "0.7.1", "0.9.0", "1.0", "0.10.0.dev1"])
def test_a_good_httptools(version):
    assert check_httptools(version) is None


# --- chunked bodies ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=12),
    st.binary(max_size=20),
    st.lists(st.integers(1, 50), max_size=50),
)
def test_chunks_in_any_pieces(chunks, after, sizes):
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n" + after
    body = Body(CHUNKED, in_memory=1000)
    position, rest = 0, None
    for size in [*sizes, len(raw)]:
        rest = body.feed(raw[position : position + size])
        position += size
        if rest is not None:
            break
    assert rest is not None
    assert rest + raw[position:] == after
    assert body.open().read() == b"".join(chunks)
    body.close()
