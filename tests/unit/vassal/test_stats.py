"""The statistics: facts in, uWSGI's JSON out."""

import json
from dataclasses import replace

import pytest

from tests import uwsgi_stats
from vassal import cron, stats
from vassal.stats import Core, Cron, Facts, Queue, Worker

BUSY = Worker(
    number=1,
    pid=11,
    accepting=True,
    busy=True,
    requests=9,
    recent=4,
    exceptions=1,
    harakiri=2,
    rss=20 << 20,
    vsz=90 << 20,
    running_us=9000,
    average_us=1000,
    tx=1234,
    spawned=1_700_000_000,
    spawns=3,
    startup=1,
    cores=(Core(3, 1, 1_700_000_100), Core(1)),
)
FACTS = Facts(
    version="1.2.3",
    name="blog",
    generation=7,
    pid=10,
    uid=33,
    gid=34,
    cwd="/srv/blog",
    chdir="/srv/blog",
    mounts=("",),
    queues=(Queue("127.0.0.1:80", "http", 3, 100), Queue("/run/b.sock", "uwsgi", 5, 128)),
    workers=(BUSY, Worker(number=2, cores=(Core(), Core()))),
    daemons=({"cmd": "sleep 9", "pid": 5, "respawns": 0},),
    crons=(Cron((-5, -1, -1, -1, -1), "echo hi"),),
)


def test_every_key_of_uwsgi_in_its_order_with_its_type():
    assert uwsgi_stats.differences(stats.layout(FACTS), uwsgi_stats.VASSAL) == []


@pytest.mark.parametrize("key", ["load", "workers", "cwd"])
def test_a_key_that_is_missing_or_of_another_type_would_be_seen(key):
    told = stats.layout(FACTS)
    assert uwsgi_stats.differences({**told, key: None}, uwsgi_stats.VASSAL)
    del told[key]
    assert uwsgi_stats.differences(told, uwsgi_stats.VASSAL)


def test_what_is_not_there_is_not_told_of():
    bare = stats.layout(replace(FACTS, daemons=(), crons=()))
    assert "daemons" not in bare
    assert "crons" not in bare
    assert "cores" not in stats.layout(FACTS, cores=False)["workers"][0]


def test_the_longest_queue_is_the_listen_queue_and_the_load():
    told = stats.layout(FACTS)
    assert (told["listen_queue"], told["load"]) == (5, 5)
    assert [(one["queue"], one["max_queue"]) for one in told["sockets"]] == [(3, 100), (5, 128)]


@pytest.mark.parametrize(
    ("worker", "status"),
    [(BUSY, "busy"), (replace(BUSY, busy=False), "idle"), (replace(BUSY, busy=False, pid=0), "cheap")],
)
def test_status_words(worker, status):
    assert stats.layout(replace(FACTS, workers=(worker,)))["workers"][0]["status"] == status


def test_a_worker_and_its_threads():
    worker = stats.layout(FACTS)["workers"][0]
    assert (worker["requests"], worker["delta_requests"], worker["respawn_count"]) == (9, 4, 3)
    assert (worker["exceptions"], worker["harakiri_count"], worker["signals"]) == (1, 2, 0)
    first, second = worker["cores"]
    assert (first["in_request"], first["req_info"]) == (1, {"request_start": 1_700_000_100})
    assert (first["requests"], first["static_requests"]) == (3, 1)
    assert (second["in_request"], second["req_info"], second["vars"]) == (0, {}, [])


def test_one_app_has_the_workers_requests():
    assert stats.layout(FACTS)["workers"][0]["apps"] == [
        {
            "id": 0,
            "modifier1": 0,
            "mountpoint": "",
            "startup_time": 1,
            "requests": 9,
            "exceptions": 1,
            "chdir": "/srv/blog",
        }
    ]


def test_rendered_with_tabs_or_without_a_blank():
    told = stats.layout(FACTS)
    plain, small = stats.render(told), stats.render(told, minified=True)
    assert plain.startswith(b'{\n\t"version":"1.2.3",\n\t"listen_queue":5,\n')
    assert json.loads(plain) == json.loads(small) == told
    assert b"\n" not in small
    assert b'": ' not in small


def test_the_head_of_http_tells_the_length():
    answer = stats.with_head(b"{}")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.0 200 OK"
    assert b"Content-Type: application/json" in head
    assert b"Content-Length: 2" in head
    assert body == b"{}"
    assert stats.with_head(b"{}", head_only=True) == head + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("-5 -1 -1 -1 -1 x", (-5, -1, -1, -1, -1)),
        ("0 3 -10 -1 7 x", (0, 3, -10, -1, 0)),
        ("*/5 * * * * x", (-5, -1, -1, -1, -1)),
        ("@daily x", (0, 0, -1, -1, -1)),
        ("1,31 9-11 */10 * mon-fri x", ([1, 31], [9, 10, 11], [1, 11, 21, 31], -1, [1, 2, 3, 4, 5])),
    ],
)
def test_times_of_cron_as_uwsgi_writes_them(line, numbers):
    assert cron.parse(line).schedule.numbers() == numbers
