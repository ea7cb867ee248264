"""What the static options decide: paths, order, forms, conditions, ranges. No file is served here."""

import os
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker_settings import WorkerSettings
from vassal.config import load_vassal
from vassal.static.choice import UNKNOWN, Types, codings
from vassal.static.opening import Roots, look
from vassal.static.ranges import MOST, Facts, Verdict, judge, parse_range
from vassal.static.rules import Root, Rules, acceptable, compile_rules, contains

MTIME = 1_700_000_000
FACTS = Facts(1000, MTIME, '"tag"')


# --- paths ---------------------------------------------------------------------------------------------------------

WORD = st.sampled_from(["a", "..", ".", "", "...", "..a", "%2e%2e", "%2f", "%00", "static", "static-private", "%252e"])
TARGETS = st.lists(WORD, max_size=8).map(lambda words: "/" + "/".join(words))


def decoded(target):
    return unquote_to_bytes(target).decode("latin-1")


@given(TARGETS)
def test_no_acceptable_path_leads_out_of_its_root(target):
    path = decoded(target)
    if not acceptable(path, target):
        return
    rules = Rules(roots=(Root("/static", b"/srv/s"), Root("", b"/srv/all"), Root("/static", b"/srv/w", whole=True)))
    for root, rest in rules.candidates(path):
        assert rest == b"" or rest[:1] == b"/"
        real = os.path.normpath(root + rest)
        assert contains(root, real), (target, root, rest)


@given(TARGETS)
def test_what_climbs_or_hides_a_slash_is_not_acceptable(target):
    path = decoded(target)
    segments = path.split("/")
    if ".." in segments or "." in segments or "\0" in path or "%2f" in target or "%00" in target:
        assert not acceptable(path, target)


@given(st.text(alphabet="/.a\0%2fF", max_size=12))
def test_any_text_is_judged(text):
    assert acceptable(text, text) in (True, False)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/a b", "/a%20b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b", "/a..b"),
        ("/a", "/a?x=%2f%00"),
        ("/%", "/%25"),
    ],
)
def test_harmless_paths_are_acceptable(path, uri):
    assert acceptable(path, uri)


def test_a_prefix_ends_where_a_name_ends():
    rules = Rules(roots=(Root("/static", b"/srv/s"),))
    assert list(rules.candidates("/static/x")) == [(b"/srv/s", b"/x")]
    assert list(rules.candidates("/static")) == [(b"/srv/s", b"")]
    assert list(rules.candidates("/static-private/x")) == list(rules.candidates("/statics")) == []


def test_the_docroot_must_be_absolute():
    rules = Rules(docroot=True)
    assert list(rules.candidates("/x", "/srv/")) == [(b"/srv", b"/x")]
    assert list(rules.candidates("/x", "srv")) == list(rules.candidates("/x", "")) == []


@pytest.mark.parametrize(
    ("root", "real", "inside"),
    [
        (b"/srv", b"/srv/a", True), (b"/srv", b"/srv", True), (b"/srv", b"/srv-private/a", False),
        (b"/", b"/etc", True),
        (b"/srv", b"/", False), (b"/srv/a", b"/srv", False),
    ],
)  # fmt: skip
def test_contains(root, real, inside):
    assert contains(root, real) is inside


def test_maps_keep_the_order_of_the_file(tmp_path):
    file = tmp_path / "v.ini"
    file.write_text(
        "[uwsgi]\nhttp-socket = :1\nstatic-map2 = /a=/one\nstatic-map = /a/=two/\n"
        "check-static = /all\nstatic-map2 = /b=/\n"
    )
    settings = load_vassal(str(file), environ={}).settings
    rules = compile_rules(settings, "/base")
    assert rules.roots == (
        Root("", b"/all"), Root("/a", b"/one", whole=True), Root("/a", b"/base/two"), Root("/b", b"", whole=True),
    )  # fmt: skip
    assert list(rules.candidates("/a/x"))[1:] == [(b"/one", b"/a/x"), (b"/base/two", b"/x")]
    assert list(rules.candidates("/b/x"))[1:] == [(b"", b"/b/x")]


def test_nothing_named_is_nothing_to_serve():
    assert not compile_rules(WorkerSettings(static_index=("index.html",)), "/").any


def test_expiries_are_searched_and_types_are_compared():
    rules = compile_rules(
        WorkerSettings(
            static_expires=((r"\.woff2$", 1),),
            static_expires_uri=(("/static/build/*", 2),),
            static_expires_path_info_mtime=(("^/exact$", 3),),
            static_expires_type=(("text/css", 4),),
        ),
        "/",
    )

    def age(name, path="", uri="", kind=""):
        rule = rules.expiry(name, path, uri, kind)
        return rule and (rule.age, rule.from_change)

    assert age(b"/srv/x.woff2") == (1, False)
    assert age(b"/srv/x", uri="/prefix/static/build/a.js?v=1") == (2, False)
    assert age(b"/srv/x", path="/exact") == (3, True)
    assert age(b"/srv/x", kind="text/css") == (4, False)
    assert age(b"/srv/x", kind="text/css2") is None
    assert age(b"/srv/x\xff") is None


# --- the file system -----------------------------------------------------------------------------------------------


def test_look_tells_what_is_there(tmp_path):
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "p")
    found = look(bytes(tmp_path / "l"))
    assert found.regular
    assert found.real == bytes((tmp_path / "f").resolve())
    fd = found.open()
    found.close()
    found.close()
    assert os.read(fd, 9) == b"x"
    os.close(fd)
    pipe = look(bytes(tmp_path / "p"))
    assert not pipe.regular
    assert not pipe.directory
    pipe.close()
    assert look(bytes(tmp_path / "none")) is None
    assert look(bytes(tmp_path / "f" / "x")) is None
    assert look(b"/\0") is None


def test_a_link_that_changes_after_the_look_changes_nothing(tmp_path):
    (tmp_path / "in").write_text("in")
    (tmp_path / "out").write_text("out")
    link = tmp_path / "l"
    link.symlink_to("in")
    found = look(bytes(link))
    link.unlink()
    link.symlink_to("out")
    fd = found.open()
    found.close()
    assert os.read(fd, 9) == b"in"
    os.close(fd)


def test_roots_follow_their_links(tmp_path):
    for name in ("one", "two", "safe"):
        (tmp_path / name).mkdir()
    root = tmp_path / "current"
    root.symlink_to("one")
    real = {name: bytes((tmp_path / name).resolve()) for name in ("one", "two", "safe")}
    roots = Roots([bytes(tmp_path / "safe")])
    assert roots.holds(bytes(root), real["one"] + b"/x", 0.0)
    assert not roots.holds(bytes(root), real["two"] + b"/x", 0.1)
    assert roots.holds(bytes(root), real["safe"] + b"/x", 0.1)
    root.unlink()
    root.symlink_to("two")
    assert roots.holds(bytes(root), real["two"] + b"/x", 0.2)
    assert not roots.holds(bytes(root), real["one"] + b"/x", 9.0)
    assert not roots.holds(bytes(tmp_path / "gone"), real["one"], 9.0)


# --- forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("gzip", ["gzip"]), ("gzip, deflate, br, zstd", ["br", "zstd", "gzip"]), ("", []), ("identity", []),
        ("gzip;q=1.0, br;q=0.5", ["gzip", "br"]), ("gzip;q=0", []), ("*", ["br", "zstd", "gzip"]),
        ("*;q=0.1, br;q=0", ["zstd", "gzip"]), ("x-gzip", ["gzip"]), ("GZIP ; Q=1", ["gzip"]), ("gzip;q=x", []),
        ("gzip;q=0.5, identity;q=1", []), ("gzip;q=nan", []), ("gzipped", []), (";;,,=", []),
    ],
)  # fmt: skip
def test_codings(accept, wanted):
    assert [name for name, _ in codings(accept)] == wanted


@given(st.text(max_size=40))
def test_any_accept_encoding_is_read(accept):
    assert set(codings(accept)) <= set(codings("*"))


def test_types(tmp_path):
    odd = tmp_path / "types"
    odd.write_text("text/odd odd .dot\n# text/no no\nbroken\n\napplication/x-mine css\nbad\x01/type bad\n")
    types = Types((str(odd), str(tmp_path / "none")), system=str(tmp_path / "nothing"))
    assert types.problems == []
    assert [types.of(name) for name in (b"a.odd", b"b.dot", b"c.css")] == ["text/odd", "text/odd", "application/x-mine"]
    assert [types.of(name) for name in (b"a.HTML", b"b.tar.gz", b"c", b"d.no", b"e.bad", b"\xff.\xff")] == [
        "text/html", "application/gzip", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN,
    ]  # fmt: skip
    assert len(types.problems) == 1


# --- conditions and ranges -----------------------------------------------------------------------------------------

DATE = formatdate(MTIME, usegmt=True)
BEFORE = formatdate(MTIME - 1, usegmt=True)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, Verdict(200)),
        ({"IF_NONE_MATCH": '"tag"'}, Verdict(304)),
        ({"IF_NONE_MATCH": '"x", W/"tag"'}, Verdict(304)),
        ({"IF_NONE_MATCH": "*"}, Verdict(304)),
        ({"IF_NONE_MATCH": '"other"', "IF_MODIFIED_SINCE": DATE}, Verdict(200)),
        ({"IF_NONE_MATCH": "tag"}, Verdict(200)),
        ({"IF_MODIFIED_SINCE": DATE}, Verdict(304)),
        ({"IF_MODIFIED_SINCE": BEFORE}, Verdict(200)),
        ({"IF_MODIFIED_SINCE": "yesterday"}, Verdict(200)),
        ({"IF_MATCH": '"tag"'}, Verdict(200)),
        ({"IF_MATCH": 'W/"tag"'}, Verdict(412)),
        ({"IF_MATCH": '"other"'}, Verdict(412)),
        ({"IF_UNMODIFIED_SINCE": BEFORE}, Verdict(412)),
        ({"IF_UNMODIFIED_SINCE": DATE}, Verdict(200)),
        ({"RANGE": "bytes=0-9"}, Verdict(206, ((0, 10),))),
        ({"RANGE": "bytes=0-9", "IF_NONE_MATCH": '"tag"'}, Verdict(304)),
        ({"RANGE": "bytes=0-9", "IF_RANGE": '"tag"'}, Verdict(206, ((0, 10),))),
        ({"RANGE": "bytes=0-9", "IF_RANGE": 'W/"tag"'}, Verdict(200)),
        ({"RANGE": "bytes=0-9", "IF_RANGE": DATE}, Verdict(206, ((0, 10),))),
        ({"RANGE": "bytes=0-9", "IF_RANGE": formatdate(MTIME + 1, usegmt=True)}, Verdict(200)),
        ({"RANGE": "bytes=0-9", "IF_RANGE": "nonsense"}, Verdict(200)),
        ({"RANGE": "bytes=1000-"}, Verdict(416)),
        ({"RANGE": "lines=1-"}, Verdict(200)),
    ],
)
def test_judge(fields, verdict):
    assert judge({f"HTTP_{name}": value for name, value in fields.items()}, FACTS) == verdict


def test_a_head_request_has_no_ranges():
    assert judge({"HTTP_RANGE": "bytes=0-9"}, FACTS, head=True) == Verdict(200)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("bytes=0-0", ((0, 1),)), ("bytes=990-2000", ((990, 10),)), ("bytes=-5", ((995, 5),)),
        ("bytes=-5000", ((0, 1000),)),
        ("bytes=0-1,5-", ((0, 2), (5, 995))), ("bytes= 0-1 ,, 3-4", ((0, 2), (3, 2))), ("bytes=-0", ()),
        ("bytes=2000-3000", ()), ("bytes=5-1", None), ("bytes=a-b", None), ("bytes=", None), ("bytes=-", None),
        ("bytes=0-999,0-999", None), ("bytes=1", None), ("Bytes=1-1", ((1, 1),)), ("bytes=--1", None),
        ("bytes=" + ",".join(["0-0"] * (MOST + 1)), None), ("bytes=0-0,5000-", ((0, 1),)),
    ],
)  # fmt: skip
def test_parse_range(text, spans):
    assert parse_range(text, 1000) == spans


@given(st.text(alphabet="0123456789-, ", max_size=30), st.integers(0, 2000))
def test_spans_lie_within_the_file(text, size):
    spans = parse_range("bytes=" + text, size) or ()
    assert all(first >= 0 and length > 0 and first + length <= size for first, length in spans)
    assert sum(length for _, length in spans) <= size
    assert len(spans) <= MOST


@given(st.text(max_size=60))
def test_any_condition_is_judged(text):
    for name in ("IF_MATCH", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "IF_UNMODIFIED_SINCE", "RANGE", "IF_RANGE"):
        environ = {"HTTP_RANGE": "bytes=0-1", f"HTTP_{name}": text}
        assert judge(environ, FACTS).status in {200, 206, 304, 412, 416}
