"""What people see: the table, one vassal, spans and sizes, memory of real processes."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.report import age, rss_of, size, status_rows, vassal_detail
from tests.harness import wait_until

NOW = 1_000_000.0
BLOG = {
    "name": "blog",
    "path": "/etc/vassals/blog.ini",
    "state": "running",
    "since": NOW - 200,
    "generation": 3,
    "pid": 4711,
    "workers": 2,
    "requests": 123456,
    "addresses": ["127.0.0.1:8000", "/run/blog.sock"],
    "loyal": True,
    "last_failure": None,
    "next_retry": None,
    "rss": 40 << 20,
    "uid": 33,
    "cron": [],
    "daemons": [],
}
SHOP = {
    **BLOG,
    "name": "shop",
    "state": "backoff",
    "since": NOW - 7300,
    "pid": None,
    "rss": None,
    "addresses": [],
    "next_retry": NOW + 8,
    "last_failure": {
        "stage": "load",
        "reason": "cannot import 'shop.wsgi': ModuleNotFoundError: No module named 'django'",
        "detail": "Traceback\n  File \x1b[31mx\n",
        "at": NOW - 90,
    },
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (200, "3m"), (7199, "119m"), (7200, "2h"), (86400, "1d")],
)
def test_ages_are_short(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1023, "1023B"), (2048, "2K"), (40 << 20, "40M"), (3 << 29, "1.5G"), (1 << 41, "2048.0G")],
)
def test_sizes_are_short(count, text):
    assert size(count) == text


def test_the_table_fits_its_columns_to_what_is_in_them():
    assert status_rows([BLOG, SHOP], width=120, now=NOW) == (
        "NAME  STATE    FOR  GEN   PID  WORKERS  REQUESTS  RSS  ADDRESSES\n"
        "blog  running   3m    3  4711        2    123456  40M  127.0.0.1:8000 /run/blog.sock\n"
        "shop  backoff   2h    3     -        2    123456    -  -\n"
        "    cannot import 'shop.wsgi': ModuleNotFoundError: No module named 'django' (1m ago); next try in 8s\n"
    )


def test_no_vassals_is_said():
    assert status_rows([]) == "no vassals\n"


def test_a_row_that_lacks_facts_shows_dashes_and_columns_without_any_are_left_out():
    assert status_rows([{"name": "a", "state": "waiting"}]) == "NAME  STATE\na     waiting\n"


_texts = st.one_of(st.none(), st.text(max_size=40))
_rows = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=60),
        "state": st.sampled_from(["running", "stopped"]),
        "since": st.one_of(st.none(), st.floats(0, 2 * NOW)),
        "generation": st.one_of(st.none(), st.integers(0, 10**6)),
        "pid": st.one_of(st.none(), st.integers(1, 2**22)),
        "workers": st.one_of(st.none(), st.integers(0, 99)),
        "requests": st.one_of(st.none(), st.integers(0, 10**12)),
        "rss": st.one_of(st.none(), st.integers(0, 10**12)),
        "addresses": st.lists(st.text(max_size=30), max_size=4),
        "last_failure": st.one_of(
            st.none(), st.fixed_dictionaries({"stage": _texts, "reason": _texts, "detail": _texts, "at": st.just(1.0)})
        ),
        "next_retry": st.one_of(st.none(), st.just(NOW)),
    }
)


@given(st.lists(_rows, min_size=1, max_size=5), st.integers(40, 160))
def test_no_table_row_is_wider_than_the_terminal_and_nothing_steers_it(rows, width):
    text = status_rows(rows, width=width, now=NOW)
    lines = text.splitlines()
    assert text.count("\n") == len(lines)
    for line in lines:
        assert line.isprintable()
        if not line.startswith("    "):
            assert len(line) <= width
    for row in rows:
        assert all(line.isprintable() for line in vassal_detail(row, width=width, now=NOW).split("\n"))


def test_where_statistics_are_told_is_shown():
    assert "statistics: 127.0.0.1:1717\n" in vassal_detail({**BLOG, "stats": "127.0.0.1:1717"}, now=NOW)
    assert "statistics" not in vassal_detail({**BLOG, "stats": None}, now=NOW)


def test_the_detail_of_a_failure_is_shown_whole_but_tamed():
    text = vassal_detail(SHOP, now=NOW)
    assert "state:      backoff for 2h, loyal\n" in text
    assert "last failure 1m ago, stage load; next try in 8s:\n" in text
    assert "  Traceback\n    File \\x1b[31mx\n" in text
    assert "pid:" not in text


def test_jobs_and_daemons_are_shown():
    row = {
        **BLOG,
        "cron": [
            {"command": "clean", "next": NOW + 60, "last": NOW - 60, "exit": 1, "duration": 2.5},
            {"command": "never", "next": None, "last": None, "exit": None, "duration": None},
        ],
        "daemons": [{"command": "celery", "pid": 5, "state": "running", "restarts": 2}],
    }
    text = vassal_detail(row, now=NOW)
    assert "cron:       clean (next in 1m, last 1m ago, exit 1, took 2.5 s)\n" in text
    assert "cron:       never (not run yet)\n" in text
    assert "daemon:     celery (running, pid 5, restarts 2)\n" in text
    assert "memory:     40M\n" in text
    assert "address:    /run/blog.sock\n" in text


def test_memory_is_that_of_the_whole_tree_and_who_is_gone_is_left_out():
    child = subprocess.Popen([sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert child.stdout.readline() == b"up\n"
        sizes = rss_of([os.getpid(), child.pid])
        assert sizes[os.getpid()] > sizes[child.pid] > 1 << 20
    finally:
        child.communicate(timeout=10)
    wait_until(lambda: not os.path.exists(f"/proc/{child.pid}"))
    assert rss_of([child.pid]) == {}


def test_a_table_needs_no_psutil():
    code = "import sys, emperor.report as r; r.status_rows([]); print('psutil' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"
