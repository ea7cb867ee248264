"""Where a vassal's process begins: its environment."""

import os
import subprocess
import sys

from vassal import entry


def test_the_environment_is_that_of_the_contract_and_nothing_else(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    wanted = {"SAME": "1", "OTHER": "new", "MADE": "ö"}
    for name in list(os.environ):
        del os.environ[name]
    os.environ.update({"SAME": "1", "OTHER": "old", "GONE": "secret"})
    entry._live_in(wanted)
    assert dict(os.environ) == wanted


def test_programs_that_it_starts_see_that_environment():
    code = (
        "import os, subprocess\n"
        "from vassal import entry\n"
        "entry._live_in({'PATH': os.environ['PATH'], 'MADE': '2', 'SAME': '1'})\n"
        "print(subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
    )
    environment = {"PATH": os.environ["PATH"], "SAME": "1", "GONE": "secret"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert sorted(told.stdout.split()) == sorted([f"PATH={os.environ['PATH']}", "MADE=2", "SAME=1"])
