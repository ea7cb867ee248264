"""`make demo`: what a newcomer runs first works, says what is wrong, and leaves nothing behind."""

import hashlib
import re
import shutil
import signal
import socket
import sys

import pytest

from tests.clients import http_get, refuses
from tests.harness import ROOT, free_port, wait_until


def tree(directory):
    """A checksum of each file that belongs to the examples; not of what Python caches beside them."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not {".state", "__pycache__"}.intersection(path.relative_to(directory).parts)
    }


@pytest.fixture
def copy(tmp_path, apps_env):
    """The examples in a directory of their own, on free ports: the real ones may be in use."""
    examples = tmp_path / "checkout" / "examples"
    shutil.copytree(ROOT / "examples", examples, ignore=shutil.ignore_patterns(".state", "__pycache__"))
    (tmp_path / "checkout" / ".venv-apps").symlink_to(apps_env)
    for file in [*(examples / "vassals").glob("*.ini"), examples / "drop-me.ini"]:
        text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{free_port()}", file.read_text())
        file.write_text(text)
    return examples


@pytest.fixture
def demo(make_emperor, copy):
    """The demo's process, on that copy; not yet started."""
    return lambda *arguments: make_emperor(command=[sys.executable, str(copy / "demo.py"), *arguments])


def port_of(file):
    return int(re.search(r"127\.0\.0\.1:(\d+)", file.read_text())[1])


def test_the_check_passes_and_leaves_nothing(demo, copy):
    before = tree(copy)
    running = demo("--check").start(ready=False)
    assert running.wait(180) == 0
    running.wait_empty()
    said = running.log.read_text()
    assert said.count("\nok ") == 7, said
    assert tree(copy) == before


def test_the_demo_serves_until_ctrl_c_and_leaves_nothing(demo, copy):
    before = tree(copy)
    running = demo().start(ready=False)
    wait_until(lambda: running.ended or "Ctrl-C stops" in running.log.read_text(), 120, "the demo's banner")
    dropped = copy / "vassals" / "drop-me.ini"
    shutil.copy(copy / "drop-me.ini", dropped)
    addresses = [("127.0.0.1", port_of(file)) for file in (copy / "vassals").glob("*.ini")]
    assert len(addresses) == 4
    for address in addresses:
        wait_until(lambda address=address: not refuses(address), 60, f"{address} to answer")
        assert http_get(address, Host="127.0.0.1").status == 200
    running.kill(signal.SIGINT)
    assert running.wait(60) == 0
    running.wait_empty()
    assert all(refuses(address) for address in addresses)
    assert not list(copy.rglob("*.sock"))
    assert tree(copy) == before


def test_a_taken_port_is_told_before_anything_starts(demo, copy):
    port = port_of(copy / "vassals" / "blog.ini")
    with socket.create_server(("127.0.0.1", port)):
        running = demo().start(ready=False)
        assert running.wait(30) == 1
        running.wait_empty()
    assert f"blog: 127.0.0.1:{port}: Address already in use" in running.log.read_text()
    assert not (copy / ".state").exists()
