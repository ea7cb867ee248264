"""Deaths in bad company: what one vassal's end, or the emperor's, must not cost another."""

import os
import signal
from pathlib import Path

import pytest

from tests.clients import HttpClient, http_get
from tests.harness import command_line, free_port, vassal_text, wait_until, write_file
from vassal import sessions


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app whose ``/slow`` writes a file when it has begun and answers once another file is there."""
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "app.py").write_text(
        "import os, time\n"
        "def application(e, s):\n"
        "    if e['PATH_INFO'] == '/slow':\n"
        f"        open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        f"        while not os.path.exists({str(tmp_path / 'go')!r}):\n"
        "            time.sleep(0.02)\n"
        "    s('200 OK', [])\n    return [b'one']\n"
    )
    return directory


def serve(emperor, app, name, **options):
    port = free_port()
    emperor.write(name, vassal_text(port, chdir=app, **options))
    emperor.wait_state(name, "running")
    return port


def test_a_request_survives_the_death_of_its_master_and_the_end_of_another_vassal(emperor, app, tmp_path):
    port = serve(emperor, app, "a")
    serve(emperor, app, "b")
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/slow")
        wait_until((tmp_path / "begun").exists, 10, "the request to be in the app")
        os.kill(emperor.status("a")["pid"], signal.SIGKILL)
        emperor.wait_state("a", "running", generation=2)
        emperor.delete("b")
        emperor.wait_gone("b")
        (tmp_path / "go").touch()
        assert client.response().text == "one"


def test_a_request_survives_the_death_of_the_fork_server_and_then_of_its_master(emperor, app, tmp_path):
    port = serve(emperor, app, "a")
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/slow")
        wait_until((tmp_path / "begun").exists, 10, "the request to be in the app")
        (server,) = [p for p in emperor.processes() if "fork server" in command_line(p)]
        server.kill()
        wait_until(lambda: "the fork server died" in emperor.log.read_text(), 10, "its death to be seen")
        os.kill(emperor.status("a")["pid"], signal.SIGKILL)
        emperor.wait_state("a", "running", generation=2)
        (tmp_path / "go").touch()
        assert client.response().text == "one"


def test_nothing_starts_any_more_once_the_emperor_stops(emperor, app, tmp_path):
    port = serve(emperor, app, "a")
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/slow")
        wait_until((tmp_path / "begun").exists, 10, "the request to be in the app")
        emperor.kill()
        wait_until(lambda: "stopping" in emperor.log.read_text(), 10, "it to be stopping")
        assert emperor.cli("start", "a").returncode == 1
        assert emperor.cli("reload", "a").returncode == 1
        emperor.touch("a")
        (tmp_path / "go").touch()
        assert client.response().text == "one"
    assert emperor.wait() == 0
    assert "generation 2" not in emperor.log.read_text()


def test_an_emperor_without_descriptors_goes_on_and_recovers(make_emperor, app, tmp_path):
    emperor = make_emperor()
    emperor.command = ["/usr/bin/prlimit", "--nofile=64:64", *emperor.command]
    emperor.start()
    ports = {}
    for number in range(30):
        ports[f"v{number}"] = free_port()
        emperor.write(f"v{number}", vassal_text(ports[f"v{number}"], chdir=app))
    wait_until(lambda: "v0" in emperor.log.read_text() and "serves" in emperor.log.read_text(), 20, "some to serve")
    wait_until(lambda: "RLIMIT_NOFILE" in emperor.log.read_text(), 20, "the limit to be told")
    wait_until(lambda: len(_names(emperor) or ()) == len(ports), 20, "who it is that has no room")
    served = [name for name, port in ports.items() if _answers(port)]
    for name in ports:
        if name not in served[:2]:
            emperor.delete(name)
    wait_until(lambda: set(_names(emperor) or ()) == set(served[:2]), 30, lambda: f"two to be left: {_names(emperor)}")
    assert all(_answers(ports[name]) for name in served[:2])
    assert "descriptors were lost" not in emperor.log.read_text()
    port = free_port()
    emperor.write("new", vassal_text(port, chdir=app))
    emperor.wait_state("new", "running")
    assert _answers(port)


def test_parked_vassals_leave_room_to_wake_one(make_emperor, app, tmp_path):
    sockets = tmp_path / "sockets"
    emperor = make_emperor(settings={"emperor-on-demand-directory": str(sockets)})
    emperor.command = ["/usr/bin/prlimit", "--nofile=100:100", *emperor.command]
    emperor.start()
    for number in range(50):
        emperor.write(f"v{number}", f"[uwsgi]\nprotocol = http\nchdir = {app}\nmodule = app\n")
    wait_until(lambda: "RLIMIT_NOFILE" in emperor.log.read_text(), 20, "the limit to be told")
    door = next(sockets.iterdir())
    assert http_get(str(door), timeout=20).text == "one"


def _answers(port):
    try:
        return http_get(("127.0.0.1", port)).text == "one"
    except OSError:
        return False


def _names(emperor):
    try:
        return list(emperor.statuses())
    except OSError:
        return None


def test_a_master_whose_app_hangs_while_it_loads_ends_with_the_emperor(make_emperor, app):
    emperor = make_emperor().start()
    (app / "app.py").write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n")
    emperor.write("a", vassal_text(free_port(), chdir=app))
    emperor.wait_state("a", "starting")
    emperor.kill(signal.SIGKILL)
    emperor.wait_empty()


def test_an_app_that_changes_signals_while_it_loads_does_not_deafen_its_master(emperor, app):
    (app / "app.py").write_text(
        "import signal\n"
        "for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "signal.set_wakeup_fd(-1)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app, "a")
    (worker,) = wait_until(lambda: emperor.status("a")["worker_pids"], 10, "the worker")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: emperor.status("a")["worker_pids"] not in ([], [worker]), 10, "another worker")
    assert http_get(("127.0.0.1", port)).text == "one"
    emperor.delete("a")
    emperor.wait_gone("a", deadline=10)


def test_a_full_disk_does_not_hide_why_a_vassal_is_broken(emperor, app):
    text = vassal_text(free_port(), "no_such_app", chdir=app)
    emperor.write("a", text + "logto = /dev/full\n")
    assert "no_such_app" in emperor.wait_state("a", "broken")["last_failure"]["reason"]


def test_a_missing_socket_directory_is_named(emperor, app, tmp_path):
    emperor.write("a", f"[uwsgi]\nhttp-socket = {tmp_path}/none/x.sock\nchdir = {app}\nmodule = app\n")
    failure = emperor.wait_state("a", "backoff")["last_failure"]
    assert failure["stage"] == "bind"
    assert "its directory does not exist" in failure["reason"]


RUNNER = """\
import os

if not os.fork():
    os.setsid()
    os.nice(19)
    with open({note!r}, "w") as file:
        file.write(str(os.getpid()))
    while True:
        if os.fork():
            os._exit(0)  # whoever looks for it finds that it has gone on
"""


def test_what_runs_away_from_an_orphaned_master_is_caught(emperor, app, tmp_path):
    """A process that is another one at each look, of a master whose fork server is dead: the emperor chases it."""
    serving = (app / "app.py").read_text()
    note = tmp_path / "session"
    (app / "app.py").write_text(RUNNER.format(note=str(note)) + serving)
    serve(emperor, app, "a")
    wait_until(lambda: note.exists() and note.read_text(), 10, "the runner")

    def runner():
        return [process for process in sessions.everyone() if process.session == int(note.read_text())]

    [server] = [p for p in emperor.processes() if "fork server" in command_line(p)]
    server.kill()
    wait_until(lambda: "the fork server died" in emperor.log.read_text(), 10, "its death to be seen")
    (app / "app.py").write_text(serving)
    os.kill(emperor.status("a")["pid"], signal.SIGKILL)
    emperor.wait_state("a", "running", generation=2)
    wait_until(lambda: not runner(), 10, "the runner to be gone")


def test_who_calls_after_harakiri_is_answered_by_the_next_worker(emperor, tmp_path):
    """The struck worker, whose only thread is stuck, lives on until the next one has loaded the app.

    So it does while a failed reload stands, when workers that load the app are not replaced by choice.
    """
    app = tmp_path / "slow"
    app.mkdir()
    (app / "app.py").write_text(
        "import os, time\n"
        "time.sleep(1 if os.path.exists('struck') else 0)\n"
        "def application(e, s):\n"
        "    if e['PATH_INFO'] == '/stuck':\n"
        "        open('struck', 'w').close()\n"
        "        time.sleep(600)\n"
        "    s('200 OK', [])\n    return [b'one']\n"
    )
    port = serve(emperor, app, "a", lazy_apps="true", processes=1, harakiri=1)
    file = emperor.path("a")
    write_file(file, file.read_text() + "processes = many\n")
    reason = wait_until(lambda: emperor.status("a")["last_failure"], 10, "the failure")["reason"]
    assert reason.startswith(f"{file}:")
    assert http_get(("127.0.0.1", port), "/stuck", timeout=30).status == 504
    assert http_get(("127.0.0.1", port), "/", timeout=20).text == "one"
