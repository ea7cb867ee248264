"""The fleet's statistics and status of a real emperor, beside what uWSGI's Emperor prints."""

import json
import os
import time

import psutil
import pytest

from tests import uwsgi_stats
from tests.clients import http_get
from tests.e2e.stats_reader import read_raw, read_stats, refuses_at_once, uwsgitop
from tests.harness import free_port, vassal_text, wait_until

STATUS = {
    "name": str,
    "path": str,
    "state": str,
    "since": float,
    "generation": int,
    "pid": int,
    "workers": int,
    "requests": int,
    "addresses": list,
    "loyal": bool,
    "rss": int,
    "uid": int,
    "cron": list,
    "daemons": list,
}
"""What `emperor status --json` promises; beside what may be null: `last_failure`, `next_retry`."""


def check_status(emperor, path):
    """It has all that it promises."""
    for row in json.loads(emperor.cli("status", "--json", check=True).stdout):
        assert {"last_failure", "next_retry"} <= row.keys()
        for key, kind in STATUS.items():
            assert type(row[key]) is kind or (row[key] is None and row["name"] != "blog"), (row["name"], key)
    row = emperor.status("blog")
    assert row["cron"][0].keys() == {"command", "next", "last", "exit", "duration"}
    assert emperor.status("shop")["last_failure"].keys() == {"stage", "reason", "detail", "at"}
    master = psutil.Process(row["pid"])

    def agree():
        """Once the first generation has ended, all say the same."""
        memory = sum(process.memory_info().rss for process in (master, *master.children(recursive=True)))
        said = emperor.status("blog")["rss"], read_stats(path)["vassals"][0]["rss"]
        return all(one == pytest.approx(memory, rel=0.2) for one in said) and said

    wait_until(agree, 20, "one and the same memory, and none counted twice")


def check_screen(emperor, tmp_path, path):
    """What a person sees who points uwsgitop at an emperor."""
    pid = emperor.status("blog")["pid"]
    with uwsgitop(tmp_path, path) as top:
        lines = wait_until(lambda: len(top.screen()) >= 6 and top.screen(), 20, lambda: f"a screen: {top.screen()}")
        assert "emperor: " in lines[0]
        assert f"masterpid: {emperor.pid}" in lines[1]
        assert lines[3].split() == ["blog.ini", str(pid)]
        assert lines[4].split() == ["nap.ini", "-1"]


def test_a_fleet_as_its_monitors_see_it(start_emperor, app, tmp_path):
    path = f"{tmp_path}/emperor.sock"
    emperor = start_emperor(settings={"emperor-stats": path, "chmod-socket": "660"})
    assert os.lstat(path).st_mode & 0o777 == 0o660
    began = int(time.time())
    web = free_port()
    text = vassal_text(web, chdir=app, processes=2, loyalty=1) + "cron = @daily true\n"
    emperor.write("blog", text)
    nap = f"{tmp_path}/nap.sock"
    emperor.write("nap", vassal_text(1, chdir=app, idle=1, die_on_idle="true").replace("127.0.0.1:1", nap))
    emperor.write("shop", vassal_text(free_port(), chdir=app, module="nowhere:app"))
    emperor.wait_state("blog", "running")
    emperor.wait_state("nap", "parked")
    emperor.wait_state("shop", "broken")
    http_get(("127.0.0.1", web), "/")
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    wait_until(lambda: emperor.status("blog")["loyal"], 20, "blog to be loyal")

    told = {}

    def look():
        http_get(("127.0.0.1", web), "/")  # again and again: the first generation may answer until it retires
        told.update(read_stats(path))
        return len(told["vassals"]) == 3 and told["vassals"][0]["requests"] > 0

    wait_until(look, 10, lambda: f"the request to be told of: {told}")
    assert uwsgi_stats.differences(told, uwsgi_stats.EMPEROR) == []
    assert (told["pid"], told["uid"], told["gid"], told["emperor_tyrant"]) == (emperor.pid, os.getuid(), os.getgid(), 0)
    assert told["emperor"] == [str(emperor.vassals)]
    blog, napping, shop = told["vassals"]
    row = emperor.status("blog")
    assert (blog["id"], blog["name"], blog["pid"], blog["generation"]) == ("blog.ini", "blog", row["pid"], 2)
    assert (blog["loyal"], blog["ready"], blog["accepting"], blog["respawns"]) == (1, 1, 1, 1)
    assert (blog["uid"], blog["gid"], blog["monitor"]) == (os.getuid(), os.getgid(), str(emperor.vassals))
    order = [began, blog["born"], blog["first_run"], blog["last_run"], blog["last_ready"], blog["last_loyal"]]
    assert order == sorted(order)
    assert blog["last_ready"] == blog["last_accepting"] <= time.time()
    assert (napping["state"], napping["pid"], napping["on_demand"]) == ("parked", -1, nap)
    assert (shop["state"], shop["pid"], shop["ready"], shop["loyal"]) == ("broken", -1, 0, 0)
    assert "nowhere" in shop["last_failure"]
    assert [one["id"] for one in told["blacklist"]] == ["shop.ini"]
    assert told["blacklist"][0]["attempt"] >= 1
    assert told["blacklist"][0]["throttle_level"] > 1000

    check_status(emperor, path)
    check_screen(emperor, tmp_path, path)
    emperor.close()
    assert refuses_at_once(path)
    assert not os.path.lexists(path)


def test_by_http_and_small_and_an_address_that_is_taken(start_emperor, make_emperor, app, tmp_path):
    port = free_port()
    settings = {"emperor-stats": f"127.0.0.1:{port}", "stats-http": "true", "stats-minified": "true"}
    emperor = start_emperor(settings=settings)
    answer = read_raw(("127.0.0.1", port), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert json.loads(body)["vassals"] == []
    assert b"\n" not in body
    (tmp_path / "second").mkdir()
    second = make_emperor(tmp_path / "second", settings=settings).start(ready=False)
    assert second.wait() == 1
    assert f"emperor-stats: address 127.0.0.1:{port} is already in use" in second.log.read_text()
    second.wait_empty()
    assert emperor.statuses() == {}
