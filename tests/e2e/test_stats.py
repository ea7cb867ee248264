"""The statistics of real vassals: what uWSGI's monitors read, through reloads and sleep, and by the real uwsgitop."""

import os
import threading
import time

import psutil
import pytest

from tests import uwsgi_stats
from tests.clients import connect, http_get
from tests.e2e.stats_reader import abstract, read_raw, read_stats, refuses_at_once, uwsgitop
from tests.harness import command_line, free_port, vassal_text, wait_until

APP = """
import os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("as it was asked to")
    while path == "/wait" and not os.path.exists("go"):
        time.sleep(0.01)
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
"""


@pytest.fixture
def app(tmp_path):
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "app.py").write_text(APP)
    (directory / "file.txt").write_text("a file")
    return directory


def settled(address, fits, what):
    """The statistics as soon as they fit: counters are published a moment after the answer."""
    told = None

    def look():
        nonlocal told
        told = read_stats(address)
        return told if fits(told) else None

    return wait_until(look, 10, lambda: f"{what}: {told}")


def requests(told):
    return sum(worker["requests"] for worker in told["workers"])


def test_what_uwsgis_monitors_read(emperor, app, tmp_path):
    web, stats = free_port(), ("127.0.0.1", free_port())
    text = vassal_text(web, chdir=app, processes=2, threads=2, stats=f"127.0.0.1:{stats[1]}")
    text += f"static-map = /file={app}/file.txt\nsocket = {tmp_path}/u.sock\ncron = 0 3 -1 -1 -1 true\n"
    text += "attach-daemon = exec sleep 1000\n"
    emperor.write("blog", text)
    row = emperor.wait_state("blog", "running")
    assert row["stats"] == f"127.0.0.1:{stats[1]}"
    assert row["addresses"] == [f"127.0.0.1:{web}", f"{tmp_path}/u.sock"]

    first = settled(stats, lambda told: all(worker["accepting"] for worker in told["workers"]), "both workers")
    assert uwsgi_stats.differences(first, uwsgi_stats.VASSAL) == []
    assert (first["pid"], first["uid"], first["cwd"]) == (row["pid"], os.getuid(), str(app))
    assert [worker["id"] for worker in first["workers"]] == [1, 2]
    for worker in first["workers"]:  # before any request
        assert worker["rss"] > 1 << 20
        assert worker["vsz"] > worker["rss"]
        assert (worker["status"], worker["respawn_count"], worker["requests"]) == ("idle", 1, 0)
        assert abs(worker["last_spawn"] - time.time()) < 60
    assert [one["proto"] for one in first["sockets"]] == ["http", "uwsgi"]
    assert [one["max_queue"] for one in first["sockets"]] == [100, 100]
    assert (first["crons"][0]["minute"], first["crons"][0]["hour"], first["crons"][0]["pid"]) == (0, 3, -1)

    daemon = settled(stats, lambda told: told["daemons"][0]["pid"] and told, "the daemon to run")["daemons"][0]
    assert (daemon["cmd"], daemon["respawns"]) == ("exec sleep 1000", 0)
    assert "sleep" in command_line(psutil.Process(daemon["pid"]))

    for path, status in (("/", 200), ("/fail", 500), ("/file", 200), ("/", 200)):
        assert http_get(("127.0.0.1", web), path).status == status
    then = settled(stats, lambda told: requests(told) == 4, "four requests")
    workers = then["workers"]
    assert sum(worker["exceptions"] for worker in workers) == 1
    assert sum(worker["tx"] for worker in workers) > 100
    assert max(worker["avg_rt"] for worker in workers) >= 1000  # each took 2 ms at least
    assert sum(worker["running_time"] for worker in workers) >= 2 * 2000
    assert sum(core["static_requests"] for worker in workers for core in worker["cores"]) == 1

    waiting = threading.Thread(target=http_get, args=(("127.0.0.1", web), "/wait"), kwargs={"timeout": 60})
    waiting.start()
    busy = settled(stats, lambda told: any(w["status"] == "busy" for w in told["workers"]), "a busy worker")
    cores = [core for worker in busy["workers"] for core in worker["cores"] if core["in_request"]]
    assert len(cores) == 1
    assert abs(cores[0]["req_info"]["request_start"] - time.time()) < 60

    with uwsgitop(tmp_path, f"127.0.0.1:{stats[1]}") as top:

        def shown():
            lines = top.screen()
            rows = [line.split() for line in lines if line.split()[0] in ("1", "2")]
            return lines if len(rows) == 2 and {row[7] for row in rows} == {"busy", "idle"} else None

        lines = wait_until(shown, 20, lambda: f"two workers on the screen: {top.screen()}")
        assert lines[0].startswith(f"uwsgi-{busy['version']} - ")
        assert "req: 4 " in lines[0]
        assert f"masterpid: {row['pid']}" in lines[1]
        assert " ".join(lines[2].split()).startswith("WID % PID REQ RPS EXC SIG STATUS AVG RSS VSZ TX ReSpwn HC RunT")
        top.press("a")  # and the threads of each
        top.press("a")
        wait_until(lambda: any(line.split()[0].startswith(":") for line in top.screen()), 20, "threads on the screen")
    (app / "go").touch()
    waiting.join()


def test_handed_over_in_a_reload_and_the_newest_generation_answers(emperor, app, tmp_path):
    web = free_port()
    path = f"{tmp_path}/stats.sock"

    def write(**more):
        emperor.write("blog", vassal_text(web, chdir=app, **more))

    write(stats=path)
    emperor.wait_state("blog", "running")
    inode = os.lstat(path).st_ino
    http_get(("127.0.0.1", web), "/")
    seen, failures, done = [], [], threading.Event()

    def ask():
        while not done.is_set():
            try:
                seen.append(read_stats(path)["generation"])
            except (OSError, ValueError) as error:
                failures.append(repr(error))
            done.wait(0.002)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for generation in (2, 3):
            emperor.touch("blog")
            emperor.wait_state("blog", "running", generation=generation)
        wait_until(lambda: seen and seen[-1] == 3, 10, lambda: f"the third to answer: {seen[-5:]}")
    finally:
        done.set()
        asking.join()
    assert not failures
    assert set(seen) == {1, 2, 3}
    assert os.lstat(path).st_ino == inode
    # The address leaves the file: it is refused, whoever of the old ones still lives.
    (app / "go").unlink(missing_ok=True)
    waiting = threading.Thread(target=http_get, args=(("127.0.0.1", web), "/wait"), kwargs={"timeout": 60})
    waiting.start()
    settled(path, lambda told: told["workers"][0]["status"] == "busy", "a busy worker")
    write()
    emperor.wait_state("blog", "running", generation=4)
    wait_until(lambda: refuses_at_once(path), 10, "the address to be refused while generation 3 still works")
    assert waiting.is_alive()
    (app / "go").touch()
    waiting.join()
    assert emperor.status("blog")["stats"] is None


def test_a_bad_address_is_told_and_nothing_else_is_harmed(emperor, app, tmp_path):
    web, taken = free_port(), free_port()
    emperor.write("owner", vassal_text(taken, chdir=app))
    emperor.write("blog", vassal_text(web, chdir=app, stats="@emperor-test-" + tmp_path.name + str(web)))
    emperor.wait_state("owner", "running")
    emperor.wait_state("blog", "running")
    with abstract("emperor-test-" + tmp_path.name + str(web)) as client:
        assert client.makefile("rb").read().startswith(b'{\n\t"version"')
    for address, reason in (
        (f"127.0.0.1:{taken}", f"stats: address 127.0.0.1:{taken} is already in use: by vassal owner"),
        (f"{tmp_path}/no/such/stats.sock", "stats: cannot bind"),
        (f"127.0.0.1:{web}", "named twice"),
    ):
        emperor.write("blog", vassal_text(web, chdir=app, stats=address))
        wait_until(
            lambda reason=reason: (
                reason in ((emperor.status("blog") or {}).get("last_failure") or {}).get("reason", "")
            ),
            20,
            lambda: f"the reason: {emperor.status('blog')}",
        )
        assert http_get(("127.0.0.1", web), "/").status == 200
    assert http_get(("127.0.0.1", taken), "/").status == 200


def test_asking_wakes_nobody_and_a_parked_vassal_refuses(emperor, app, tmp_path):
    cheap, parked = free_port(), free_port()
    path = f"{tmp_path}/cheap.sock"
    park = {"idle": 1, "die-on-idle": "true"}
    emperor.write("cheap", vassal_text(cheap, chdir=app, cheap="true", processes=2, stats=path, stats_http="true"))
    for name in ("parked", "socket"):
        stats = f"{tmp_path}/{name}.sock"
        emperor.write(name, vassal_text(parked if name == "parked" else free_port(), chdir=app, stats=stats, **park))
    emperor.wait_state("cheap", "cheap")
    wait_until(lambda: emperor.status("cheap")["worker_pids"] == [], 10, "the workers to go")
    answer = read_raw(path, b"GET / HTTP/1.0\r\n\r\n").decode()
    assert answer.startswith("HTTP/1.0 200 OK\r\n")
    assert answer.count('"status":"cheap"') == 2
    assert emperor.status("cheap")["state"] == "cheap"

    for name in ("parked", "socket"):
        emperor.wait_state(name, "parked")
        wait_until(lambda name=name: refuses_at_once(f"{tmp_path}/{name}.sock"), 10, f"nobody to answer for {name}")
        assert emperor.status(name)["state"] == "parked"
        assert emperor.status(name)["stats"] is None
    assert http_get(("127.0.0.1", parked), "/", timeout=20).status == 200
    assert settled(f"{tmp_path}/parked.sock", lambda told: requests(told) == 1, "awake again")["generation"] == 2
    emperor.touch("socket")  # a look at the file of a parked vassal: it binds, and leaves nothing behind
    wait_until(lambda: not os.path.lexists(f"{tmp_path}/socket.sock"), 10, "the socket's file to go")
    assert emperor.status("socket")["state"] == "parked"
    for name in ("parked", "socket"):
        emperor.delete(name)
        emperor.wait_gone(name)
        wait_until(lambda name=name: not os.path.lexists(f"{tmp_path}/{name}.sock"), 10, f"{name}'s socket to go")


def test_silent_readers_stall_nobody(emperor, app):
    web, stats = free_port(), ("127.0.0.1", free_port())
    text = vassal_text(web, chdir=app, processes=1, harakiri=1, stats=f"127.0.0.1:{stats[1]}", **{"stats-http": "true"})
    emperor.write("blog", text + "stats-minified = true\nstats-no-cores = true\n")
    emperor.wait_state("blog", "running")
    silent = [connect(stats, 10) for _ in range(40)]
    try:
        body = read_raw(stats, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").partition(b"\r\n\r\n")[2]
        assert b'"cores"' not in body
        assert b"\n" not in body
        # The master has its mind free: it replaces a worker whose request takes too long.
        http_get(("127.0.0.1", web), "/wait", timeout=30)

        def struck():
            said = read_raw(stats, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[2]
            return b'"harakiri_count":1' in said and b'"respawn_count":2' in said

        wait_until(struck, 20, "the harakiri to be counted, and the new worker")
        assert http_get(("127.0.0.1", web), "/").status == 200
    finally:
        for client in silent:
            client.close()
