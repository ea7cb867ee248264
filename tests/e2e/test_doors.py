"""Doors that the emperor binds itself (emperor-on-demand-directory), when the vassal behind one changes hands.

The danger here is to ask too late: a door that is lost comes back when the vassal is parked anew. So callers come all
the time, each finds the door, and each is answered by whoever has it by then.
"""

import os

import pytest

from tests.clients import http_get
from tests.e2e.realm import own
from tests.harness import wait_until

APP = """\
import os


def application(environ, start_response):
    body = str(os.geteuid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def doors(make_realm):
    """A root emperor that binds the sockets of its vassals; under tyrant where the test says so."""

    def make(**settings):
        realm = make_realm(**settings, emperor_on_demand_directory="sockets")
        (realm.path / "app").mkdir()
        (realm.path / "app" / "app.py").write_text(APP)
        return realm

    return make


def text(realm, **options):
    lines = ["[uwsgi]", "protocol = http", f"chdir = {realm.path / 'app'}", "module = app"]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in options.items())]) + "\n"


def ask(path):
    return http_get(str(path), timeout=20).text


@pytest.mark.parametrize("asleep", [True, False])
@pytest.mark.parametrize("tyrant", [True, False])
def test_a_vassal_that_changes_hands_keeps_its_door(doors, tyrant, asleep):
    """Asleep or awake: the new owner's app answers at once at the same path, without a wait in backoff."""
    realm = doors(**({"emperor_tyrant": "true"} if tyrant else {}))
    first, second = realm.new_user(), realm.new_user()
    sleep = {"idle": 1, "die-on-idle": "true"}

    def write(user):
        options = sleep if tyrant else {**sleep, "uid": user.pw_name, "gid": user.pw_gid}
        return realm.drop("app", text(realm, **options), user if tyrant else None)

    path = realm.path / "sockets" / "app.socket"
    file = write(first)
    realm.emperor.wait_state("app", "parked")
    assert ask(path) == str(first.pw_uid)
    if asleep:
        realm.emperor.wait_state("app", "parked")
    if tyrant:
        own(file, second)
        wait_until(lambda: "another owner" in realm.emperor.log.read_text(), 20, "the emperor to see it")
    else:
        write(second)
    wait_until(lambda: _asked(path) == str(second.pw_uid), 20, "the new owner's app")
    row = realm.emperor.wait_state("app", "parked", "running")
    assert row["last_failure"] is None
    assert path.stat().st_uid == (second.pw_uid if tyrant else os.geteuid())
    log = realm.emperor.log.read_text()
    assert "next try in" not in log
    assert "failed" not in log


def _asked(path):
    try:
        return ask(path)
    except OSError:
        return ""
