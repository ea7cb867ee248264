import pytest
from hypothesis import given
from hypothesis import strategies as st

from vassal.heads import BadResponse, BodylessLine, HeaderLines, Special, Stamp, StatusLines, error_page, make_line


class Safe(str):
    """A string as Django marks them."""

    __slots__ = ()

    def __str__(self):
        return self


def test_status_lines():
    lines = StatusLines()
    assert lines["200 OK"] == b"HTTP/1.1 200 OK\r\n"
    assert lines[Safe("202 Accepted")] == b"HTTP/1.1 202 Accepted\r\n"
    assert lines["299"] == b"HTTP/1.1 299 \r\n"
    assert lines["404 Nicht gefunden, schön"] == "HTTP/1.1 404 Nicht gefunden, schön\r\n".encode("latin-1")
    assert isinstance(lines["204 No Content"], BodylessLine)
    assert isinstance(lines["304 Not Modified"], BodylessLine)
    assert not isinstance(lines["200 OK"], BodylessLine)


@pytest.mark.parametrize(
    "status",
    [
        "",
        "OK",
        "100 Continue",
        "600 X",
        "20 OK",
        "2000 OK",
        "200OK",
        "200 O\r\nK",
        "200 \0",
        "200 €",
        "²00 OK",
        b"200 OK",
        200,
    ],
)
def test_bad_statuses(status):
    with pytest.raises(BadResponse):
        StatusLines()[status]


@given(st.text(max_size=20), st.text(max_size=30))
def test_a_line_is_exactly_one_line(name, value):
    try:
        made = make_line((name, value))
    except BadResponse:
        return
    line = made.line if isinstance(made, Special) else made
    assert line == f"{name}: {value}\r\n".encode("latin-1")
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert b"\0" not in line


@pytest.mark.parametrize(
    "pair",
    [
        ("", "a"),
        ("A B", "a"),
        ("A:", "a"),
        ("Ä", "a"),
        ("A", "a\r\nB: c"),
        ("A", "a\n"),
        ("A", "\0"),
        ("A", "€"),
        ("A", 1),
        (b"A", "a"),
        ("A",),
        ("A", "b", "c"),
    ],
)
def test_bad_headers(pair):
    with pytest.raises(BadResponse):
        HeaderLines()[pair]


@pytest.mark.parametrize("value", ["", "-1", "+1", "1_0", "1 2", "\xa01", "\uff11", "1.0", "9" * 30, "x"])
def test_bad_lengths(value):
    with pytest.raises(BadResponse):
        make_line(("Content-Length", value))


def test_private_values_are_not_kept():
    kept = HeaderLines()
    assert kept["Content-Type", "text/plain"] == b"Content-Type: text/plain\r\n"
    assert kept["Set-Cookie", "secret"] == b"Set-Cookie: secret\r\n"
    assert set(kept) == {("Content-Type", "text/plain")}


def test_what_is_kept_is_bounded():
    kept, statuses = HeaderLines(), StatusLines()
    for number in range(5000):
        assert kept["X-Number", str(number)]
        assert statuses[f"200 {number}"]
    assert len(kept) < 2000
    assert len(statuses) < 2000


def test_our_own_fields():
    stamp = Stamp(("X-Frame-Options: DENY",))
    assert b"X-Frame-Options: DENY\r\n" in stamp.keep
    assert stamp.keep.endswith(b"\r\n\r\n")
    assert b"Connection: close\r\n" in stamp.close
    assert b"Connection: keep-alive\r\n" in stamp.keep_old
    assert b"Date" not in stamp.fields(date=False, server=True, connection=b"")


@pytest.mark.parametrize("line", ["no colon", "A B: c", "X: a\r\nb", "Content-Length: 5", "Date: now"])
def test_bad_add_header(line):
    with pytest.raises(BadResponse):
        Stamp((line,))


@pytest.mark.parametrize("status", [400, 404, 408, 413, 431, 500, 501, 504, 505, 599])
def test_error_pages(status):
    head, body = error_page(status)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}\r\n".encode() in head
