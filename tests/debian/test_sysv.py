"""The package on Debian 12 and 13 without systemd: the SysV script, and all that does not depend on the init."""

import json

import pytest

from tests.debian.roots import RELEASES
from tests.harness import touch_file, wait_until

FACTS = """\
import json, os, sys

def application(environ, start_response):
    print("asked for", environ["PATH_INFO"], file=environ["wsgi.errors"], flush=True)
    start_response("200 OK", [("Content-Type", "application/json")])
    facts = {
        "uid": os.getuid(),
        "python": "%d.%d" % sys.version_info[:2],
        "path": sys.path,
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "environment": sorted(os.environ),
        "code": "one",
    }
    return [json.dumps(facts).encode()]
"""
SHOP = "[uwsgi]\nhttp-socket = 127.0.0.1:8000\nchdir = /srv/shop\nmodule = app\n"
EMPERORS = "/etc/emperor/emperor.ini"


def drop(machine, name="shop", text=SHOP):
    machine.write("/srv/shop/app.py", FACTS)
    return machine.write(f"/etc/emperor/vassals/{name}.ini", text)


def answers(machine, port=8000):
    return machine.get(port).startswith("200 ")


@pytest.mark.parametrize("release", RELEASES)
def test_the_service_by_its_script(machine_on, release):
    machine = machine_on(release, boot=False)
    # scans are rare: what is noticed below is noticed by the file events of this release's watchdog
    machine.write("/etc/default/emperor", 'EMPEROR_ARGS="--set emperor-freq=600"\nSHOP_COLOUR=blue\n')
    assert "is not running" in machine.fails("service", "emperor", "status")
    assert "emperor" in machine.run("service", "emperor", "start")
    assert "no vassals" in machine.run("service", "emperor", "status")
    file = drop(machine)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    facts = json.loads(machine.get(8000)[4:])
    assert (facts["python"], facts["uid"]) == (RELEASES[release], 33)

    # an app sees neither the emperor nor what belongs to it; its parser was found all the same
    assert not [path for path in facts["path"] if "emperor" in path]
    assert not {"emperor", "click", "watchdog", "psutil"}.intersection(facts["modules"])
    assert "EMPEROR_ARGS" not in facts["environment"]
    assert "SHOP_COLOUR" in facts["environment"]
    for module in ("emperor", "vassal", "httptools"):
        assert "ModuleNotFoundError" in machine.fails("python3", "-c", f"import {module}")

    # its log is its own
    wait_until(lambda: "asked for /" in machine.run("emperor", "logs", "shop"), 10, "what the app wrote")
    assert machine.run("stat", "--format=%U %a", "/var/log/emperor/shop.log") == "www-data 640\n"
    assert "emperor ready: 0 vassals" in machine.run("cat", "/var/log/emperor.log")

    # touch, and reload all
    machine.write("/srv/shop/app.py", FACTS.replace("one", "two"))
    touch_file(file)
    wait_until(lambda: '"code": "two"' in machine.get(8000), 30, "the new code")
    machine.write("/srv/shop/app.py", FACTS.replace("one", "three"))
    assert "shop: generation 3 serves" in machine.run("service", "emperor", "reload")
    assert '"code": "three"' in machine.get(8000)

    # a mistake in emperor.ini costs nobody anything
    good = (machine.root / EMPERORS[1:]).read_text()
    lines = len(good.splitlines())
    machine.write(EMPERORS, f"{good}emperor-freq = soon\n")
    for action in ("reload", "restart"):
        assert f"{EMPERORS}:{lines + 1}: error: emperor-freq = soon" in machine.fails("service", "emperor", action)
        assert answers(machine)
    machine.write(EMPERORS, good)

    assert "Restarting" in machine.run("service", "emperor", "restart")
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    machine.run("service", "emperor", "stop")
    assert machine.get(8000) == "refused"
    assert machine.processes() == []
    machine.run("service", "emperor", "try-restart")
    assert machine.processes() == []
    machine.write(EMPERORS, f"{good}= nothing\n")
    assert f"{EMPERORS}:{lines + 1}: error: no option in front of '='" in machine.fails("service", "emperor", "start")
    assert machine.processes() == []


@pytest.mark.parametrize("release", RELEASES)
def test_the_commands_and_what_explains_them(machine_on, release):
    machine = machine_on(release, boot=False)
    drop(machine)
    assert "Usage: emperor" in machine.run("emperor", "--help")
    assert machine.run("emperor", "check", EMPERORS).count("\n") == 1  # that it is the emperor's own, and no mistake
    assert machine.run("emperor", "check", "/etc/emperor/vassals") == ""
    assert "module = app" in machine.run("emperor", "explain", "/etc/emperor/vassals/shop.ini")
    assert "is it running?" in machine.fails("emperor", "status")

    by_hand = "vassal /etc/emperor/vassals/shop.ini & trap 'kill $!; wait' EXIT; for n in $(seq 100); do "
    by_hand += (
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:8000/\")' && exit 0; sleep 0.1; done"
    )
    machine.run("bash", "-c", by_hand)
    assert machine.processes() == []

    for page in ("man1/emperor.1", "man1/vassal.1", "man5/emperor.ini.5"):
        assert ".SH NAME" in machine.run("zcat", f"/usr/share/man/{page}.gz")
    complete = (
        "source /usr/share/bash-completion/completions/emperor; COMP_WORDS=(emperor re); COMP_CWORD=1; "
        '_emperor_completion emperor re emperor; echo "${COMPREPLY[@]}"'
    )
    assert machine.run("bash", "-c", complete) == "reload\n"
    for file in ("zsh/vendor-completions/_emperor", "fish/vendor_completions.d/emperor.fish"):
        assert "_EMPEROR_COMPLETE" in machine.run("cat", f"/usr/share/{file}")
