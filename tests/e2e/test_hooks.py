"""Hooks in a real fleet: their order, their rights, and that a hook that fails or hangs costs its own start only."""

import os
import signal

import pytest

from tests.clients import http_get
from tests.e2e.asking import inspector_text
from tests.e2e.realm import own
from tests.harness import command_line, free_port, vassal_text, wait_until, write_file

PHASES = ("asap", "as-user", "pre-app", "post-app", "master-start", "accepting1-once", "as-user-atexit")


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
    told = tmp_path / "told"
    text += "".join(f"hook-emperor-{what} = exec:echo {what} >> {told}\n" for what in ("stop", "reload", "lost"))
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
    assert lines(told) == ["reload", "stop"]


def test_a_lost_emperor(emperor, app, tmp_path):
    told = tmp_path / "told"
    lines_of = "".join(f"hook-emperor-{what} = exec:echo {what} >> {told}\n" for what in ("stop", "reload", "lost"))
    emperor.write("blog", vassal_text(free_port(), chdir=app) + lines_of)
    emperor.wait_state("blog", "running")
    emperor.kill(signal.SIGKILL)
    wait_until(lambda: lines(told) == ["lost"], 10, "the hook")
    emperor.wait(10)


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


# --- of the emperor's file ---


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def emperors(tmp_path, log, **more):
    start = f'echo "start $1 $UWSGI_VASSAL_CONFIG" >> {log}; case $1 in bad*) echo not this one; exit 7;; esac'
    return {
        "vassals-start-hook": str(script(tmp_path / "start", start)),
        "vassals-stop-hook": str(script(tmp_path / "stop", f'sleep 0.2; echo "stop $1" >> {log}')),
        "exec-as-vassal": f"echo vassal >> {log}",
        "exec-as-emperor": f"echo emperor $UWSGI_VASSAL_NAME $UWSGI_VASSAL_PID >> {log}.pids",
        **more,
    }


def test_hooks_of_the_emperor(start_emperor, app, tmp_path):
    log, pids, port = tmp_path / "order", tmp_path / "order.pids", free_port()
    emperor = start_emperor(settings=emperors(tmp_path, log))
    (app / "app.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [' '.join(name for name in os.environ if name.startswith('UWSGI')).encode()]\n"
    )
    path = emperor.write("blog", vassal_text(port, chdir=app))
    pid = emperor.wait_state("blog", "running")["pid"]
    begun = ["vassal", f"start blog.ini {path}"]
    assert lines(log) == begun
    wait_until(lambda: lines(pids) == [f"emperor blog {pid}"], 10, "the hook as emperor")
    assert page(port) == "", "the variables are the hooks' own"
    # A reload is neither a start nor an end of the vassal.
    emperor.touch("blog")
    pid = emperor.wait_state("blog", "running", generation=2)["pid"]
    wait_until(lambda: lines(pids)[1:] == [f"emperor blog {pid}"], 10, "the hook as emperor")
    assert lines(log) == [*begun, "vassal"]
    # A death is: and the next start waits for the end of the stop hook.
    log.unlink()
    os.kill(pid, signal.SIGKILL)
    emperor.wait_state("blog", "running", generation=3)
    assert lines(log) == ["stop blog.ini", *begun]
    # One that fails fails the start.
    emperor.write("bad", vassal_text(free_port(), chdir=app))
    failure = emperor.wait_state("bad", "broken")["last_failure"]
    assert failure["stage"] == "hook"
    assert failure["reason"].endswith("ended with status 7: not this one")
    log.unlink()
    emperor.delete("blog")
    emperor.wait_gone("blog")
    wait_until(lambda: "stop blog.ini" in lines(log), 10, "the end")
    emperor.write("blog", vassal_text(port, chdir=app))
    emperor.wait_state("blog", "running")
    log.unlink()
    emperor.close()  # not before the last hook has ended
    assert "stop blog.ini" in lines(log)


@pytest.mark.root
def test_whose_rights_the_emperors_hooks_have(make_realm, users, open_path):
    """Under tyrant a start hook is the tenant's, as in uWSGI; what others can write is not run as root."""
    tenant, other = users(), users()
    out = open_path / "out"
    out.mkdir()
    out.chmod(0o777)
    programs = open_path / "programs"
    programs.mkdir()
    start = script(programs / "start", f"id -u > {out}/start")
    stop = own(script(programs / "stop", f"id -u > {out}/stop"), other)
    settings = {
        "vassals_start_hook": start,
        "vassals_stop_hook": stop,
        "exec_as_emperor": f"id -u > {out}/emperor",
        "exec_as_vassal": f"id -u > {out}/vassal",
        "hook_as_vassal_before_drop": f"exec:id -u > {out}/before",
    }
    realm = make_realm(emperor_tyrant="true", **settings)
    realm.drop("app", inspector_text(free_port()), tenant)
    realm.emperor.wait_state("app", "running")
    wait_until(lambda: lines(out / "emperor"), 10, "the hook as emperor")
    found = {name: lines(out / name) for name in ("start", "vassal", "before", "emperor")}
    mine, roots = [str(tenant.pw_uid)], ["0"]
    assert found == {"start": mine, "vassal": mine, "before": roots, "emperor": roots}
    realm.emperor.cli("stop", "app", check=True)
    wait_until(lambda: "vassals-stop-hook is not run as root" in realm.emperor.vassal_log("app"), 10, "the refusal")
    assert not (out / "stop").exists()
