"""The package under Debian 12's real systemd: the service from its first start to its purge."""

import re
import subprocess

import pytest

from tests.debian.roots import NAME
from tests.debian.test_sysv import EMPERORS, FACTS, SHOP, answers, drop
from tests.harness import touch_file, wait_until

NOISY = """\
import sys

def application(environ, start_response):
    print("x" * 20000, flush=True)
    print("y" * 20000, file=sys.stderr, flush=True)
    environ["wsgi.errors"].write("z" * 20000 + "\\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


@pytest.fixture
def machine(machine_on):
    """A booted machine; the service runs, as after every boot."""
    machine = machine_on()
    wait_active(machine)
    return machine


def property_of(machine, name):
    return machine.run("systemctl", "show", "--value", f"--property={name}", "emperor").strip()


def wait_active(machine):
    wait_until(lambda: property_of(machine, "ActiveState") == "active", 30, "the service to be active")


def failed(machine):
    return property_of(machine, "ActiveState") == "failed"


def main_pid(machine):
    return int(property_of(machine, "MainPID"))


def test_a_day_of_the_service(machine):
    file = drop(machine)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    assert re.search(r"^shop +running", machine.run("emperor", "status"), re.MULTILINE)
    wait_until(lambda: property_of(machine, "StatusText") == "1 vassals", 20, "what systemctl status shows")
    machine.write("/srv/shop/app.py", FACTS.replace("one", "two"))
    touch_file(file)
    wait_until(lambda: '"code": "two"' in machine.get(8000), 30, "the new code")
    machine.write("/srv/shop/app.py", FACTS.replace("one", "three"))
    pid = main_pid(machine)
    machine.run("systemctl", "reload", "emperor")
    assert '"code": "three"' in machine.get(8000)
    assert main_pid(machine) == pid

    # a second place, as another emperor has left it
    other = SHOP.replace("8000", "8001") + "plugins = python3\nmaster = true\nuid = www-data\ngid = www-data\n"
    machine.write("/etc/uwsgi-emperor/vassals/wiki.ini", other)
    with (machine.root / EMPERORS[1:]).open("a") as ini:
        ini.write("emperor = /etc/uwsgi-emperor/vassals\n")
    machine.run("systemctl", "restart", "emperor")
    for port in (8000, 8001):
        wait_until(lambda port=port: answers(machine, port), 30, "both vassals to answer")
    file.unlink()
    wait_until(lambda: machine.get(8000) == "refused", 30, "the deleted vassal to be gone")
    assert answers(machine, 8001)
    said = machine.journal()
    assert "vassal shop: appeared (/etc/emperor/vassals/shop.ini)" in said
    assert "vassal shop: generation 2 serves" in said
    assert "shop: generation 3 serves" in said  # what the command of the reload printed
    assert said.count("emperor ready: ") == 2

    # rotated: what it writes next is in a new file, which is still the app's
    machine.run("logrotate", "--force", "/etc/logrotate.d/emperor")
    assert "asked for /" in machine.run("cat", "/var/log/emperor/wiki.log.1")
    assert "asked for /" not in machine.run("cat", "/var/log/emperor/wiki.log")
    assert answers(machine, 8001)
    wait_until(lambda: "asked for /" in machine.run("emperor", "logs", "wiki"), 10, "a line in the new file")
    assert machine.run("stat", "--format=%U %a", "/var/log/emperor/wiki.log") == "www-data 640\n"

    # its rights: few, and enough
    status = machine.run("cat", f"/proc/{main_pid(machine)}/status")
    rights = int(re.search(r"^CapBnd:\s+(\w+)", status, re.MULTILINE)[1], 16)
    everything = int(re.search(r"^CapBnd:\s+(\w+)", machine.run("cat", "/proc/1/status"), re.MULTILINE)[1], 16)
    assert 0 < rights < everything
    assert rights & 1 << 21 == 0  # CAP_SYS_ADMIN

    machine.run("systemctl", "stop", "emperor")
    assert machine.get(8001) == "refused"
    assert machine.processes() == []
    assert property_of(machine, "Result") == "success"


def test_a_mistake_in_its_file_fails_the_unit_and_keeps_what_runs(machine):
    drop(machine)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    good = (machine.root / EMPERORS[1:]).read_text()
    wrong = f"{EMPERORS}:{len(good.splitlines()) + 1}: "
    machine.write(EMPERORS, f"{good}emperor-freq = soon\n")
    pid = main_pid(machine)
    machine.fails("systemctl", "reload", "emperor")
    wait_until(lambda: wrong in machine.journal(), 10, "the line in the journal")
    assert (main_pid(machine), answers(machine)) == (pid, True)
    assert property_of(machine, "ActiveState") == "active"

    machine.fails("systemctl", "restart", "emperor")
    wait_until(lambda: failed(machine), 10, "the unit to have failed")
    assert f"emperor: {wrong}emperor-freq = soon" in machine.journal()
    assert property_of(machine, "NRestarts") == "0"
    machine.write(EMPERORS, good)
    machine.run("systemctl", "start", "emperor")
    wait_until(lambda: answers(machine), 30, "the vassal to answer")


def test_it_is_started_again_when_it_dies_or_hangs(machine):
    drop(machine)
    machine.write("/etc/systemd/system/emperor.service.d/soon.conf", "[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "emperor")
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    for number, sign in enumerate(("KILL", "STOP"), 1):
        pid = main_pid(machine)
        machine.run("sh", "-c", f"kill -{sign} {pid}")
        wait_until(lambda pid=pid: main_pid(machine) not in (0, pid), 40, f"another emperor after SIG{sign}")
        wait_active(machine)
        wait_until(lambda: answers(machine), 30, "the vassal to answer")
        assert property_of(machine, "NRestarts") == str(number)


def test_logs_that_cannot_be_written_cost_nobody_a_request(machine):
    machine.write("/srv/shop/noisy.py", NOISY)
    machine.write("/etc/emperor/vassals/noisy.ini", SHOP.replace("module = app", "module = noisy"))
    wait_until(lambda: machine.get(8000) == "200 served", 30, "the vassal to answer")

    machine.run("systemctl", "stop", "emperor")
    machine.run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/var/log/emperor")
    machine.run("systemctl", "start", "emperor")
    for _ in range(5):
        wait_until(lambda: machine.get(8000) != "refused", 30, "the vassal to be there")
        assert machine.get(8000) == "200 served"
    full = (
        r"vassal noisy: .*No space left on device|/var/log/emperor is on a file system that is full; vassals serve on"
    )
    wait_until(lambda: re.search(full, machine.journal()), 20, "a word on it")

    for _ in range(3):
        assert machine.get(8000) == "200 served"
    assert len(re.findall(full, machine.journal())) == 1

    machine.run("systemctl", "stop", "emperor")
    machine.run("mount", "-o", "remount,ro", "/var/log/emperor")
    machine.run("systemctl", "start", "emperor")
    wait_until(lambda: machine.get(8000) == "200 served", 30, "the vassal to answer")
    for _ in range(3):
        machine.run("emperor", "reload", "noisy")
    assert machine.get(8000) == "200 served"
    word = r"cannot open its log /var/log/emperor/noisy.log: Read-only file system|that is read-only; vassals serve on"
    wait_until(lambda: re.search(word, machine.journal()), 10, "a word on it")
    assert len(re.findall(word, machine.journal())) == 1
    machine.run("systemctl", "stop", "emperor")
    machine.run("umount", "/var/log/emperor")


def newer(roots, machine, changes):
    """Put the package, as another version with other files, into the machine; return where it lies there."""
    tree = machine.root.with_suffix(".newer")
    subprocess.run(["dpkg-deb", "--raw-extract", roots.package("bookworm"), tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.1.1-1", control.read_text(), flags=re.MULTILINE))
    for path, text in changes.items():
        file = tree / path.lstrip("/")
        file.write_text(file.read_text() + text)
    where = "/var/tmp/newer.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", tree, machine.root / where[1:]], check=True, capture_output=True)
    return where


def test_upgrade_reboot_removal_and_purge(machine, roots):
    mine = drop(machine)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    own = "; this line is mine\n"
    with (machine.root / EMPERORS[1:]).open("a") as ini:
        ini.write(own)
    deb = newer(roots, machine, {EMPERORS: "; a line of the new version\n", "/etc/default/emperor": "# new\n"})

    # an upgrade restarts a service that runs, and keeps what was edited
    pid = main_pid(machine)
    machine.run("dpkg", "--force-confold", "--install", deb)
    assert main_pid(machine) not in (0, pid)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")
    kept = (machine.root / EMPERORS[1:]).read_text()
    assert own in kept
    assert "new version" not in kept
    assert "# new" in (machine.root / "etc/default/emperor").read_text()

    # one that is stopped stays stopped, also where it is enabled
    machine.run("systemctl", "stop", "emperor")
    machine.run("dpkg", "--force-confold", "--install", deb)
    assert property_of(machine, "ActiveState") == "inactive"

    # a boot starts it
    machine.stop()
    machine.start()
    wait_active(machine)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")

    # removed: nothing runs; configuration and logs stay
    machine.run("dpkg", "--remove", NAME)
    assert machine.get(8000) == "refused"
    assert machine.processes() == []
    assert own in (machine.root / EMPERORS[1:]).read_text()
    assert (machine.root / "var/log/emperor/shop.log").exists()

    # installed again: it is as it was
    machine.run("dpkg", "--force-confold", "--install", deb)
    wait_until(lambda: answers(machine), 30, "the vassal to answer")

    # purged: nothing is left but what somebody put there
    machine.run("dpkg", "--purge", NAME)
    assert machine.processes() == []
    assert machine.get(8000) == "refused"
    left = machine.run(
        "find", "/", "-xdev", "-name", "*emperor*", "-not", "-path", "/var/tmp/*", "-not", "-path", "/srv/*"
    )
    assert left.split() == ["/etc/emperor"]
    assert sorted(path.name for path in mine.parent.iterdir()) == ["shop.ini"]
    assert sorted(path.name for path in mine.parent.parent.iterdir()) == ["vassals"]
