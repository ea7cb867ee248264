"""Daemons in a real fleet: plain ones end with their generation, smart ones with their vassal, whoever is killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.clients import HttpClient, http_get
from tests.harness import command_line, free_port, unavailable, vassal_text, wait_until, write_app

ONCE = (
    "mkdir {name}.lock || echo twice >> {name}.twice; echo $$ >> {name}; echo up $$; "
    "trap 'rmdir {name}.lock; exit 0' TERM; while :; do sleep 0.05; done"
)
"""Tells when it runs twice at once."""
ESCAPE = "import os,time;os.fork() and os._exit(0);os.setsid();os.fork() and os._exit(0);"
AWAY = f'{sys.executable} -c \'{ESCAPE}open("NAME","w").write(str(os.getpid()));time.sleep(600)\''


def drop(emperor, app, name, *lines, **options):
    port = free_port()
    emperor.write(name, vassal_text(port, chdir=app, **options) + "\n".join(lines) + "\n")
    emperor.wait_state(name, "running", "cheap")
    return port


def words(path):
    return path.read_text().split() if path.exists() else []


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def shown(emperor, name):
    return emperor.status(name)["daemons"]


def wait_shown(emperor, name, *states):
    wait_until(lambda: tuple(d["state"] for d in shown(emperor, name)) == states, 20, lambda: str(shown(emperor, name)))
    return shown(emperor, name)


def test_a_plain_daemon_ends_with_its_generation_and_is_never_there_twice(emperor, app):
    line = ONCE.format(name="plain")
    drop(emperor, app, "blog", f"attach-daemon = {line}", "attach-daemon2 = cmd=exit 3,freq=1", **{"reload-mercy": 20})
    (first,) = wait_until(lambda: words(app / "plain"), 20)
    found = wait_shown(emperor, "blog", "running", "given up")
    assert found[0] == {"command": line, "pid": int(first), "state": "running", "restarts": 0}
    assert found[1] == {"command": "exit 3", "pid": None, "state": "given up", "restarts": 0}
    text = emperor.cli("status", "blog", check=True).stdout
    assert f"(running, pid {first}, restarts 0)" in text
    assert "(given up, restarts 0)" in text
    assert f"daemon mkdir: up {first}" in emperor.vassal_log("blog")
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    second = wait_until(lambda: words(app / "plain")[1:], 20)[0]
    assert not lives(first)
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=3)
    wait_until(lambda: not lives(second), 10)
    (app / "plain.lock").rmdir()  # it was killed, and could not
    third = wait_until(lambda: words(app / "plain")[2:], 20)[0]
    os.kill(int(third), signal.SIGTERM)
    wait_until(lambda: words(app / "plain")[3:], 20, "its restart")
    wait_until(lambda: shown(emperor, "blog")[0]["restarts"] == 1, 10, "its restart to be shown")
    emperor.cli("stop", "blog", check=True)
    assert not [pid for pid in words(app / "plain") if lives(pid)]
    emperor.cli("start", "blog", check=True)
    wait_until(lambda: words(app / "plain")[4:], 20, "its start after the stop")
    twice = words(app / "plain.twice")
    assert twice in ([], ["twice"]), "only the one between SIGKILL and the removal of its lock"


def test_a_daemon_that_resists_holds_up_neither_new_code_nor_requests(emperor, app):
    resists = "trap '' TERM; echo $$ >> pids; while :; do sleep 0.05; done"
    port = drop(emperor, app, "blog", f"attach-daemon = {resists}", **{"reload-mercy": 4})
    (first,) = wait_until(lambda: words(app / "pids"), 20)
    write_app(app, "app", "two")
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    wait_until(lambda: http_get(("127.0.0.1", port)).text == "two", 3, "the new code")
    assert lives(first), "it still has mercy"
    for _ in range(30):
        assert http_get(("127.0.0.1", port)).text == "two", "the old code does not go on meanwhile"
    assert len(words(app / "pids")) == 1, "never two at once"
    wait_until(lambda: not lives(first), 10, "mercy's end")
    wait_until(lambda: len(words(app / "pids")) == 2, 10, "the new one")


def test_smart_daemons_outlive_generations_and_end_with_their_vassal(emperor, app):
    line = f"smart-attach-daemon2 = s.pid {ONCE.format(name='smart')}"
    away = f"smart-attach-daemon = a.pid {AWAY.replace('NAME', 'a.pid')}"
    drop(emperor, app, "blog", line, away)
    (pid,) = wait_until(lambda: words(app / "smart"), 20)
    wait_shown(emperor, "blog", "running", "running")
    (double,) = words(app / "a.pid")
    assert {d["pid"] for d in shown(emperor, "blog")} == {int(pid), int(double)}

    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=3)
    (server,) = [p for p in emperor.processes() if "fork server" in command_line(p)]
    server.kill()
    wait_until(lambda: "the fork server died" in emperor.log.read_text(), 10)
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=4)
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=5)
    wait_shown(emperor, "blog", "running", "running")
    assert words(app / "smart") == [pid], "one and the same, through all of that"
    assert words(app / "a.pid") == [double]
    assert lives(pid)
    assert lives(double)

    os.kill(int(pid), signal.SIGKILL)
    (app / "smart.lock").rmdir()
    second = wait_until(
        lambda: words(app / "smart")[1:], 20, "its end to be noticed by a master that is not its parent"
    )
    emperor.write("blog", emperor.path("blog").read_text().replace(away, "").replace("0.05", "0.06"))
    third = wait_until(lambda: words(app / "smart")[2:], 20, "the changed line's daemon")
    wait_until(lambda: not lives(double), 20, "the end of one whose line has gone")
    assert not lives(second[0])
    assert words(app / "smart.twice") == []
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not lives(third[0])
    assert not (app / "s.pid").exists()


def test_a_vassal_that_sleeps_or_crashes_keeps_its_smart_daemons_until_it_ends(emperor, app):
    lines = [
        f"smart-attach-daemon2 = s.pid {ONCE.format(name='smart')}",
        f"attach-daemon = {ONCE.format(name='plain')}",
    ]
    port = drop(emperor, app, "blog", *lines, idle=1, **{"die-on-idle": "true"})
    emperor.wait_state("blog", "parked")
    (smart,) = words(app / "smart")
    (plain,) = words(app / "plain")
    assert lives(smart)
    assert not lives(plain)
    assert http_get(("127.0.0.1", port), timeout=20).text == "one"
    wait_until(lambda: words(app / "plain")[1:], 20, "the plain one, with its generation")
    assert words(app / "smart") == [smart]
    emperor.wait_state("blog", "parked")
    emperor.cli("stop", "blog", check=True)
    wait_until(lambda: not lives(smart), 10, "its end, which no master sees to")
    assert not (app / "smart.lock").exists(), "it was asked to end, not killed"
    assert not (app / "s.pid").exists()
    assert not [*app.glob("*.twice")]

    drop(emperor, app, "shop", f"smart-attach-daemon2 = t.pid {ONCE.format(name='left')}")
    (left,) = wait_until(lambda: words(app / "left"), 20)
    wait_shown(emperor, "shop", "running")
    write_app(app, "app", "one")
    (app / "app.py").write_text("raise SystemExit\n")
    os.kill(emperor.status("shop")["pid"], signal.SIGKILL)
    emperor.wait_state("shop", "broken", "backoff")
    assert lives(left), "its vassal may yet be mended"
    emperor.delete("shop")
    emperor.wait_gone("shop")
    wait_until(lambda: not lives(left), 10)


def test_when_the_emperor_is_killed_no_daemon_is_left(start_emperor, app):
    emperor = start_emperor()
    drop(
        emperor,
        app,
        "blog",
        f"smart-attach-daemon2 = s.pid {ONCE.format(name='smart')}",
        f"attach-daemon = {AWAY.replace('NAME', 'away')}; exec sleep 600",
    )
    parks = f"smart-attach-daemon2 = p.pid {ONCE.format(name='parked')}"
    drop(emperor, app, "parked", parks, idle=1, **{"die-on-idle": "true"})
    emperor.wait_state("parked", "parked")
    wait_until(lambda: words(app / "smart") and words(app / "away"), 20)
    emperor.kill(signal.SIGKILL)
    emperor.wait_empty(20)
    assert not (app / "smart.lock").exists(), "it was asked to end"


def test_when_emperor_and_master_are_killed_the_next_emperor_starts_no_second_one(start_emperor, app, tmp_path):
    emperor = start_emperor()
    drop(emperor, app, "blog", f"smart-attach-daemon2 = s.pid {ONCE.format(name='smart')}")
    (first,) = wait_until(lambda: words(app / "smart"), 20)
    wait_shown(emperor, "blog", "running")
    master = emperor.status("blog")["pid"]
    emperor.kill(signal.SIGKILL)
    os.kill(master, signal.SIGKILL)
    text = emperor.path("blog").read_text()
    other = tmp_path / "other"
    other.mkdir()
    second = start_emperor(other)
    second.write("blog", text)
    again = wait_until(lambda: words(app / "smart")[1:], 30)[0]
    assert not lives(first)
    assert lives(again)
    assert words(app / "smart.twice") == []
    emperor.wait_empty(20)


def test_a_control_daemon_takes_its_vassal_along(emperor, app):
    drop(emperor, app, "blog", "attach-control-daemon = echo $$ >> pids; exec sleep 600", loyalty=1)
    wait_until(lambda: emperor.status("blog")["loyal"], 20)
    os.kill(int(words(app / "pids")[0]), signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=2)
    wait_until(lambda: len(words(app / "pids")) == 2, 20)
    assert "control daemon" in emperor.vassal_log("blog")


@pytest.mark.root
def test_daemons_run_as_their_vassals_user_and_end_though_nobody_is_left(realm):
    user = realm.new_user()
    home = realm.directory_of(user)
    write_app(home, "app", "one")
    port = free_port()
    text = vassal_text(port, chdir=home, uid=user.pw_name, gid=user.pw_name)
    text += "smart-attach-daemon2 = s.pid id -u > uid; echo $$ > pid; exec sleep 600\n"
    text += "attach-daemon2 = uid=0,cmd=id -u > other; exec sleep 600\n"
    realm.drop("blog", text)
    realm.emperor.wait_state("blog", "running")
    (pid,) = wait_until(lambda: words(home / "pid"), 20)
    assert words(home / "uid") == [str(user.pw_uid)]
    assert wait_until(lambda: words(home / "other"), 20) == [str(user.pw_uid)], "rights are given up for good"
    assert "uid=0 has no effect" in realm.emperor.vassal_log("blog")
    wait_shown(realm.emperor, "blog", "running", "running")
    (home / "app.py").write_text("raise SystemExit\n")
    os.kill(realm.emperor.status("blog")["pid"], signal.SIGKILL)
    realm.emperor.wait_state("blog", "broken", "backoff")
    assert lives(pid)
    realm.emperor.delete("blog")
    realm.emperor.wait_gone("blog")
    wait_until(lambda: not lives(pid), 10)


def test_a_vassal_by_hand_keeps_its_smart_daemons_through_hup(app, tmp_path):
    port = free_port()
    file = tmp_path / "hand.ini"
    line = ONCE.format(name="plain")
    text = vassal_text(port, chdir=app)
    file.write_text(text + f"attach-daemon = {line}\nsmart-attach-daemon2 = s.pid {ONCE.format(name='smart')}\n")
    with (tmp_path / "log").open("wb") as log:
        vassal = subprocess.Popen([shutil.which("vassal", path=os.path.dirname(sys.executable)), file], stderr=log)
    try:
        wait_until(lambda: words(app / "plain") and words(app / "smart"), 20)
        vassal.send_signal(signal.SIGHUP)
        wait_until(lambda: words(app / "plain")[1:], 20, (tmp_path / "log").read_text)
        wait_until(lambda: http_get(("127.0.0.1", port)).text == "one", 10)
        (smart,) = words(app / "smart")
        assert lives(smart)
    finally:
        vassal.terminate()
        assert vassal.wait(20) == 0
    assert not [pid for pid in (*words(app / "plain"), smart) if lives(pid)]
    assert not [*app.glob("*.twice")]


# --- Redis -------------------------------------------------------------------------------------------------------


class Redis:
    """Speaks to a Redis on a UNIX socket (its protocol's inline commands)."""

    def __init__(self, path):
        self.path = str(path)

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(self.path)
            client.sendall(command.encode() + b"\r\n")
            return client.recv(4096).decode()

    def answers(self):
        try:
            return self.ask("PING").startswith("+PONG")
        except OSError:
            return False


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_redis_keeps_its_data_across_a_touch_and_its_masters_death(emperor, app, tmp_path, background):
    if shutil.which("redis-server") is None:
        unavailable("needs redis-server: apt install redis-server")
    redis = Redis(tmp_path / "r.sock")
    command = f"redis-server --port 0 --unixsocket {redis.path} --dir {tmp_path} --save '' --pidfile {tmp_path}/r.pid"
    command += " --daemonize yes" if background else " --daemonize no"
    port = drop(emperor, app, "blog", f"smart-attach-daemon = {tmp_path}/r.pid {command}")
    wait_until(redis.answers, 20, "Redis")
    (first,) = wait_shown(emperor, "blog", "running")
    assert redis.ask("SET laurel wreath").startswith("+OK")
    with HttpClient(("127.0.0.1", port)) as client:
        client.send_request("GET", "/")
        assert client.response().text == "one"
    emperor.touch("blog")
    emperor.wait_state("blog", "running", generation=2)
    assert "wreath" in redis.ask("GET laurel")
    os.kill(emperor.status("blog")["pid"], signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=3)
    assert "wreath" in redis.ask("GET laurel")
    (third,) = wait_shown(emperor, "blog", "running")
    assert third["pid"] == first["pid"]
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not redis.answers()
    assert not lives(first["pid"])
