"""What the Debian package repeats of the project agrees with it; whether it can be built is told by `make test-deb`."""

import re

from tests.harness import ROOT
from vassal import __version__

DEBIAN = ROOT / "packaging" / "debian"


def test_the_changelog_is_about_this_version():
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"emperor-fleet ({__version__}-")


def test_it_depends_on_what_the_project_depends_on():
    wanted = dict(re.findall(r'^    "([a-z]+)>=([\d.]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[:5])
    assert set(wanted) == {"click", "httptools", "psutil", "setproctitle", "watchdog"}
    carried = re.search(r"^httptools==([\d.]+) ", (ROOT / "packaging" / "httptools.txt").read_text(), re.MULTILINE)[1]
    assert [int(part) for part in carried.split(".")] >= [int(part) for part in wanted.pop("httptools").split(".")]
    for name, version in wanted.items():
        assert f" python3-{name} (>= {version}),\n" in (DEBIAN / "control").read_text()


def test_the_unit_and_the_script_start_the_same():
    arguments = "run --ini /etc/emperor/emperor.ini $EMPEROR_ARGS"
    assert f"ExecStart=/usr/bin/emperor {arguments}\n" in (DEBIAN / "emperor-fleet.emperor.service").read_text()
    script = (DEBIAN / "emperor-fleet.emperor.init").read_text()
    assert "INI=/etc/emperor/emperor.ini\n" in script
    assert 'run --ini "$INI" $EMPEROR_ARGS' in script
