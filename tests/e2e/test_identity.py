"""Whose rights a vassal has: real users, real files, and an app that tells what it is.

The danger here is a vassal that runs, but as somebody else; so every test that lets one run asks the app itself.
"""

import grp
import os
import pwd
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.clients import http_get, refuses
from tests.e2e.asking import APPS, ask, inspector_text
from tests.e2e.realm import Realm, fork_server, listening_inode, own, processes_of
from tests.harness import free_port, touch_file, wait_until, write_file

pytestmark = pytest.mark.root


# --- root's own files ------------------------------------------------------------------------------------------------


def test_a_file_of_roots_own_chooses_its_identity(realm):
    user, group, extra, other = (realm.new_user() for _ in range(4))
    _command("usermod", "--append", "--groups", other.pw_name, user.pw_name)
    port = free_port()
    options = {"uid": user.pw_name, "gid": group.pw_name, "add_gid": extra.pw_name, "umask": "027"}
    realm.drop("app", inspector_text(port, **options))
    found = realm.emperor.wait_state("app", "running")
    told = ask(port, "identity")
    assert told["uids"] == [user.pw_uid] * 3
    assert told["gids"] == [group.pw_gid] * 3
    assert told["groups"] == sorted((group.pw_gid, extra.pw_gid, other.pw_gid))
    assert told["umask"] == 0o027
    assert told["directory"] == str(APPS)
    _assert_account(told, user)
    assert found["uid"] == user.pw_uid
    assert ask(port, "become", uid=0) == ["EPERM", "EPERM"]
    assert ask(port, "read", path="/etc/shadow") == "EACCES"
    assert {process.uids().real for process in processes_of(realm, "app")} == {user.pw_uid}


def _assert_account(told: dict, user: pwd.struct_passwd) -> None:
    assert [told["capabilities"][name] for name in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]
    named = [told["environment"].get(name) for name in ("HOME", "USER", "LOGNAME")]
    assert named == [user.pw_dir, user.pw_name, user.pw_name]


def _command(*command: str) -> None:
    """Run one of the tools that give up while another test run changes /etc/group."""

    def done() -> bool:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0 or "lock" in ended.stderr, ended.stderr
        return ended.returncode == 0

    wait_until(done, 20, " ".join(command))


def test_a_user_has_their_own_groups_by_default(realm):
    user, other = realm.new_user(), realm.new_user()
    _command("usermod", "--append", "--groups", other.pw_name, user.pw_name)
    with_groups, without = free_port(), free_port()
    realm.drop("with", inspector_text(with_groups, uid=user.pw_uid))
    realm.drop("without", inspector_text(without, uid=user.pw_uid, no_initgroups="true"))
    for name in ("with", "without"):
        realm.emperor.wait_state(name, "running")
    told = ask(with_groups, "identity")
    assert (told["gids"][0], told["groups"]) == (user.pw_gid, sorted((user.pw_gid, other.pw_gid)))
    assert told["umask"] == 0o022
    assert ask(without, "identity")["groups"] == [user.pw_gid]


def test_vassals_uid_is_for_files_that_name_no_user(users, make_realm):
    common, own_user = users(), users()
    realm = make_realm(vassals_uid=common.pw_name, vassals_gid=own_user.pw_name)
    unnamed, named = free_port(), free_port()
    realm.drop("unnamed", inspector_text(unnamed))
    realm.drop("named", inspector_text(named, uid=own_user.pw_name))
    for name in ("named", "unnamed"):
        realm.emperor.wait_state(name, "running")
    told = ask(unnamed, "identity")
    assert (told["uids"][0], told["gids"][0]) == (common.pw_uid, own_user.pw_gid)
    _assert_account(told, common)
    told = ask(named, "identity")
    assert (told["uids"][0], told["gids"][0]) == (own_user.pw_uid, own_user.pw_gid)


def test_a_user_without_an_account_does_not_keep_roots_home(realm):
    uid = 4_000_000 + os.getpid()  # beyond what distributions give to anybody
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    group = realm.new_user().pw_gid
    realm.drop("lost", inspector_text(free_port(), uid=uid))
    realm.wait_refused("lost", f"uid {uid} is in no user database.*gid")
    port = free_port()
    realm.drop("app", inspector_text(port, uid=uid, gid=group))
    realm.emperor.wait_state("app", "running")
    told = ask(port, "identity")
    assert (told["uids"], told["groups"]) == ([uid] * 3, [group])
    assert [told["environment"].get(name) for name in ("HOME", "USER", "LOGNAME")] == [None, None, None]


def test_an_unknown_user_is_named(realm):
    realm.drop("app", inspector_text(free_port(), uid="nobody-of-that-name"))
    realm.wait_refused("app", "there is no user 'nobody-of-that-name'")


def test_a_new_uid_gets_new_listeners(realm):
    """The former user may hold copies of the old ones."""
    former, later = realm.new_user(), realm.new_user()
    port = free_port()
    realm.drop("app", inspector_text(port, uid=former.pw_name))
    realm.emperor.wait_state("app", "running")
    before = listening_inode(port)
    realm.drop("app", inspector_text(port, uid=later.pw_name))
    wait_until(lambda: (realm.emperor.status("app") or {}).get("uid") == later.pw_uid, 30, "the new user's app")
    realm.emperor.wait_state("app", "running")
    assert ask(port, "identity")["uids"][0] == later.pw_uid
    assert listening_inode(port) != before


@pytest.mark.parametrize("former", ["root", "user"])
def test_a_new_uid_gets_its_socket_in_a_sticky_directory(realm, former):
    """Where nobody but its owner may remove a file: in /tmp, where many have their sockets."""
    sticky = realm.path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    socket = sticky / "app.sock"
    text = f"http-socket = {socket}\nmodule = app\nchdir = {realm.path}\n"
    (realm.path / "app.py").write_text("def application(e, s):\n    s('200 OK', [])\n    return [b'here']\n")
    user = realm.new_user()
    uid = "" if former == "root" else f"uid = {user.pw_name}\n"
    realm.drop("app", f"[uwsgi]\n{text}{uid}")
    realm.emperor.wait_state("app", "running")
    later = realm.new_user()
    realm.drop("app", f"[uwsgi]\n{text}uid = {later.pw_name}\n")
    wait_until(lambda: (realm.emperor.status("app") or {}).get("uid") == later.pw_uid, 30, "the new user's app")
    realm.emperor.wait_state("app", "running")
    assert http_get(str(socket)).text == "here"
    assert socket.stat().st_uid == later.pw_uid
    realm.emperor.delete("app")
    realm.emperor.wait_gone("app")
    assert not socket.exists()


# --- files that others can write -------------------------------------------------------------------------------------


def _weak_file(realm: Realm, kind: str, user: pwd.struct_passwd, content: str) -> str:
    """Drop `app`, writable for others than root in one way; return what the reason must name."""
    vassals = realm.emperor.vassals
    if kind == "owner":
        realm.drop("app", content, user)
        return f"app.ini belongs to {user.pw_name}"
    if kind == "group":
        realm.drop("app", content, mode=0o644)
        path = vassals / "app.ini"
        path.unlink()
        hidden = write_file(vassals / ".app", content)
        os.chown(hidden, 0, user.pw_gid)
        hidden.chmod(0o664)
        hidden.rename(path)
        return f"app.ini can be written by group {grp.getgrgid(user.pw_gid).gr_name}"
    if kind == "everybody":
        realm.drop("app", content, mode=0o666)
        return "app.ini can be written by everybody"
    home = realm.directory_of(user)
    target = realm.place(home, "app", content)
    (vassals / "app.ini").symlink_to(target)
    return f"home-{user.pw_name} belongs to {user.pw_name}"


WAYS = ["owner", "group", "everybody", "a link into a directory of theirs"]


@pytest.mark.parametrize("kind", WAYS)
def test_a_file_that_others_can_write_is_refused_without_vassals_uid(realm, kind):
    user = realm.new_user()
    port = free_port()
    expected = _weak_file(realm, kind, user, inspector_text(port))
    reason = realm.wait_refused("app", re.escape(expected))
    assert "vassals-uid" in reason
    assert refuses(("127.0.0.1", port))


@pytest.mark.parametrize("kind", WAYS)
def test_a_file_that_others_can_write_is_served_as_vassals_uid_alone(users, make_realm, kind):
    common, user = users(), users()
    realm = make_realm(vassals_uid=common.pw_name)
    port = free_port()
    expected = _weak_file(realm, kind, user, inspector_text(port, uid="root", gid="root"))
    realm.emperor.wait_state("app", "running")
    told = ask(port, "identity")
    assert told["uids"] == [common.pw_uid] * 3
    assert told["groups"] == [common.pw_gid]
    _assert_account(told, common)
    log = realm.emperor.vassal_log("app")
    assert re.search(f"uid and gid have no effect: .*{re.escape(expected)}", log)


def test_vassals_uid_root_is_no_way_around(make_realm, users):
    realm = make_realm(vassals_uid="root")
    realm.drop("app", inspector_text(free_port()), users())
    realm.wait_refused("app", "vassals-uid is root")


@pytest.mark.parametrize("tyrant", [False, True], ids=["vassals-uid", "tyrant"])
def test_a_tenants_file_is_parsed_with_the_tenants_rights(make_realm, users, tyrant):
    user = users()
    realm = make_realm(**({"emperor_tyrant": "true"} if tyrant else {"vassals_uid": user.pw_name}))
    secret = realm.path / "secret"
    secret.write_text("of-root")
    secret.chmod(0o600)
    realm.drop("app", inspector_text(free_port(), env=f"LOOT=@({secret})"), user)
    reason = realm.wait_refused("app", str(secret))
    assert "of-root" not in reason
    assert "of-root" not in realm.emperor.vassal_log("app")


def test_root_includes_only_roots_files(realm):
    user = realm.new_user()
    included = realm.directory_of(user) / "part.ini"
    included.write_text("[uwsgi]\nuid = root\n")
    realm.drop("app", inspector_text(free_port(), uid=user.pw_name, include=included))
    realm.wait_refused("app", f"{included}.*belongs to {user.pw_name}")


# --- tyrant ----------------------------------------------------------------------------------------------------------


def test_in_tyrant_mode_a_vassal_is_its_files_owner(tyrant):
    first, second, group = (tyrant.new_user() for _ in range(3))
    ports = free_port(), free_port()
    tyrant.drop("first", inspector_text(ports[0], uid="root", umask="077"), first)
    hidden = tyrant.emperor.vassals / ".second"
    hidden.write_text(inspector_text(ports[1]))
    os.chown(hidden, second.pw_uid, group.pw_gid)
    hidden.rename(hidden.with_name("second.ini"))
    for name in ("first", "second"):
        tyrant.emperor.wait_state(name, "running")
    told = ask(ports[0], "identity")
    assert (told["uids"], told["gids"], told["groups"]) == ([first.pw_uid] * 3, [first.pw_gid] * 3, [first.pw_gid])
    assert told["umask"] == 0o077
    _assert_account(told, first)
    assert "uid and gid have no effect: in tyrant mode" in tyrant.emperor.vassal_log("first")
    told = ask(ports[1], "identity")
    assert (told["uids"][0], told["gids"][0]) == (second.pw_uid, group.pw_gid)


@pytest.mark.parametrize(("root", "expected"), [("user", "user root"), ("group", "group root")])
def test_in_tyrant_mode_nothing_of_roots_is_run(tyrant, root, expected):
    user = tyrant.new_user()
    hidden = tyrant.emperor.vassals / ".app"
    hidden.write_text(inspector_text(free_port()))
    os.chown(hidden, 0 if root == "user" else user.pw_uid, 0 if root == "group" else user.pw_gid)
    hidden.rename(hidden.with_name("app.ini"))
    reason = tyrant.wait_refused("app", expected)
    assert "chown" in reason


@pytest.mark.parametrize(
    ("kind", "mode", "remedy"),
    [("file", 0o664, "g-w"), ("file", 0o646, "o-w"), ("directory", 0o775, "g-w"), ("directory", 0o757, "o-w")],
)
def test_in_tyrant_mode_what_others_can_write_is_refused_and_the_bit_is_named(users, make_realm, kind, mode, remedy):
    user = users()
    realm = make_realm(emperor_tyrant="true")
    place = own(realm.emperor.vassals, user, mode if kind == "directory" else 0o755)
    file = realm.place(place, "app", inspector_text(free_port()), user, mode if kind == "file" else 0o644)
    culprit = file if kind == "file" else place
    realm.wait_refused("app", rf"the {kind} {culprit} .*chmod {remedy} {culprit}")
    culprit.chmod(0o755 if kind == "directory" else 0o644)
    touch_file(file)
    realm.emperor.wait_state("app", "running")


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("link", ["file", "directory"])
def test_in_tyrant_mode_a_link_to_another_tenants_file_is_refused(open_path, users, make_realm, link):
    """It would run in the linking tenant's directory, so with that tenant's code, as the other tenant."""
    victim, thief = users(), users()
    theirs, ours = own(_made(open_path / "theirs"), victim), own(_made(open_path / "ours"), thief)
    target = Realm.place(theirs, "app", "[uwsgi]\nmodule = stolen:application\n", victim)
    if link == "file":
        place = ours
        own_link = ours / "app.ini"
        own_link.symlink_to(target)
    else:
        own_link = place = ours / "place"
        own_link.symlink_to(theirs)
    os.chown(own_link, thief.pw_uid, thief.pw_gid, follow_symlinks=False)
    proof = open_path / "proof"
    proof.mkdir()
    proof.chmod(0o777)
    (ours / "stolen.py").write_text(f"import os\nopen('{proof}/' + str(os.getuid()), 'w')\napplication = None\n")
    realm = make_realm([place], emperor_tyrant="true")
    realm.wait_refused("app", f"{own_link}|{ours}.* belongs to {thief.pw_name}")
    assert not list(proof.iterdir())


def test_in_tyrant_mode_a_new_owner_gets_a_new_app_when_the_old_one_is_gone(tyrant):
    former, later = tyrant.new_user(), tyrant.new_user()
    port = free_port()
    path = tyrant.drop("app", inspector_text(port), former)
    before = tyrant.emperor.wait_state("app", "running")
    inode = listening_inode(port)
    os.chown(path, later.pw_uid, later.pw_gid)
    wait_until(lambda: (tyrant.emperor.status("app") or {}).get("uid") == later.pw_uid, 30, "the new owner's app")
    tyrant.emperor.wait_state("app", "running")
    assert not psutil.pid_exists(before["pid"])
    assert ask(port, "identity")["uids"] == [later.pw_uid] * 3
    assert listening_inode(port) != inode
    log = tyrant.emperor.log.read_text()
    order = [log.index("another owner"), log.index("vassal app: gone"), log.rindex("vassal app: generation 1 starts")]
    assert order == sorted(order)


@pytest.mark.parametrize("whose", ["another's", "the same owner's"])
def test_in_tyrant_mode_a_file_that_is_swapped_after_the_scan_is_refused(tyrant, whose):
    """The fork server is held while the file is exchanged, so that the child opens another one than the scan saw."""
    first = tyrant.new_user()
    second = tyrant.new_user() if whose == "another's" else first
    port = free_port()
    forks = fork_server(tyrant)
    forks.suspend()
    try:
        tyrant.drop("app", inspector_text(port), first)
        tyrant.emperor.wait_state("app", "starting")
        tyrant.emperor.kill(signal.SIGSTOP)
        tyrant.drop("app", inspector_text(port, umask="077"), second)
        forks.resume()
        expected = (
            f"app.ini belongs to {second.pw_name}" if second is not first else "replaced while it was being opened"
        )
        wait_until(lambda: expected in tyrant.emperor.vassal_log("app"), 20, "the refusal in the vassal's log")
    finally:
        forks.resume()
        tyrant.emperor.kill(signal.SIGCONT)
    wait_until(lambda: (tyrant.emperor.status("app") or {}).get("uid") == second.pw_uid, 30, "the file as it is now")
    tyrant.emperor.wait_state("app", "running")
    told = ask(port, "identity")
    assert (told["uids"], told["umask"]) == ([second.pw_uid] * 3, 0o077)
