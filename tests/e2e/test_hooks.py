"""Hooks in a real fleet: their order, their rights, and that a hook that fails or hangs costs its own start only."""

import pytest

from tests.clients import http_get
from tests.e2e.asking import inspector_text
from tests.e2e.realm import own
from tests.harness import command_line, free_port, vassal_text, wait_until, write_app, write_file

PHASES = ("asap", "as-user", "pre-app", "post-app", "master-start", "accepting1-once", "as-user-atexit")


@pytest.fixture
def app(tmp_path):
    directory = tmp_path / "app"
    directory.mkdir()
    write_app(directory, "app", "one")
    return directory


def page(port):
    return http_get(("127.0.0.1", port)).text


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_hooks_through_the_life_of_a_vassal(emperor, app, tmp_path):
    """All phases in order, a failing and a hanging one at a reload, a touch, the end."""
    log, port = tmp_path / "order", free_port()
    # As it loads, the app leaves its own mark between the hooks.
    (app / "app.py").write_text(f"open({str(log)!r}, 'a').write('app\\n')\n" + (app / "app.py").read_text())
    text = vassal_text(
        port, chdir=app, env="WHERE=here", start_timeout=10, touch_exec=f"touched echo seen; echo ran >> {log}"
    )
    text += "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
    text += "".join(f"hook-{phase} = exec:echo {phase} $WHERE >> {log}\n" for phase in PHASES)
    emperor.write("blog", text)
    emperor.wait_state("blog", "running")
    assert lines(log) == [
        *(f"{phase} here" for phase in PHASES[:3]),
        "app",
        *(f"{phase} here" for phase in PHASES[3:6]),
    ]
    log.unlink()

    # One that fails rolls the reload back, with its output; one that hangs is bounded by start-timeout.
    emperor.write("blog", text + "exec-pre-app = echo no such table; exit 3\n")
    failure = wait_until(lambda: emperor.status("blog")["last_failure"], 20, "the failure")
    assert failure["stage"] == "hook"
    assert failure["reason"].endswith("exit 3 ended with status 3: no such table")
    assert failure["detail"] == "no such table"
    emperor.wait_state("blog", "running", generation=1)
    assert page(port) == "one"
    assert "as-user-atexit here" not in lines(log), "it was never ready"
    emperor.write("blog", text.replace("start-timeout = 10", "start-timeout = 1") + "hook-asap = exec:sleep 60\n")
    wait_until(lambda: "1 s" in emperor.status("blog")["last_failure"]["reason"], 20, "the end of the one that hangs")
    wait_until(lambda: "sleep 60" not in map(command_line, emperor.processes()), 10, "nothing that hangs to be left")
    assert page(port) == "one"

    log.unlink(missing_ok=True)
    emperor.write("blog", text)
    wait_until(lambda: "as-user-atexit here" in lines(log), 20, "the end of the old generation")
    emperor.wait_state("blog", "running")
    log.unlink()
    (emperor.vassals / "touched").touch()
    wait_until(lambda: lines(log) == ["ran"], 10, "the touch")
    wait_until(lambda: "touch-exec echo: seen" in emperor.vassal_log("blog"), 10, "its output")
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert lines(log) == ["ran", "as-user-atexit here"]


def test_workers_that_load_the_app_themselves(emperor, app, tmp_path):
    log, port = tmp_path / "order", free_port()
    text = vassal_text(port, chdir=app, lazy_apps="true", processes=3, ready_check="/")
    text += "".join(f"hook-{phase} = exec:echo {phase} >> {log}\n" for phase in PHASES)
    emperor.write("blog", text)
    emperor.wait_state("blog", "running")
    assert lines(log) == ["asap", "as-user", "pre-app", "master-start", "post-app", "accepting1-once"]
    emperor.write("blog", text + "hook-accepting1-once = exec:echo too late; exit 1\n")
    failure = wait_until(lambda: emperor.status("blog")["last_failure"], 20, "the failure")
    assert failure["reason"].endswith("status 1: too late")
    assert page(port) == "one"


def test_hooks_of_a_vassal_that_sleeps_run_when_it_wakes(emperor, app, tmp_path):
    log, port = tmp_path / "order", free_port()
    text = vassal_text(port, chdir=app, idle=1, die_on_idle="true")
    text += "".join(f"hook-{phase} = exec:echo {phase} >> {log}\n" for phase in ("asap", "as-user-atexit"))
    emperor.write("blog", text)
    emperor.wait_state("blog", "parked")
    assert lines(log) == ["asap", "as-user-atexit"]
    emperor.touch("blog")  # it is looked at, and sleeps on
    wait_until(lambda: emperor.status("blog")["generation"] != 1, 10, "the look")
    emperor.wait_state("blog", "parked")
    assert lines(log) == ["asap", "as-user-atexit"]
    assert page(port) == "one"
    assert lines(log)[2:] == ["asap"]


# --- rights ---------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_root_is_root_until_the_identity_is_taken(realm):
    user = realm.new_user()
    out = realm.directory_of(user, "out", 0o777)
    text = inspector_text(free_port(), uid=user.pw_name, env=f"OUT={out}")
    phases = ("asap", "as-root", "as-user", "pre-app", "post-app", "accepting1-once", "as-user-atexit")
    text += "".join(f"hook-{phase} = exec:id -u > $OUT/{phase}; id -G >> $OUT/{phase}\n" for phase in phases)
    text += "hook-as-root = write:/proc/self/oom_score_adj 0\n"
    realm.drop("app", text)
    realm.emperor.wait_state("app", "running")
    realm.emperor.cli("stop", "app", check=True)
    realm.emperor.wait_state("app", "stopped")
    ids = {phase: lines(out / phase) for phase in phases}
    for phase in ("asap", "as-root"):
        assert ids[phase][0] == "0"
    for phase in phases[2:]:
        assert ids[phase] == [str(user.pw_uid), str(user.pw_gid)], phase


@pytest.mark.root
@pytest.mark.parametrize("how", ["tyrant", "vassals-uid"])
def test_a_tenants_file_never_has_roots_rights(make_realm, users, how):
    tenant, common = users(), users()
    tyrant = how == "tyrant"
    realm = make_realm(**({"emperor_tyrant": "true"} if tyrant else {"vassals_uid": common.pw_name}))
    out = realm.directory_of(tenant, "out", 0o777)
    text = inspector_text(free_port(), env=f"OUT={out}")
    phases = ("asap", "as-user", "pre-app", "post-app")
    text += "".join(f"hook-{phase} = exec:id -u > $OUT/{phase}; id -G >> $OUT/{phase}\n" for phase in phases)
    text += "hook-as-root = exec:id -u > $OUT/root\nexec-as-root = id -u > $OUT/root\n"
    realm.drop("app", text, tenant)
    realm.emperor.wait_state("app", "running")
    who = tenant if tyrant else common
    for phase in phases:
        assert lines(out / phase) == [str(who.pw_uid), str(who.pw_gid)], phase
    assert not (out / "root").exists()
    assert "hook-as-root and exec-as-root have no effect" in realm.emperor.vassal_log("app")


@pytest.mark.root
def test_a_file_that_includes_a_tenants_has_no_hook_of_his_as_root(realm):
    """What is read as root must be root's alone, so nothing that others write becomes a hook as root."""
    tenant = realm.new_user()
    home = realm.directory_of(tenant)
    own(write_file(home / "more.ini", f"[uwsgi]\nhook-asap = exec:id -u > {home}/mine\n"), tenant)
    realm.drop("app", inspector_text(free_port(), uid=tenant.pw_name, include=home / "more.ini"))
    realm.wait_refused("app", "must be root's alone")
    assert not (home / "mine").exists()
