"""The fleet's statistics: facts in, the JSON of uWSGI's Emperor out; and the record of what happened when."""

import json
from dataclasses import replace

import pytest

from emperor import stats
from emperor.chronicle import Chronicle, Record
from emperor.places import parse_place
from emperor.stats import Facts, Head
from tests import uwsgi_stats

HEAD = Head("1.2.3", 10, 0, 0, "/", ("/etc/vassals", "glob:///home/*/v/*.ini"), tyrant=True)
ROW = {
    "name": "blog",
    "path": "/etc/vassals/blog.ini",
    "state": "running",
    "since": 1_700_000_000.7,
    "generation": 3,
    "pid": 4711,
    "workers": 2,
    "requests": 99,
    "exceptions": 1,
    "rss": 40 << 20,
    "uid": 33,
    "loyal": True,
    "last_failure": None,
}
RECORD = Record(
    born=100.5, first_run=101.5, last_run=300.5, last_ready=301.5, last_loyal=302.5, last_heartbeat=303.5, runs=3
)
BLOG = Facts(ROW, RECORD, "/etc/vassals", 99, gid=34, ready=True)
PARKED = Facts(
    {
        **ROW,
        "name": "nap",
        "path": "/etc/vassals/nap.ini",
        "pid": None,
        "state": "parked",
        "generation": None,
        "uid": None,
    },
    Record(born=1.0),
    "/etc/vassals",
    98,
    address="/run/nap.sock",
)
SHOP = Facts(
    {**ROW, "name": "shop", "pid": None, "loyal": False, "last_failure": {"reason": "no app"}},
    Record(born=1.0, failures=4, first_failure=200.5, last_failure=260.5),
    "/etc/vassals",
    97,
    wait_ms=8000,
)


def told(fleet, **options):
    return json.loads("".join(stats.pieces(HEAD, fleet, **options)))


def test_every_key_of_uwsgi_in_its_order_with_its_type():
    assert uwsgi_stats.differences(told([BLOG, PARKED, SHOP]), uwsgi_stats.EMPEROR) == []


@pytest.mark.parametrize("minified", [False, True])
@pytest.mark.parametrize("count", [0, 1, stats.PIECE - 1, stats.PIECE, stats.PIECE + 1, 3 * stats.PIECE])
def test_the_pieces_are_one_object_however_many_vassals(count, minified):
    whole = told([replace(SHOP, touched=number) for number in range(count)], minified=minified)
    assert [one["last_mod"] for one in whole["vassals"]] == list(range(count))
    assert len(whole["blacklist"]) == count


def test_indented_by_tabs_or_without_a_blank():
    text = "".join(stats.pieces(HEAD, [BLOG, SHOP]))
    assert text == json.dumps(json.loads(text), indent="\t", separators=(",", ":"))
    small = "".join(stats.pieces(HEAD, [BLOG, SHOP], minified=True))
    assert small == json.dumps(json.loads(text), separators=(",", ":"))


def test_no_piece_holds_more_than_some_vassals():
    fleet = [BLOG] * (4 * stats.PIECE)
    assert all(piece.count('"last_mod"') <= stats.PIECE for piece in stats.pieces(HEAD, fleet))


def test_one_that_serves():
    one = told([BLOG])["vassals"][0]
    assert (one["id"], one["name"], one["pid"], one["uid"], one["gid"]) == ("blog.ini", "blog", 4711, 33, 34)
    assert (one["loyal"], one["ready"], one["accepting"], one["cursed"]) == (1, 1, 1, 0)
    assert (one["born"], one["first_run"], one["last_run"], one["respawns"]) == (100, 101, 300, 2)
    assert (one["last_ready"], one["last_accepting"], one["last_loyal"], one["last_heartbeat"]) == (301, 301, 302, 303)
    assert (one["on_demand"], one["monitor"], one["last_mod"]) == ("", "/etc/vassals", 99)
    assert (one["state"], one["requests"], one["rss"], one["workers"]) == ("running", 99, 40 << 20, 2)


def test_one_that_sleeps_and_one_that_fails():
    whole = told([PARKED, SHOP])
    nap, shop = whole["vassals"]
    assert (nap["pid"], nap["on_demand"], nap["ready"], nap["respawns"]) == (-1, "/run/nap.sock", 0, 0)
    assert shop["last_failure"] == "no app"
    assert whole["blacklist"] == [
        {"id": "shop.ini", "throttle_level": 8000, "attempt": 4, "first_attempt": 200, "last_attempt": 260}
    ]


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("blog", "/v/blog.ini", "blog.ini"),
        ("w/blog", "/v/w/blog.ini", "w/blog.ini"),
        ("blog.yaml", "/v/blog.yaml", "blog.yaml"),
        ("blog", "/v/blog", "blog"),
    ],
)
def test_it_is_called_by_its_files_name(name, path, shown):
    assert stats.id_of(name, path) == shown


@pytest.mark.parametrize(
    ("path", "monitor"),
    [
        ("/etc/vassals/a.ini", "/etc/vassals"),
        ("/home/u/v/a.ini", "glob:///home/*/v/*.ini"),
        ("/srv/one.ini", "/srv/one.ini"),
        ("/elsewhere/x.ini", "/elsewhere"),
    ],
)
def test_the_place_that_found_it(path, monitor):
    places = [parse_place(text) for text in ("/etc/vassals", "glob:///home/*/v/*.ini", "/srv/one.ini")]
    assert stats.monitor_of(path, places) == monitor


def test_what_happened_when():
    chronicle = Chronicle()
    assert chronicle.of("blog") == Record()
    chronicle.ran("blog", 1.0)  # of one that is not there (any more) nothing is kept
    assert chronicle.of("blog") == Record()
    chronicle.born("blog", 1.0)
    chronicle.ran("blog", 2.0)
    chronicle.failed("blog", 3.0)
    chronicle.ran("blog", 4.0)
    chronicle.failed("blog", 5.0)
    record = chronicle.of("blog")
    assert (record.born, record.first_run, record.last_run, record.runs) == (1.0, 2.0, 4.0, 2)
    assert (record.failures, record.first_failure, record.last_failure) == (2, 3.0, 5.0)
    chronicle.ready("blog", 6.0)
    assert chronicle.of("blog").failures == 2
    chronicle.loyal("blog", 7.0)
    chronicle.beat("blog", 8.0)
    record = chronicle.of("blog")
    assert (record.failures, record.first_failure, record.last_ready, record.last_loyal) == (0, 0.0, 6.0, 7.0)
    assert record.last_heartbeat == 8.0
    chronicle.forget("blog")
    assert chronicle.of("blog") == Record()
