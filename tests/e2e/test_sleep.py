"""Cheap, idle and parked vassals: asleep when nobody calls, awake for whoever does."""

import json
import os
import signal
import socket
import stat
import threading

import pytest

from tests.clients import HttpClient, http_get
from tests.harness import command_line, free_port, touch_file, vassal_text, wait_until, write_app, write_file


@pytest.fixture
def on_demand(start_emperor):
    """Starts an emperor with these settings of its own."""

    def start(**settings):
        return start_emperor(settings={key.replace("_", "-"): str(value) for key, value in settings.items()})

    return start


def of_vassal(emperor, name):
    """The processes of a vassal."""
    return [p for p in emperor.processes() if f"vassal {name} " in command_line(p)]


def get(address, path="/"):
    return http_get(address, path, timeout=20).text


def test_a_cheap_vassal_has_no_workers_until_somebody_calls(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, cheap="true", idle=1, processes=2))
    emperor.wait_state("blog", "cheap")
    wait_until(lambda: len(of_vassal(emperor, "blog")) == 1, 10, "the master alone")
    assert get(("127.0.0.1", port)) == "one"
    assert emperor.wait_state("blog", "running")["generation"] == 1
    emperor.wait_state("blog", "cheap")
    wait_until(lambda: len(of_vassal(emperor, "blog")) == 1, 10, "the workers to go")
    assert get(("127.0.0.1", port)) == "one"


def test_callers_at_the_moment_of_falling_asleep_are_all_answered(emperor, app):
    """Workers come and go all the time, and every connection finds one."""
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, cheap="true", idle=1))
    emperor.wait_state("blog", "cheap")
    failures = []

    def call(pause):
        gap = threading.Event()
        for _ in range(4):
            try:
                assert get(("127.0.0.1", port)) == "one"
            except (OSError, AssertionError) as error:
                failures.append(repr(error))
            gap.wait(pause)

    callers = [threading.Thread(target=call, args=(0.9 + 0.05 * number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not failures


def test_a_slow_upload_and_a_slow_download_are_no_idleness(emperor, app):
    """Neither holds a thread of the app, and neither is cut because nobody else calls."""
    size = 30_000_000
    write_file(
        app / "app.py",
        "def application(e, s):\n"
        f"    body = b'x' * {size} if e['PATH_INFO'] == '/big' else b'%d' % len(e['wsgi.input'].read())\n"
        "    s('200 OK', [('Content-Length', str(len(body)))])\n    return [body]\n",
    )
    options = {"idle": 1, "worker-reload-mercy": 1}
    port, other = free_port(), free_port()
    emperor.write("blog", vassal_text(port, chdir=app, **options))
    emperor.wait_state("blog", "running")
    with HttpClient(("127.0.0.1", port)) as up, HttpClient(("127.0.0.1", port)) as down:
        up.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nabc")
        down.send_request("GET", "/big")
        assert down._file.readline() == b"HTTP/1.1 200 OK\r\n"
        emperor.write("calm", vassal_text(other, chdir=app, **{**options, "idle": 3}))
        emperor.wait_state("calm", "running")
        emperor.wait_state("calm", "cheap")
        wait_until(lambda: len(of_vassal(emperor, "calm")) == 1, 10, "the workers of one that is idle to go")
        assert emperor.status("blog")["state"] == "running"
        up.send(b"def")
        assert up.response().text == "6"
        while down._file.readline() != b"\r\n":
            pass
        assert len(down._exactly(size)) == size
    emperor.wait_state("blog", "cheap")


def test_a_broken_deploy_is_caught_in_a_cheap_vassal_too(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, cheap="true", idle=1))
    emperor.wait_state("blog", "cheap")
    write_file(app / "app.py", "import no_such_module\n")
    emperor.touch("blog")
    wait_until(lambda: emperor.status("blog")["last_failure"], 10, "the failure")
    assert "no_such_module" in emperor.status("blog")["last_failure"]["reason"]
    assert emperor.status("blog")["generation"] == 1


def test_die_on_idle_leaves_no_process_and_the_next_caller_starts_it(emperor, app, tmp_path):
    port, path = free_port(), tmp_path / "blog.sock"
    text = vassal_text(port, chdir=app, idle=1, **{"die-on-idle": "true", "chmod-socket": "640"})
    emperor.write("blog", text + f"http-socket = {path}\n")
    emperor.wait_state("blog", "running")
    before = path.stat()
    for generation in (2, 3):
        emperor.wait_state("blog", "parked")
        wait_until(lambda: not of_vassal(emperor, "blog"), 10, "its processes to be gone")
        assert emperor.status("blog")["pid"] is None
        assert get(("127.0.0.1", port) if generation == 2 else str(path)) == "one"
        assert emperor.wait_state("blog", "running")["generation"] == generation
    now = path.stat()
    assert (now.st_ino, stat.S_IMODE(now.st_mode)) == (before.st_ino, 0o640)
    assert stat.S_IMODE(before.st_mode) == 0o640


def test_a_cheap_vassal_that_nobody_calls_ends_when_it_is_idle(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, cheap="true", idle=1, **{"die-on-idle": "true"}))
    emperor.wait_state("blog", "parked")
    wait_until(lambda: not of_vassal(emperor, "blog"), 10, "its processes to be gone")
    assert get(("127.0.0.1", port)) == "one"
    emperor.wait_state("blog", "parked")


def test_a_parked_vassal_that_is_deleted_leaves_nothing(emperor, app, tmp_path):
    port, path = free_port(), tmp_path / "blog.sock"
    text = vassal_text(port, chdir=app, idle=1, **{"die-on-idle": "true"})
    emperor.write("blog", text + f"http-socket = {path}\n")
    emperor.wait_state("blog", "parked")
    assert path.exists()
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not path.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_touch_of_a_parked_vassal_is_read_and_does_not_wake_it(emperor, app):
    port, other = free_port(), free_port()
    text = vassal_text(port, chdir=app, idle=1, **{"die-on-idle": "true"})
    emperor.write("blog", text)
    emperor.wait_state("blog", "parked")
    emperor.write("blog", text + f"http-socket = 127.0.0.1:{other}\n")
    wait_until(lambda: len(emperor.status("blog")["addresses"]) == 2, 10, "the new address")
    assert emperor.status("blog")["state"] == "parked"
    assert get(("127.0.0.1", other)) == "one"
    emperor.wait_state("blog", "parked")
    emperor.write("blog", text + "no-such-option-at-all\nstrict = true\n")
    emperor.wait_state("blog", "broken")
    emperor.write("blog", text)
    emperor.wait_state("blog", "parked")
    assert get(("127.0.0.1", port)) == "one"


def test_by_directory_all_are_parked_from_the_start(on_demand, app, tmp_path):
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    emperor = on_demand(emperor_on_demand_directory=sockets)
    own = sockets / "own.socket"
    emperor.write("own", f"[uwsgi]\nhttp-socket = {own}\nchdir = {app}\nmodule = app\nidle = 1\ndie-on-idle = true\n")
    emperor.write("plain", f"[uwsgi]\nprotocol = http\nchdir = {app}\nmodule = app\nidle = 1\ndie-on-idle = true\n")
    for name in ("own", "plain"):
        emperor.wait_state(name, "parked")
        path = sockets / f"{name}.socket"
        wait_until(path.exists, 10, "its socket")
        inode = path.stat().st_ino
        for _ in range(2):
            assert get(str(path)) == "one"
            emperor.wait_state(name, "parked")
        assert path.stat().st_ino == inode, "it adopts the listener, whoever named it"
    emperor.delete("own")
    emperor.wait_gone("own")
    assert not own.exists()
    assert (sockets / "plain.socket").exists()


def test_by_extension_those_with_a_file_beside_theirs_are_parked(on_demand, app):
    emperor = on_demand(emperor_on_demand_extension=".socket")
    port, other = free_port(), free_port()
    write_file(emperor.vassals / "a.ini.socket", f"127.0.0.1:{port}\n")
    emperor.write("a", f"[uwsgi]\nprotocol = http\nchdir = {app}\nmodule = app\n")
    emperor.write("b", vassal_text(other, chdir=app))
    emperor.wait_state("a", "parked")
    emperor.wait_state("b", "running")
    assert not of_vassal(emperor, "a")
    assert get(("127.0.0.1", port)) == "one"
    emperor.wait_state("a", "running")


def test_by_command_whatever_it_prints_is_the_address(on_demand, app, tmp_path):
    script = write_file(tmp_path / "where", "#!/bin/sh\ncase $2 in */a.ini) echo $1;; esac\n")
    script.chmod(0o755)
    port, other = free_port(), free_port()
    emperor = on_demand(emperor_on_demand_exec=f"{script} 127.0.0.1:{port}")
    emperor.write("a", vassal_text(port, chdir=app))
    emperor.write("b", vassal_text(other, chdir=app))
    emperor.wait_state("a", "parked")
    emperor.wait_state("b", "running")
    assert get(("127.0.0.1", port)) == "one"


def test_a_command_that_hangs_breaks_its_vassal_only(on_demand, app, tmp_path):
    script = write_file(tmp_path / "where", "#!/bin/sh\ncase $1 in */a.ini) sleep 600;; esac\n")
    script.chmod(0o755)
    emperor = on_demand(emperor_on_demand_exec=str(script))
    emperor.write("a", vassal_text(free_port(), chdir=app))
    emperor.write("b", vassal_text(free_port(), chdir=app))
    emperor.wait_state("b", "running")
    assert "emperor-on-demand-exec" in emperor.wait_state("a", "broken")["last_failure"]["reason"]


def test_a_wake_that_fails_does_not_spin(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, idle=1, **{"die-on-idle": "true"}))
    emperor.wait_state("blog", "parked")
    write_file(app / "app.py", "import os\nos.kill(os.getpid(), 9)\n")
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/")
        emperor.wait_state("blog", "backoff")
        failed = emperor.log.read_text().count("before it was ready")
        assert failed <= 2
        write_app(app, "app", "two")
        emperor.touch("blog")
        assert client.response().text == "two"


def test_start_wakes_a_parked_vassal(emperor, app):
    emperor.write("blog", vassal_text(free_port(), chdir=app, idle=2, **{"die-on-idle": "true"}))
    emperor.wait_state("blog", "parked")
    emperor.cli("start", "blog", check=True)
    assert emperor.status("blog")["state"] == "running"
    assert json.loads(emperor.cli("status", "blog", "--json").stdout)[0]["next_wake"] is None


def test_a_parked_vassal_stops_and_starts_parked(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, idle=1, **{"die-on-idle": "true"}))
    emperor.wait_state("blog", "parked")
    emperor.cli("stop", "blog", check=True)
    assert emperor.status("blog")["state"] == "stopped"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    emperor.cli("start", "blog", check=True)
    assert get(("127.0.0.1", port)) == "one"


# --- the health gate, chains, and numbers of workers -----------------------------------------------------------------


CHECKED = """
import os, pathlib
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/health":
        verdict = pathlib.Path("verdict").read_text()
        if verdict == "never":
            __import__("time").sleep(600)
        start_response(verdict, [])
        return [b"x"]
    start_response("200 OK", [])
    return [os.environ.get("HOME", "").encode() and pathlib.Path("version").read_bytes()]
"""


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [("overlap", "500 Down"), ("overlap", "never"), ("chain", "404 Not Found"), ("chain", "never")],
)
def test_whoever_fails_its_ready_check_never_serves(emperor, app, strategy, verdict):
    port = free_port()
    write_file(app / "app.py", CHECKED)
    write_file(app / "version", "one")
    write_file(app / "verdict", "204 No Content")
    proxies = {"enable-proxy-protocol": "true", "trusted-proxies": "192.0.2.1"}  # the master that asks is none of them
    options = {"ready-check": "/health", "ready-check-timeout": 2, "reload-strategy": strategy, **proxies}
    emperor.write("blog", vassal_text(port, chdir=app, processes=2, **options))
    emperor.wait_state("blog", "running")
    workers = wait_until(lambda: len(pids := emperor.status("blog")["worker_pids"]) == 2 and pids, 10, "both workers")
    write_file(app / "verdict", verdict)
    result = emperor.cli("reload", "blog")
    assert result.returncode == 1
    failure = emperor.status("blog")["last_failure"]
    assert failure["stage"] == ("ready" if strategy == "overlap" else "load")
    assert "/health was" in failure["reason"]
    assert emperor.status("blog")["worker_pids"] == workers
    assert get(("127.0.0.1", port)) == "one"
    write_file(app / "verdict", "302 Found")
    emperor.cli("reload", "blog", check=True)
    assert emperor.status("blog")["last_failure"] is None


def test_chain_replaces_the_code_worker_by_worker_and_stops_at_the_first_failure(emperor, app):
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, processes=3, **{"reload-strategy": "chain"}))
    first = emperor.wait_state("blog", "running")
    write_app(app, "app", "two")
    emperor.touch("blog")
    wait_until(lambda: get(("127.0.0.1", port)) == "two", 10, "new code")
    wait_until(lambda: "all workers are new" in emperor.vassal_log("blog"), 10, "the end of the chain")
    assert emperor.status("blog")["pid"] == first["pid"]
    write_file(app / "app.py", "import no_such_module\n")
    result = emperor.cli("reload", "blog")
    assert result.returncode == 1
    assert "no_such_module" in emperor.status("blog")["last_failure"]["reason"]
    for _ in range(6):
        assert get(("127.0.0.1", port)) == "two"


def test_an_edited_file_is_a_new_generation_under_chain_too(emperor, app):
    port, other = free_port(), free_port()
    text = vassal_text(port, chdir=app, **{"reload-strategy": "chain"})
    emperor.write("blog", text)
    emperor.wait_state("blog", "running")
    emperor.write("blog", text + f"http-socket = 127.0.0.1:{other}\n")
    assert emperor.wait_state("blog", "running", generation=2)
    assert get(("127.0.0.1", other)) == "one"


@pytest.mark.parametrize("option", ["touch-chain-reload", "touch-workers-reload"])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_touched_file_brings_new_code(emperor, app, tmp_path, option, lazy):
    port, marker = free_port(), tmp_path / "deployed"
    marker.write_text("")
    emperor.write("blog", vassal_text(port, chdir=app, processes=2, **{option: marker, "lazy-apps": str(lazy).lower()}))
    emperor.wait_state("blog", "running")
    write_app(app, "app", "two")
    touch_file(marker)
    wait_until(lambda: get(("127.0.0.1", port)) == "two", 10, "new code")
    assert emperor.wait_state("blog", "running")["generation"] == (1 if lazy else 2)


def test_after_a_failed_reload_lazy_workers_are_not_replaced_by_choice(emperor, app):
    port = free_port()
    options = {"lazy-apps": "true", "max-requests": 5, "min-worker-lifetime": 0}
    emperor.write("blog", vassal_text(port, chdir=app, **options))
    emperor.wait_state("blog", "running")
    write_file(app / "app.py", "import no_such_module\n")
    assert emperor.cli("reload", "blog").returncode == 1
    (worker,) = emperor.status("blog")["worker_pids"]
    for _ in range(30):
        assert get(("127.0.0.1", port)) == "one"
    assert emperor.status("blog")["worker_pids"] == [worker]


def test_after_a_failed_reload_nobody_sleeps_who_would_wake_with_the_broken_code(emperor, tmp_path):
    kinds = {
        "cheap": {"cheap": "true"},
        "lazy": {"lazy-apps": "true", "die-on-idle": "true"},
        "parks": {"die-on-idle": "true"},
        "sound": {"cheap": "true"},
    }
    ports = {name: free_port() for name in kinds}
    for name, options in kinds.items():
        (tmp_path / name).mkdir()
        write_app(tmp_path / name, answer="one")
        emperor.write(name, vassal_text(ports[name], chdir=tmp_path / name, idle=2, **options))
    emperor.wait_state("sound", "cheap")
    for name in ("cheap", "lazy", "parks"):
        emperor.wait_state(name, "running", "cheap", "parked")
        assert get(("127.0.0.1", ports[name])) == "one"
        write_file(tmp_path / name / "app.py", "import no_such_module\n")
        assert emperor.cli("reload", name).returncode == 1
    generations = {name: emperor.wait_state(name, "running")["generation"] for name in kinds if name != "sound"}
    assert get(("127.0.0.1", ports["sound"])) == "one"
    emperor.wait_state("sound", "running")
    emperor.wait_state("sound", "cheap")  # it had less time to fall asleep than the others
    for name in ("cheap", "lazy", "parks"):
        assert get(("127.0.0.1", ports[name])) == "one"
        assert emperor.status(name)["generation"] == generations[name]


def test_cheaper_starts_workers_when_all_are_busy_and_lets_them_go(emperor, app):
    port = free_port()
    write_file(
        app / "app.py",
        "import pathlib, time\n"
        "def application(e, s):\n"
        "    while e['PATH_INFO'] == '/wait' and not pathlib.Path('go').exists():\n        time.sleep(0.01)\n"
        "    s('200 OK', [])\n    return [b'one']\n",
    )
    options = {"cheaper": 1, "cheaper-overload": 1}
    emperor.write("blog", vassal_text(port, chdir=app, processes=3, **options))
    assert emperor.wait_state("blog", "running")["workers"] <= 1
    with HttpClient(("127.0.0.1", port)) as one:
        one.send_request("GET", "/wait")
        wait_until(lambda: emperor.status("blog")["workers"] == 2, 10, "a second one")
        with HttpClient(("127.0.0.1", port)) as two:
            two.send_request("GET", "/wait")
            wait_until(lambda: emperor.status("blog")["workers"] == 3, 10, "all three")
            (app / "go").touch()
            assert one.response().text == two.response().text == "one"
    wait_until(lambda: emperor.status("blog")["workers"] == 1, 20, "one to be enough")


def test_a_vassal_that_ignores_sigterm_ends_all_the_same(emperor, app):
    write_file(
        app / "app.py",
        "import signal\nfor number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n",
    )
    emperor.write("blog", vassal_text(free_port(), chdir=app, **{"reload-mercy": 1}))
    pid = emperor.wait_state("blog", "running")["pid"]
    emperor.delete("blog")
    emperor.wait_gone("blog")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
