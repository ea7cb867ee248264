"""Drop a file, touch it, delete it: the whole way with real processes, and SIGKILL at every level."""

import os
import signal
import socket
import time

import pytest

from emperor.control_client import ControlClient
from tests.clients import HttpClient, LoadGenerator, http_get, refuses
from tests.harness import (
    command_line,
    free_port,
    process_name,
    touch_file,
    vassal_text,
    wait_until,
    write_app,
    write_file,
)


def sleeping(emperor):
    """The processes of the program ``sleep``."""
    return [p for p in emperor.processes() if process_name(p) == "sleep"]


def text(port, app, **options):
    return vassal_text(port, chdir=app, **options)


def answer(port):
    try:
        return http_get(("127.0.0.1", port)).text
    except OSError:
        return None


def serve(emperor, app, name="blog", **options):
    port = free_port()
    emperor.write(name, text(port, app, **options))
    emperor.wait_state(name, "running")
    return port


def titled(emperor, *words):
    return [p for p in emperor.processes() if all(word in command_line(p) for word in words)]


def test_a_dropped_file_is_served_and_a_deleted_one_refused(emperor, app):
    port = serve(emperor, app)
    assert answer(port) == "one"
    emperor.delete("blog")
    wait_until(lambda: refuses(("127.0.0.1", port)), 10, "the port to be closed")
    emperor.wait_gone("blog")
    assert not titled(emperor, "blog")


def test_a_touch_brings_the_new_code_and_one_touch_is_one_reload(emperor, app):
    port = serve(emperor, app)
    write_app(app, "app", "two")
    emperor.touch("blog")
    wait_until(lambda: answer(port) == "two", 10, "the new code")
    assert emperor.wait_state("blog", "running")["generation"] == 2
    serve(emperor, app, "other")  # whatever a second reload would have needed has passed by now
    assert emperor.status("blog")["generation"] == 2


def test_a_reload_under_load_costs_no_request(emperor, app):
    port = serve(emperor, app, processes=2)
    with LoadGenerator(("127.0.0.1", port), threads=4) as load:
        for generation in range(2, 8):
            emperor.touch("blog")
            emperor.wait_state("blog", "running", generation=generation)
        done = load.stop()
    assert done.requests > 100
    assert not done.failures, done.failures[:3]


def test_a_broken_deploy_leaves_the_site_up_and_says_why(emperor, app):
    port = serve(emperor, app)
    (app / "app.py").write_text("import no_such_module\n")
    reload = emperor.cli("reload", "blog")
    assert reload.returncode == 1
    assert "no_such_module" in reload.stdout + reload.stderr
    assert answer(port) == "one"
    failure = emperor.status("blog")["last_failure"]
    assert failure["stage"] == "load"
    assert "no_such_module" in failure["reason"]
    assert "app.py" in failure["detail"]
    write_app(app, "app", "three")
    assert emperor.cli("reload", "blog").returncode == 0
    assert answer(port) == "three"
    assert emperor.status("blog")["last_failure"] is None


def test_a_request_under_way_is_answered_after_the_reload(emperor, app):
    port = serve(emperor, app)
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/slow")
        emperor.touch("blog")
        assert client.response().text == "one"


def test_stop_holds_through_touches_until_start(emperor, app):
    port = serve(emperor, app)
    assert emperor.cli("stop", "blog").returncode == 0
    assert refuses(("127.0.0.1", port))
    assert emperor.status("blog")["state"] == "stopped"
    emperor.touch("blog")
    serve(emperor, app, "other")
    assert emperor.status("blog")["state"] == "stopped"
    assert emperor.cli("reload", "blog").returncode == 1
    assert emperor.cli("start", "blog").returncode == 0
    assert answer(port) == "one"


def test_hangup_reloads_all_and_systemd_is_told(start_emperor, app, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)

        def told(word):
            end = time.monotonic() + 60
            while word not in (said := systemd.recv(4096).decode().split("\n")):
                assert time.monotonic() < end, f"{word} is not told"
                assert said[0] == "WATCHDOG=1" or said[0].startswith("STATUS=")
            return said

        emperor = start_emperor(env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"})
        assert told("READY=1")[-1] == "STATUS=0 vassals"
        serve(emperor, app, "a")
        serve(emperor, app, "b")
        told("STATUS=2 vassals")
        emperor.kill(signal.SIGHUP)
        assert told("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
        assert told("READY=1")[-1] == "STATUS=2 vassals"
        for name in ("a", "b"):
            assert (emperor.status(name)["state"], emperor.status(name)["generation"]) == ("running", 2)
        told("WATCHDOG=1")
        emperor.kill(signal.SIGTERM)
        told("STOPPING=1")


def test_a_hangup_to_a_master_reloads_its_vassal(emperor, app):
    serve(emperor, app)
    os.kill(emperor.status("blog")["pid"], signal.SIGHUP)
    emperor.wait_state("blog", "running", generation=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_answers_what_runs_and_exits_with_0(emperor, app, number):
    port = serve(emperor, app)
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/slow")
        time.sleep(0.1)  # the request must be inside the app; nothing outside can see when it is
        emperor.kill(number)
        assert client.response().text == "one"
    assert emperor.wait() == 0
    emperor.wait_empty()
    assert not emperor.control.exists()


def test_a_second_signal_kills(emperor, app):
    (app / "app.py").write_text("import time\ndef application(e, s):\n    time.sleep(600)\n")
    port = serve(emperor, app)
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/")
        time.sleep(0.1)  # as above
        emperor.kill()
        wait_until(lambda: "stopping" in emperor.log.read_text(), 10, "it to be stopping")

        def ended():
            if not emperor.ended:
                emperor.kill()
            return emperor.ended

        wait_until(ended, 10, "it to be killed by another one")
        assert emperor.wait() == 0
    emperor.wait_empty()


def test_the_double_of_a_signal_kills_nobody(emperor, app, tmp_path):
    """timeout(1) sends it to the emperor, and then to the emperor's process group."""
    begun = tmp_path / "begun"
    (app / "app.py").write_text(
        f"import time\ndef application(e, s):\n    open({str(begun)!r}, 'w').close()\n    time.sleep(1)\n"
        "    s('200 OK', [])\n    return [b'late']\n"
    )
    port = serve(emperor, app)
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/")
        wait_until(begun.exists, 10, "the request to be in the app")
        os.kill(emperor.pid, signal.SIGTERM)
        os.kill(emperor.pid, signal.SIGINT)
        assert client.response().text == "late"
    assert emperor.wait() == 0


def test_a_killed_worker_comes_back(emperor, app):
    port = serve(emperor, app, processes=2)
    first = set(wait_until(lambda: emperor.status("blog")["worker_pids"], 10, "the workers"))
    os.kill(min(first), signal.SIGKILL)

    def replaced():
        now = set(emperor.status("blog")["worker_pids"])
        return len(now) == 2 and now != first

    wait_until(replaced, 10, "another worker")
    assert answer(port) == "one"
    assert emperor.status("blog")["generation"] == 1


def test_a_killed_master_takes_its_session_with_it_and_comes_back(emperor, app):
    (app / "app.py").write_text(
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "stray = subprocess.Popen(['setsid', 'sleep', '601'])\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app)
    assert answer(port) == "one"
    old = emperor.status("blog")["pid"]
    # The second is named setsid for a moment.
    wait_until(lambda: len(sleeping(emperor)) == 2, 10, "both children")  # one is named setsid for a moment
    sleepers = sleeping(emperor)
    os.kill(old, signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=2)
    wait_until(lambda: not any(command_line(p) for p in sleepers), 10, "its children to end")
    assert not titled(emperor, "blog gen 1")
    assert answer(port) == "one"


def test_a_killed_fork_server_is_replaced_and_the_vassals_do_not_notice(emperor, app):
    port = serve(emperor, app)
    (server,) = titled(emperor, "fork server")
    pid = emperor.status("blog")["pid"]
    server.kill()
    assert answer(port) == "one"
    wait_until(lambda: any(p.pid != server.pid for p in titled(emperor, "fork server")), 10, "another fork server")
    assert emperor.status("blog")["pid"] == pid
    write_app(app, "app", "two")
    emperor.touch("blog")
    wait_until(lambda: answer(port) == "two", 10, "a reload by the new fork server")
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=3)


def test_a_vassal_orphaned_by_the_fork_server_is_still_watched(emperor, app):
    serve(emperor, app)
    (server,) = titled(emperor, "fork server")
    server.kill()
    wait_until(lambda: any(p.pid != server.pid for p in titled(emperor, "fork server")), 10, "another fork server")
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=2)
    assert not titled(emperor, "blog gen 1")


def test_a_killed_emperor_leaves_nothing_and_the_next_one_serves_at_once(make_emperor, app, tmp_path):
    emperor = make_emperor().start()
    port = serve(emperor, app)
    unix = tmp_path / "x.sock"
    emperor.write("unix", f"[uwsgi]\nhttp-socket = {unix}\nchdir = {app}\nmodule = app\n")
    emperor.wait_state("unix", "running")
    emperor.kill(signal.SIGKILL)
    emperor.wait_empty()
    emperor.close()
    emperor.start()
    emperor.wait_state("blog", "running")
    emperor.wait_state("unix", "running")
    assert answer(port) == "one"
    assert http_get(str(unix)).text == "one"


def test_everything_killed_at_once_leaves_nothing(make_emperor, app):
    emperor = make_emperor().start()
    serve(emperor, app, processes=2)
    (server,) = titled(emperor, "fork server")
    emperor.kill(signal.SIGKILL)
    server.kill()
    emperor.wait_empty()


def test_a_crash_loop_backs_off_and_mending_the_file_helps_at_once(emperor, app):
    (app / "app.py").write_text("import os\nos._exit(3)\n")
    port = free_port()
    emperor.write("blog", text(port, app))
    row = emperor.wait_state("blog", "backoff")
    assert "status 3" in row["last_failure"]["reason"]
    assert row["next_retry"] > time.time() - 1
    write_app(app, "app", "one")
    emperor.touch("blog")
    emperor.wait_state("blog", "running")
    assert answer(port) == "one"


def test_a_unix_socket_and_its_mode(emperor, app, tmp_path):
    unix = tmp_path / "x.sock"
    emperor.write("blog", f"[uwsgi]\nhttp-socket = {unix}\nchmod-socket = 660\nchdir = {app}\nmodule = app\n")
    emperor.wait_state("blog", "running")
    assert unix.stat().st_mode & 0o777 == 0o660
    inode = unix.stat().st_ino
    assert emperor.cli("reload", "blog").returncode == 0
    assert unix.stat().st_ino == inode
    assert http_get(str(unix)).text == "one"
    unix.unlink()
    assert emperor.cli("reload", "blog").returncode == 0
    assert http_get(str(unix)).text == "one"
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not unix.exists()


def test_a_start_that_fails_leaves_no_socket_and_a_reload_that_fails_takes_none(emperor, app, tmp_path):
    unix, more = tmp_path / "x.sock", tmp_path / "more.sock"
    lines = f"[uwsgi]\nhttp-socket = {unix}\nchdir = {app}\nmodule = app\n"
    write_app(app, "app", "one")
    good = (app / "app.py").read_text()
    (app / "app.py").write_text("import no_such_module\n")
    emperor.write("blog", lines)
    emperor.wait_state("blog", "broken")
    assert not unix.exists()
    write_file(app / "app.py", good)
    emperor.touch("blog")
    emperor.wait_state("blog", "running")
    assert http_get(str(unix)).text == "one"
    write_file(app / "app.py", "import no_such_module\n")
    emperor.write("blog", f"{lines}http-socket = {more}\n")
    wait_until(lambda: emperor.log.read_text().count("failed (load)") == 2, 10, "the reload to fail")
    emperor.wait_state("blog", "running")
    wait_until(lambda: not more.exists(), 10, "the new socket to go")
    assert http_get(str(unix)).text == "one"


def test_an_abstract_socket_and_ipv6(emperor, app):
    port = free_port()
    emperor.write(
        "blog", f"[uwsgi]\nhttp-socket = [::1]:{port}\nhttp-socket = @emperor-{port}\nchdir = {app}\nmodule = app\n"
    )
    row = emperor.wait_state("blog", "running")
    assert row["addresses"] == [f"[::1]:{port}", f"@emperor-{port}"]
    for family, target in ((socket.AF_INET6, ("::1", port)), (socket.AF_UNIX, f"\0emperor-{port}")):
        with socket.socket(family) as client:
            client.settimeout(10)
            client.connect(target)
            client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            assert b"one" in client.recv(65536) + client.recv(65536)


def test_an_address_that_leaves_the_file_is_closed_and_a_new_one_served(emperor, app):
    old = serve(emperor, app)
    new = free_port()
    emperor.write("blog", text(new, app))
    emperor.wait_state("blog", "running", generation=2)
    assert answer(new) == "one"
    wait_until(lambda: refuses(("127.0.0.1", old)), 10, "the old port to be closed")


def test_an_address_that_overlaps_the_old_one_is_taken_over_by_drain(emperor, app):
    port = serve(emperor, app)
    emperor.write("blog", f"[uwsgi]\nhttp-socket = :{port}\nchdir = {app}\nmodule = app\n")
    row = emperor.wait_state("blog", "running", generation=2)
    assert row["addresses"] == [f"0.0.0.0:{port}"]
    assert answer(port) == "one"


def test_two_vassals_with_one_address_the_later_is_told_of_the_other(emperor, app):
    port = serve(emperor, app, "first")
    emperor.write("second", text(port, app))
    row = emperor.wait_state("second", "broken", "backoff")
    assert "first" in row["last_failure"]["reason"]
    assert str(port) in row["last_failure"]["reason"]
    assert emperor.status("first")["state"] == "running"
    emperor.delete("first")
    emperor.touch("second")
    emperor.wait_state("second", "running")


def test_two_vassals_with_one_unix_socket(emperor, app, tmp_path):
    source = f"[uwsgi]\nhttp-socket = {tmp_path}/x.sock\nchdir = {app}\nmodule = app\n"
    emperor.write("first", source)
    emperor.wait_state("first", "running")
    emperor.write("second", source)
    row = emperor.wait_state("second", "broken", "backoff")
    assert "first" in row["last_failure"]["reason"]
    assert http_get(f"{tmp_path}/x.sock").text == "one"


def test_an_address_within_one_that_stays_rolls_back(emperor, app):
    port = free_port()
    wide = f"[uwsgi]\nhttp-socket = :{port}\nchdir = {app}\nmodule = app\n"
    emperor.write("blog", wide)
    pid = emperor.wait_state("blog", "running")["pid"]
    emperor.write("blog", wide + f"http-socket = 127.0.0.1:{port}\n")
    wait_until(lambda: emperor.status("blog")["last_failure"], 10, "the failure")
    assert emperor.status("blog")["pid"] == pid
    assert answer(port) == "one"


def test_a_file_that_is_cut_short_takes_no_site_down(emperor, app):
    port = serve(emperor, app)
    whole = emperor.path("blog").read_text()
    for cut in (f"[uwsgi]\nhttp-socket = 127.0.0.1:{port}\n", "[uwsgi]\n", ""):
        emperor.write("blog", cut)
        failure = wait_until(lambda: emperor.status("blog")["last_failure"], 10, "the failure")
        assert (failure["stage"], "cut short" in failure["reason"]) == ("config", True)
        assert answer(port) == "one"
        emperor.write("blog", whole)
        wait_until(lambda: not emperor.status("blog")["last_failure"], 10, "the whole file to be served")


def test_clients_that_ask_for_status_all_day_kill_nobody(emperor, app):
    serve(emperor, app)
    client = ControlClient(str(emperor.control))
    for _ in range(35):
        for _ in range(20):  # well below the number of clients that are let in at once
            emperor.ask_and_leave("blog")
        assert client.status(["blog"])[0]["generation"] == 1
    # What a generation says comes in order: once this has come, all its answers have.
    os.kill(emperor.status("blog")["pid"], signal.SIGHUP)
    emperor.wait_state("blog", "running", generation=2)
    assert "broke the contract" not in emperor.log.read_text()


BROKEN = {
    "no app": ("module = no_such_app", "no_such_app"),
    "no include": ("ini = /no/such/file.ini", "/no/such/file.ini"),
    "no chdir": ("chdir = /no/such/dir", "/no/such/dir"),
    "no virtualenv": ("virtualenv = /no/such/venv", "/no/such/venv"),
    "bad number": ("processes = many", "many"),
    "refused": ("spooler = /tmp", "spooler"),
}


@pytest.mark.parametrize(("line", "word"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_says_why_disturbs_nobody_and_can_be_mended(emperor, app, line, word):
    good = serve(emperor, app, "good")
    pid = emperor.status("good")["pid"]
    port = free_port()
    emperor.write("bad", text(port, app) + line + "\n")
    row = emperor.wait_state("bad", "broken")
    assert word in row["last_failure"]["reason"]
    assert refuses(("127.0.0.1", port))
    assert emperor.status("good")["pid"] == pid
    assert answer(good) == "one"
    emperor.write("bad", text(port, app))
    emperor.wait_state("bad", "running")
    assert answer(port) == "one"


def test_a_fifo_and_a_directory_are_broken_and_nobody_waits(emperor, app):
    os.mkfifo(emperor.vassals / "fifo.ini")
    (emperor.vassals / "folder.ini").mkdir()
    for name in ("fifo", "folder"):
        row = emperor.wait_state(name, "broken")
        assert row["last_failure"]["reason"]
    port = serve(emperor, app)
    assert answer(port) == "one"
    (emperor.vassals / "fifo.ini").unlink()
    emperor.write("fifo", text(free_port(), app))
    emperor.wait_state("fifo", "running")


def test_a_hundred_touches_a_delete_and_a_replacement_end_as_the_file_says(emperor, app):
    port = serve(emperor, app)
    for _ in range(100):
        emperor.touch("blog")
    emperor.delete("blog")
    emperor.write("blog", text(port, app, threads=2))
    write_app(app, "app", "last")
    emperor.touch("blog")
    wait_until(lambda: answer(port) == "last", 20, "the last state of the file")
    emperor.delete("blog")
    emperor.wait_gone("blog")


def test_a_file_deleted_while_it_starts_leaves_nothing(emperor, app):
    (app / "app.py").write_text("import time\ntime.sleep(600)\n")
    emperor.write("blog", text(free_port(), app))
    emperor.wait_state("blog", "starting")
    emperor.delete("blog")
    emperor.wait_gone("blog")
    wait_until(lambda: not titled(emperor, "vassal blog"), 10, "no process to be left")


def test_a_place_that_appears_later_is_watched(make_emperor, app, tmp_path):
    later = tmp_path / "later"
    emperor = make_emperor(places=[later]).start()
    assert str(later) in emperor.log.read_text()
    later.mkdir()
    port = free_port()
    (later / "blog.ini").write_text(text(port, app))
    emperor.wait_state("blog", "running")
    assert answer(port) == "one"


def test_several_places_globs_and_single_files(make_emperor, app, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "blog.ini").write_text(text(free_port(), app))
    emperor = make_emperor(places=[tmp_path / "a", f"glob://{tmp_path}/b/*.ini", tmp_path / "c" / "blog.ini"]).start()
    wait_until(
        lambda: len([r for r in emperor.statuses().values() if r["state"] == "running"]) == 3, 20, "three vassals"
    )


def test_a_second_emperor_on_the_same_control_socket_disturbs_nothing(emperor, make_emperor, app, tmp_path):
    port = serve(emperor, app)
    (tmp_path / "second").mkdir()
    second = make_emperor(tmp_path / "second", arguments=["--control", str(emperor.control)])
    second.start(ready=False)
    assert second.wait() == 1
    assert "another emperor" in second.log.read_text()
    assert answer(port) == "one"
    assert emperor.status("blog")["state"] == "running"


def test_the_vassals_output_goes_to_its_log(emperor, app):
    (app / "app.py").write_text(
        "import sys\nprint('loaded', flush=True)\ndef application(e, s):\n"
        "    e['wsgi.errors'].write('asked\\n')\n    e['wsgi.errors'].flush()\n"
        "    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app)
    answer(port)
    wait_until(lambda: "asked" in emperor.vassal_log("blog"), 10, "the line in the log")
    logs = emperor.cli("logs", "blog", "-n", "50", check=True).stdout
    assert "loaded" in logs
    assert "asked" in logs


def test_the_pidfile_is_the_masters_and_goes_with_the_vassal(emperor, app, tmp_path):
    pidfile = tmp_path / "blog.pid"
    serve(emperor, app, pidfile=pidfile)
    wait_until(pidfile.exists, 10, "the pidfile")
    assert int(pidfile.read_text()) == emperor.status("blog")["pid"]
    assert emperor.cli("reload", "blog").returncode == 0
    wait_until(lambda: int(pidfile.read_text() or 0) == emperor.status("blog")["pid"], 10, "the new pid")
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not pidfile.exists()


def test_status_shows_requests_workers_and_addresses(emperor, app):
    port = serve(emperor, app, processes=2)
    for _ in range(5):
        answer(port)
    # The first worker that is ready makes the vassal run, and a response may be read before it is counted.
    told = None

    def settled():
        nonlocal told
        told = emperor.status("blog")
        return (told["requests"], told["workers"]) == (5, 2)

    wait_until(settled, 10, lambda: f"five requests and two workers: {told}")
    row = told
    assert row["addresses"] == [f"127.0.0.1:{port}"]
    assert row["rss"] > 1_000_000
    assert row["uid"] == os.geteuid()
    wait_until(lambda: emperor.status("blog")["loyal"], 10, "it to be loyal")
    table = emperor.cli("status", check=True).stdout
    assert "blog" in table
    assert "running" in table


def test_no_descriptor_leaks_over_many_reloads_and_failures(emperor, app):
    serve(emperor, app)
    good = (app / "app.py").read_text()

    def descriptors():
        return len(os.listdir(f"/proc/{emperor.pid}/fd"))

    emperor.cli("reload", "blog")
    before = wait_until(lambda: (not titled(emperor, "gen 1 ")) and descriptors(), 10, "the first generation to end")
    for number in range(6):
        (app / "app.py").write_text("raise ValueError\n" if number % 2 else good)
        emperor.cli("reload", "blog")
    wait_until(lambda: descriptors() <= before, 10, lambda: f"{before} descriptors, not {descriptors()}")


def test_the_end_of_one_vassal_spares_what_another_has_double_forked(emperor, app):
    (app / "app.py").write_text(
        "import subprocess\n"
        "def application(e, s):\n"
        "    if e['PATH_INFO'] == '/fork':\n"
        "        subprocess.run(['sh', '-c', 'setsid sleep 602 &'], check=True)\n"
        "    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app, "a")
    serve(emperor, app, "b")
    http_get(("127.0.0.1", port), "/fork")

    def stray():
        return [p for p in emperor.processes() if process_name(p) == "sleep"]

    (sleeper,) = wait_until(stray, 10, "the stray process")
    wait_until(lambda: sleeper.ppid() == emperor.status("a")["pid"], 10, "its adoption by its own master")
    emperor.delete("b")
    emperor.wait_gone("b")
    assert sleeper.is_running()
    emperor.delete("a")
    emperor.wait_gone("a")
    wait_until(lambda: not stray(), 10, "the stray to end with its own vassal")


def test_touch_reload_reloads_once_and_the_vassals_own_file_counts_once(emperor, app, tmp_path):
    marker = tmp_path / "deployed"
    marker.write_text("")
    port = free_port()
    source = text(port, app) + f"touch-reload = {marker}\ntouch-reload = %p\n"
    emperor.write("blog", source)
    emperor.wait_state("blog", "running")
    answer(port)
    touch_file(marker)
    emperor.wait_state("blog", "running", generation=2)
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=3)
    touch_file(marker)
    assert emperor.wait_state("blog", "running", generation=4)["generation"] == 4


def test_a_worker_that_holds_the_gil_is_replaced_and_its_client_told(emperor, app):
    (app / "app.py").write_text(
        "import re\n"
        "def application(e, s):\n"
        "    if e['PATH_INFO'] == '/stuck':\n"
        "        re.match(r'(a+)+$', 'a' * 40 + 'b')\n"
        "    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app, harakiri=1)
    assert http_get(("127.0.0.1", port), "/stuck", timeout=30).status == 504
    wait_until(lambda: answer(port) == "one", 10, "another worker")
    wait_until(lambda: "harakiri" in emperor.vassal_log("blog"), 10, "the line in the log")


def test_a_touched_include_reloads_the_vassals_that_read_it_and_no_other(emperor, app, tmp_path):
    common = tmp_path / "common.ini"
    common.write_text("[uwsgi]\nthreads = 2\n")
    ports = {}
    for name in ("a", "b"):
        ports[name] = free_port()
        emperor.write(name, text(ports[name], app) + f"ini = {common}\n")
        emperor.wait_state(name, "running")
        answer(ports[name])
    serve(emperor, app, "other")
    touch_file(common)
    for name in ("a", "b"):
        emperor.wait_state(name, "running", generation=2)
    assert emperor.status("other")["generation"] == 1


def test_the_emperors_own_pidfile_and_title(make_emperor, tmp_path):
    pidfile = tmp_path / "run.pid"
    emperor = make_emperor(settings={"pidfile": str(pidfile), "procname": "caesar"}).start()
    assert int(pidfile.read_text()) == emperor.pid
    (tmp_path / "second").mkdir()
    arguments = ["--control", str(emperor.control)]
    second = make_emperor(tmp_path / "second", settings={"pidfile": str(pidfile)}, arguments=arguments)
    second.start(ready=False)
    assert second.wait() == 1
    assert int(pidfile.read_text()) == emperor.pid
    wait_until(lambda: "caesar: 0 vassals" in " ".join(command_line(p) for p in emperor.processes()), 10, "its title")
    emperor.close()
    assert not pidfile.exists()


def test_a_pidfile_that_cannot_be_written_is_told(make_emperor, tmp_path):
    emperor = make_emperor(settings={"pidfile": str(tmp_path / "no" / "run.pid")}).start(ready=False)
    assert emperor.wait() == 1
    assert f"cannot write the pidfile {tmp_path}/no/run.pid: No such file or directory" in emperor.log.read_text()
