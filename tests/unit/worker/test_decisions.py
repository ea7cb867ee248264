"""What the worker decides, without sockets or processes: turns, recycling, trust, settings."""

import dataclasses
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker_settings import WorkerSettings
from vassal.config.settings import Settings
from vassal.crew import FairQueue
from vassal.protocol import uwsgi
from vassal.recycle import Recycler, Rules, decide, resident
from vassal.trust import Trust

# --- settings ----------------------------------------------------------------------------------------------------


def test_the_double_has_no_name_that_the_real_settings_lack():
    real = {field.name for field in dataclasses.fields(Settings)}
    assert {field.name for field in dataclasses.fields(WorkerSettings)} <= real


# --- turns -------------------------------------------------------------------------------------------------------


def test_paths_take_turns():
    queue = FairQueue()
    for number in range(3):
        queue.push("slow", number)
    queue.push("quick", "q")
    assert len(queue) == 4
    assert [queue.pop() for _ in range(4)] == [0, "q", 1, 2]
    assert not len(queue)
    with pytest.raises(IndexError):
        queue.pop()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_nothing_is_lost_and_each_path_keeps_its_order(steps):
    queue = FairQueue()
    put, got = [], []
    for number, (key, pop) in enumerate(steps):
        queue.push(key, (key, number))
        put.append((key, number))
        if pop:
            got.append(queue.pop())
    while queue:
        got.append(queue.pop())
    assert sorted(got, key=lambda item: item[1]) == put
    for key in "abc":
        numbers = [number for k, number in got if k == key]
        assert numbers == sorted(numbers)


# --- recycling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "facts", "reason"),
    [
        (Rules(), (1e9, 10**9, 2**60), None),
        (Rules(max_requests=10), (1, 9, 0), None),
        (Rules(max_requests=10), (1, 10, 0), "max-requests"),
        (Rules(max_requests=10, min_lifetime=60), (59, 10, 0), None),
        (Rules(max_requests=10, min_lifetime=60), (60, 10, 0), "max-requests"),
        (Rules(max_lifetime=60), (59.9, 0, 0), None),
        (Rules(max_lifetime=60), (60, 0, 0), "max-worker-lifetime"),
        (Rules(max_rss=100), (1, 0, 99), None),
        (Rules(max_rss=100), (1, 0, 100), "reload-on-rss"),
        (Rules(max_rss=100, min_lifetime=5), (1, 0, 100), None),
    ],
)
def test_when_a_worker_has_served_long_enough(rules, facts, reason):
    age, requests, rss = facts
    found = decide(rules, age=age, requests=requests, rss=rss)
    assert found is None if reason is None else reason in found


def test_the_counter_speaks_at_the_limit_and_the_look_repeats_it():
    said = []
    recycler = Recycler(Rules(max_requests=3), 0.0, said.append)
    for _ in range(4):
        recycler.count()
    assert said == ["max-requests: 3"]
    recycler.look(1.0)
    assert said[1:] == ["max-requests: 4"]


def test_the_memory_of_this_process():
    assert 1 << 20 < resident() < 1 << 34


def test_without_a_descriptor_the_memory_is_unknown():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert resident() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- trust -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "peer", "trusted"),
    [
        ((), "127.0.0.1", True),
        ((), "127.9.9.9", True),
        ((), "::1", True),
        ((), "::ffff:127.0.0.1", True),
        ((), "10.0.0.1", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "127.0.0.1", False),
        (("10.0.0.0/8, 192.0.2.1", "2001:db8::/32"), "2001:db8::9", True),
        (("10.0.0.0/8, 192.0.2.1",), "192.0.2.1", True),
        (("none",), "127.0.0.1", False),
        (("*",), "203.0.113.9", True),
        ((), "no address", False),
    ],
)
def test_who_is_trusted(proxies, peer, trusted):
    assert Trust(proxies).holds(peer) is trusted


def test_a_proxy_that_is_no_address():
    with pytest.raises(ValueError, match=r"trusted-proxies = proxy\.local"):
        Trust(("proxy.local",))


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 127.0.0.1", "192.0.2.1"),
        ("127.0.0.1, 127.0.0.2", "127.0.0.1"),
        ("nonsense", ""),
        ("6.6.6.6, nonsense", ""),
        ("nonsense, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_the_client_is_the_rightmost_that_no_proxy_is(header, client):
    assert Trust().client_of(header) == client


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("https", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("HTTPS ", "https"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
def test_the_scheme_that_a_proxy_names(header, scheme):
    environ = {"wsgi.url_scheme": "http", "HTTP_X_FORWARDED_PROTO": header}
    Trust().believe(environ)
    assert environ["wsgi.url_scheme"] == scheme
    assert environ.get("HTTPS") == ("on" if scheme == "https" else None)


@pytest.mark.parametrize(
    ("said", "header", "scheme"),
    [
        ({"UWSGI_SCHEME": "http"}, "https", "http"),
        ({"UWSGI_SCHEME": "https"}, "http", "https"),
        ({"HTTPS": "on"}, "http", "https"),
        ({"HTTPS": "off"}, "https", "https"),
        ({"HTTPS": ""}, "https", "https"),
    ],
)
def test_a_web_server_that_names_the_scheme_itself_outranks_a_header_of_its_client(said, header, scheme):
    environ = {"wsgi.url_scheme": "http", "REQUEST_METHOD": "GET", "HTTP_X_FORWARDED_PROTO": header, **said}
    uwsgi._complete(environ, 0)
    Trust().believe(environ)
    assert environ["wsgi.url_scheme"] == scheme
