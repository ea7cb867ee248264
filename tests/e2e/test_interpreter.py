"""Which Python an app runs in, and that it never meets the emperor's own packages.

The danger here is an import by accident: the emperor's environment has all that the tests need, so the app would find
it there and nobody would notice. So the app lists what it sees.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.asking import APPS, ask, inspector_text
from tests.harness import ROOT, free_port, unavailable

SITE = sysconfig.get_paths()["purelib"]
"""Where the emperor's packages lie."""
STRANGERS = {"click", "psutil", "watchdog", "asyncio", "emperor", "pytest", "yaml", "pip", "multiprocessing"}
STRANGERS |= {"setproctitle", "logging", "email", "random"}  # these would cost every vassal memory, or time at a fork
"""What only the emperor, or a test, needs."""
KNOWN = {"httptools", "vassal", "__main__"}
"""What a vassal itself is made of: loaded by its path, so that no other package beside it can be found."""


def make_environment(python: str | Path, directory: Path, *options: str) -> Path:
    """Make a virtual environment, without pip unless told otherwise, in which the module `only_here` can be found."""
    subprocess.run([python, "-m", "venv", *(options or ["--without-pip"]), directory], check=True, timeout=120)
    (site,) = directory.glob("lib/python3.*/site-packages")
    (site / "only_here.py").write_text("where = __file__\n")
    return directory


@pytest.fixture
def run(emperor):
    """Serve the inspecting app with these options; return what it says of its Python."""

    def serve(**options: object):
        port = free_port()
        emperor.write(f"app{port}", inspector_text(port, **options))
        emperor.wait_state(f"app{port}", "running")
        return ask(port, "python")

    return serve


def assert_clean(told: dict) -> None:
    assert not STRANGERS.intersection(name.partition(".")[0] for name in told["modules"])
    assert SITE not in told["path"]
    assert str(ROOT) not in told["path"]
    assert "" not in told["path"]
    assert told["argv"] == ["uwsgi"]
    beside = {
        name: path
        for name, path in told["files"].items()
        if path and path.startswith((SITE + os.sep, str(ROOT) + os.sep)) and name.partition(".")[0] not in KNOWN
    }
    beside = {name: path for name, path in beside.items() if not path.startswith(str(APPS))}
    assert not beside


@pytest.mark.parametrize("fork_server", ["true", "false"])
def test_an_app_does_not_see_the_emperors_packages(run, fork_server):
    told = run(fork_server=fork_server)
    assert_clean(told)
    assert told["path"][0] == str(APPS)
    assert told["version"] == list(sys.version_info[:2])


@pytest.mark.parametrize("fork_server", ["true", "false"])
def test_an_app_sees_its_virtual_environment(run, tmp_path, fork_server):
    environment = make_environment(sys.executable, tmp_path / "env")
    told = run(fork_server=fork_server, virtualenv=environment, env="IMPORT=only_here")
    assert_clean(told)
    assert told["prefix"] == str(environment)
    assert told["executable"] == str(environment / "bin" / "python")
    assert told["imported"].startswith(str(environment))


def test_an_app_without_an_environment_does_not_find_what_lies_in_one(emperor):
    ours = ("watchdog", "hypothesis", "psutil", "click")  # a distribution may have some of them, for every Python
    question = f"from importlib import util; print(*(name for name in {ours} if util.find_spec(name) is None))"
    done = subprocess.run([sys._base_executable, "-I", "-c", question], capture_output=True, text=True, check=True)
    if not done.stdout.split():
        unavailable(f"the Python outside of environments has all of {', '.join(ours)}")
    name = done.stdout.split()[0]
    emperor.write("app", inspector_text(free_port(), env=f"IMPORT={name}"))
    found = emperor.wait_state("app", "broken")
    assert name in found["last_failure"]["reason"]


def test_the_environment_is_no_shared_heap(run):
    """With ``fork-server = false`` each start has a hash seed and an address layout of its own."""
    seeds = {run(fork_server="false")["hash"] for _ in range(3)}
    assert len(seeds) > 1


@pytest.fixture(scope="session")
def another_python():
    """A Python of another version than the emperor's, which can run a vassal."""
    names = [f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info[1]]
    pyenv = Path.home() / ".pyenv" / "versions"
    found = [Path(path) for path in map(shutil.which, names) if path]
    found += [path for name in names for path in sorted(pyenv.glob(f"*/bin/{name}"))]
    for path in found:
        version = f"import sys, venv; sys.exit(sys.version_info[:2] == {sys.version_info[:2]})"
        if subprocess.run([path, "-c", version], capture_output=True, check=False).returncode == 0:
            return path
    return pytest.skip("needs a second Python of version 3.11 or later, in PATH or below ~/.pyenv/versions")


def test_without_httptools_the_failure_says_what_to_install(emperor, tmp_path, another_python):
    environment = make_environment(another_python, tmp_path / "env")
    emperor.write("app", inspector_text(free_port(), virtualenv=environment))
    found = emperor.wait_state("app", "broken")
    assert found["last_failure"]["stage"] == "interpreter"
    reason = found["last_failure"]["reason"]
    assert f"{environment}/bin/python -m pip install 'httptools" in reason


def test_the_environment_of_another_version_is_executed(run, tmp_path, another_python):
    environment = make_environment(another_python, tmp_path / "env", "--copies")
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python3.*/site-packages")
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "httptools>=0.6.4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install httptools for {another_python}: {done.stderr[-300:]}")
    told = run(virtualenv=environment, env="IMPORT=only_here")
    assert_clean(told)
    assert told["version"] != list(sys.version_info[:2])
    assert told["executable"] == str(python)
    assert told["prefix"] == str(environment)
    assert told["imported"].startswith(str(site))
    assert told["files"]["httptools"].startswith(str(site))
