"""What one tenant can do to another, to the emperor, and to files that are not theirs: real users who try.

The danger here is a check on a good day only. So the app does what a hostile tenant would (apps/inspector.py), and an
"it cannot" has, where there is one, an "it can" beside it that proves the attempt to be a real one.
"""

import contextlib
import random
import secrets
import socket

import pytest

from tests.e2e.asking import ask, inspector_text
from tests.e2e.realm import Realm, facts, fork_server, own, processes_of
from tests.harness import free_port, wait_until

pytestmark = pytest.mark.root


# --- sockets, logs, pidfile ------------------------------------------------------------------------------------------


def test_a_socket_in_roots_directory_is_bound_by_root_and_given_away(realm):
    user, web = realm.new_user(), realm.new_user()
    plain, given = realm.path / "plain.sock", realm.path / "given.sock"
    realm.drop("plain", inspector_text(plain, uid=user.pw_name))
    options = {"uid": user.pw_name, "chmod_socket": "660", "chown_socket": f"{user.pw_name}:{web.pw_name}"}
    realm.drop("given", inspector_text(given, **options))
    for name, path in (("plain", plain), ("given", given)):
        realm.emperor.wait_state(name, "running")
        assert ask(path, "identity")["uids"] == [user.pw_uid] * 3
    assert facts(plain)[1:] == (user.pw_uid, user.pw_gid)
    assert facts(given) == (0o660, user.pw_uid, web.pw_gid)
    before = realm.emperor.status("given")["generation"]
    realm.emperor.cli("reload", "given", check=True)
    assert realm.emperor.status("given")["generation"] > before
    assert facts(given) == (0o660, user.pw_uid, web.pw_gid)
    assert "cannot give" not in realm.emperor.vassal_log("given")


def test_a_socket_given_to_another_user_stays_so_through_a_reload(realm):
    user, web = realm.new_user(), realm.new_user()
    path = realm.path / "app.sock"
    realm.drop("app", inspector_text(path, uid=user.pw_name, chmod_socket="600", chown_socket=web.pw_name))
    realm.emperor.wait_state("app", "running")
    assert facts(path)[:2] == (0o600, web.pw_uid)
    realm.emperor.cli("reload", "app", check=True)
    assert facts(path)[:2] == (0o600, web.pw_uid)
    assert "cannot" not in realm.emperor.vassal_log("app")


@pytest.mark.parametrize("forked", ["true", "false"])
def test_a_socket_in_a_users_directory_is_bound_by_that_user_and_given_away_by_root(realm, forked):
    """``chown USER:www-data /run/uwsgi`` before the start, ``chown-socket = USER:www-data``: as many guides say."""
    user, web = realm.new_user(), realm.new_user()
    home = realm.directory_of(user)
    path = home / "app.sock"
    given = f"{user.pw_name}:{web.pw_name}"
    options = {"uid": user.pw_name, "chmod_socket": "660", "chown_socket": given, "fork_server": forked}
    realm.drop("app", inspector_text(path, **options))
    realm.emperor.wait_state("app", "running")
    assert facts(path) == (0o660, user.pw_uid, web.pw_gid)
    told = ask(path, "identity")
    assert told["uids"] == [user.pw_uid] * 3
    assert web.pw_gid not in told["groups"]
    realm.emperor.cli("reload", "app", check=True)
    assert facts(path) == (0o660, user.pw_uid, web.pw_gid)
    assert "cannot" not in realm.emperor.vassal_log("app")


def test_a_socket_in_a_sticky_directory_stays_its_users_who_must_remove_it(realm):
    user, web = realm.new_user(), realm.new_user()
    shared = realm.path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "app.sock"
    options = {"uid": user.pw_name, "chmod_socket": "660", "chown_socket": f"{web.pw_name}:{web.pw_name}"}
    realm.drop("app", inspector_text(path, **options))
    realm.emperor.wait_state("app", "running")
    assert facts(path) == (0o660, user.pw_uid, web.pw_gid)
    assert "the group counts" in realm.emperor.vassal_log("app")


def test_a_socket_in_a_users_directory_is_bound_with_that_users_rights(realm):
    user, other = realm.new_user(), realm.new_user()
    home, foreign = realm.directory_of(user), realm.directory_of(other)
    path = home / "app.sock"
    realm.drop("app", inspector_text(path, uid=user.pw_name, chmod_socket="666", chown_socket=other.pw_name))
    realm.emperor.wait_state("app", "running")
    assert facts(path) == (0o666, other.pw_uid, user.pw_gid)
    realm.drop("thief", inspector_text(foreign / "app.sock", uid=user.pw_name, chown_socket=other.pw_name))
    found = realm.emperor.wait_state("thief", "backoff", "broken")
    assert "no permission" in found["last_failure"]["reason"]
    assert not list(foreign.iterdir())


@pytest.mark.parametrize("option", ["logto", "pidfile", "http-socket"])
@pytest.mark.parametrize("whose", ["root", "user"])
def test_a_link_in_the_place_of_a_file_is_not_followed(realm, option, whose):
    user = realm.new_user()
    home = realm.directory_of(user)
    victim = realm.path / "victim"
    victim.write_text("precious")
    if whose == "user":
        own(victim, user)
    link = home / "link"
    link.symlink_to(victim)
    port = free_port()
    realm.drop("app", inspector_text(port, uid=user.pw_name, **{option: link}))
    if option == "pidfile":
        realm.emperor.wait_state("app", "running")
        log = f"cannot write the pidfile {link}"
        wait_until(lambda: log in realm.emperor.vassal_log("app"), 10, "the refusal in the vassal's log")
    else:
        found = realm.emperor.wait_state("app", "backoff", "broken")
        assert str(link) in found["last_failure"]["reason"]
    assert victim.read_text() == "precious"
    assert link.is_symlink()
    assert facts(victim)[1] == (user.pw_uid if whose == "user" else 0)


@pytest.mark.parametrize("option", ["logto", "logger", "req-logger", "daemonize"])
def test_a_log_in_roots_directory_is_made_by_root_and_given_to_the_user(realm, option):
    """``logto = /var/log/uwsgi/%n.log`` with ``uid = www-data``: as many guides say."""
    user = realm.new_user()
    place = realm.path / "log"
    place.mkdir(0o755)
    old = place / "app.log"
    old.write_text("of uWSGI\n")
    old.chmod(0o640)
    fresh = place / "fresh.log"
    kind = "file:" if "logger" in option else ""
    ports = free_port(), free_port()
    for name, path, port in (("app", old, ports[0]), ("fresh", fresh, ports[1])):
        realm.drop(name, inspector_text(port, uid=user.pw_name, **{option: f"{kind}{path}"}))
        realm.emperor.wait_state(name, "running")
        assert ask(port, "identity")["uids"] == [user.pw_uid] * 3
        wait_until(lambda path=path: "GET" in path.read_text() or "POST" in path.read_text(), 10, "a request's line")
        assert facts(path) == (0o640, user.pw_uid, user.pw_gid)
    assert old.read_text().startswith("of uWSGI\n")


def test_a_log_that_has_another_name_or_owner_is_not_given_away(realm):
    user, other = realm.new_user(), realm.new_user()
    place = realm.path / "log"
    place.mkdir(0o755)
    victim = realm.path / "victim"
    victim.write_text("precious")
    (place / "linked.log").hardlink_to(victim)
    (place / "soft.log").symlink_to(victim)
    (place / "theirs.log").write_text("")
    own(place / "theirs.log", other, 0o600)
    for name in ("linked", "soft", "theirs"):
        realm.drop(name, inspector_text(free_port(), uid=user.pw_name, logto=place / f"{name}.log"))
        realm.wait_refused(name, "cannot open the log")
    assert (victim.read_text(), facts(victim)[1:]) == ("precious", (0, 0))
    assert facts(place / "theirs.log") == (0o600, other.pw_uid, other.pw_gid)


def test_logs_and_pidfile_are_written_by_the_user(realm):
    user = realm.new_user()
    home = realm.directory_of(user)
    realm.drop("app", inspector_text(free_port(), uid=user.pw_name, logto=home / "app.log", pidfile=home / "app.pid"))
    found = realm.emperor.wait_state("app", "running")
    wait_until((home / "app.pid").exists, 10, "the pidfile")
    assert wait_until((home / "app.pid").read_text, 10, "its content") == f"{found['pid']}\n"
    for name in ("app.log", "app.pid"):
        assert facts(home / name)[1:] == (user.pw_uid, user.pw_gid)


def test_a_privileged_port_is_bound_by_root_and_served_by_the_user(realm):
    user = realm.new_user()
    port = _free_privileged_port()
    realm.drop("app", inspector_text(port, uid=user.pw_name))
    realm.emperor.wait_state("app", "running")
    assert ask(port, "identity")["uids"] == [user.pw_uid] * 3
    realm.emperor.cli("reload", "app", check=True)
    assert ask(port, "identity")["uids"] == [user.pw_uid] * 3


def test_a_tenant_does_not_take_the_socket_of_another(tyrant):
    """In a directory that both may write, where neither may connect to the other's: told, and nothing is removed."""
    (tyrant.path / "shared").mkdir()
    shared = own(tyrant.path / "shared", None, 0o777)
    lines = f"[uwsgi]\nhttp-socket = {shared}/app.sock\ncheck-static = {shared}\n"
    tyrant.drop("first", lines, tyrant.new_user())
    tyrant.emperor.wait_state("first", "running")
    inode = (shared / "app.sock").stat().st_ino
    tyrant.drop("second", lines, tyrant.new_user())
    reason = tyrant.emperor.wait_state("second", "backoff")["last_failure"]["reason"]
    assert "in use: by vassal first" in reason
    assert (shared / "app.sock").stat().st_ino == inode


def test_a_tenant_gets_no_privileged_port(tyrant):
    user = tyrant.new_user()
    tyrant.drop("app", inspector_text(_free_privileged_port(), uid="root"), user)
    found = tyrant.emperor.wait_state("app", "backoff", "broken")
    assert "no permission (a port below 1024 needs root" in found["last_failure"]["reason"]


def _free_privileged_port() -> int:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) < 1024:
            pytest.skip("every user may bind every port here: net.ipv4.ip_unprivileged_port_start")
    while True:
        port = random.randrange(600, 1023)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def test_the_app_can_open_its_standard_error_again(realm):
    user = realm.new_user()
    port = free_port()
    realm.drop("app", inspector_text(port, uid=user.pw_name))
    realm.emperor.wait_state("app", "running")
    assert ask(port, "write", path="/dev/stderr", text="opened again\n") == "done"
    assert "opened again" in realm.emperor.vassal_log("app")
    assert facts(realm.emperor.logs / "app.log")[1] == user.pw_uid
    assert facts(realm.emperor.logs)[1] == 0


def test_the_emperors_own_log_stays_its_own(open_path, users, make_emperor):
    """Without emperor-log-dir the output of all vassals goes there: a tenant must not come to own it."""
    user, port = users(), free_port()
    plain = make_emperor(open_path)
    command = [part for part in plain.command if not part.startswith("emperor-log-dir")]
    command.remove("--set")
    emperor = make_emperor(open_path, command=command).start()
    realm = Realm(emperor, users)
    realm.drop("app", inspector_text(port, uid=user.pw_name))
    emperor.wait_state("app", "running")
    assert ask(port, "identity")["uids"] == [user.pw_uid] * 3
    realm.drop("same", inspector_text(free_port(), uid=user.pw_name, logto=emperor.log))
    realm.wait_refused("same", "cannot open the log")
    assert facts(emperor.log)[1:] == (0, 0)
    assert ask(port, "write", path=emperor.log, text="forged\n") == "EACCES"
    assert "forged\n" not in emperor.log.read_text()  # the request that tried is logged


# --- one tenant and the others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("forked", ["true", "false"])
def test_a_tenant_cannot_reach_any_process_but_its_own(realm, forked):
    ports = free_port(), free_port()
    users = realm.new_user(), realm.new_user()
    for number, (user, port) in enumerate(zip(users, ports, strict=True)):
        realm.drop(f"app{number}", inspector_text(port, uid=user.pw_name, fork_server=forked))
    for number in range(2):
        realm.emperor.wait_state(f"app{number}", "running")
    strangers = [realm.emperor.pid, fork_server(realm).pid, *(p.pid for p in processes_of(realm, "app1"))]
    for pid in strangers:
        assert ask(ports[0], "kill", pid=pid) == ["EPERM"] * 3
        assert ask(ports[0], "trace", pid=pid) == ["EPERM"] * 2
        for name in ("environ", "mem", "maps", "fd/1", "cwd"):
            assert ask(ports[0], "read", path=f"/proc/{pid}/{name}") == "EACCES", name
    assert ask(ports[0], "kill", pid=processes_of(realm, "app0")[-1].pid)[0] == "done"  # the attempt is a real one
    assert ask(ports[0], "read", path=realm.emperor.control) in ("EACCES", "ENXIO")
    for name in ("app1.log",):
        assert ask(ports[0], "read", path=realm.emperor.logs / name) == "EACCES"
        assert ask(ports[0], "write", path=realm.emperor.logs / name, text="x") == "EACCES"
    realm.emperor.wait_state("app1", "running", generation=1)


@pytest.mark.parametrize("forked", ["true", "false"])
def test_a_tenant_finds_no_secret_of_another_in_its_memory_or_descriptors(realm, forked):
    """The secret came into being after the fork server, lay in root's file, and is in use all the time."""
    halves = secrets.token_hex(12), secrets.token_hex(12)
    knowing, curious = free_port(), free_port()
    owner, thief = realm.new_user(), realm.new_user()
    content = inspector_text(knowing, uid=owner.pw_name, env=f"SECRET={''.join(halves)}", fork_server=forked)
    realm.drop("knowing", content, mode=0o600)
    realm.emperor.wait_state("knowing", "running")
    realm.drop("curious", inspector_text(curious, uid=thief.pw_name, fork_server=forked))
    realm.emperor.wait_state("curious", "running")
    realm.emperor.cli("reload", "knowing", check=True)
    realm.emperor.cli("reload", "curious", check=True)
    question = {"first": halves[0], "second": halves[1]}
    assert ask(knowing, "search", **question) > 0
    assert ask(curious, "search", **question) == 0
    theirs, ours = (set(ask(port, "descriptors").values()) for port in (knowing, curious))
    shared = {name for name in theirs & ours if not name.startswith(("/dev/null", "anon_inode:", "/dev/urandom"))}
    assert not {name for name in shared if not name.startswith("/proc/")}
