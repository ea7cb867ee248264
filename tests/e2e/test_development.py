"""What people use while they write an app: reloads by themselves, Python's optimisation level, limits of memory."""

import socket

import pytest

from tests.clients import http_get
from tests.harness import free_port, vassal_text, wait_until, write_app, write_file


@pytest.fixture
def app(tmp_path):
    directory = tmp_path / "app"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_a_changed_module_reloads_and_a_broken_one_does_not(emperor, app, lazy):
    write_app(app, "app", "one")
    write_file(app / "ignored.py", "")
    source = (app / "app.py").read_text()
    write_file(app / "app.py", f"import ignored\n{source}")
    port = free_port()
    options = {"py_auto_reload": 1, "py_auto_reload_ignore": "ignored", "lazy_apps": lazy, "processes": 2}
    emperor.write("blog", vassal_text(port, chdir=app, **options))
    emperor.wait_state("blog", "running")
    write_file(app / "ignored.py", "# changed")
    write_file(app / "app.py", source.replace("one", "two"))
    wait_until(lambda: http_get(("127.0.0.1", port)).text == "two", 20, "the new code")
    assert "py-auto-reload: module app" in emperor.log.read_text()
    assert "module ignored" not in emperor.log.read_text()
    write_file(app / "app.py", "this is no Python")
    failure = wait_until(lambda: emperor.status("blog")["last_failure"], 20, "the failure")
    assert "SyntaxError" in failure["reason"] + failure["detail"]
    assert http_get(("127.0.0.1", port)).text == "two"
    write_file(app / "app.py", source.replace("one", "three"))
    wait_until(lambda: http_get(("127.0.0.1", port)).text == "three", 20, "the mended code")


APP = """
import sys

hoard = []


def application(environ, start_response):
    '''A docstring.'''
    if environ["PATH_INFO"] == "/eat":
        hoard.append(b"x" * (200 << 20))
    start_response("200 OK", [])
    return [f"{sys.flags.optimize} {__debug__} {application.__doc__}".encode()]
"""


def test_optimize_and_evil_reload_on_rss(emperor, app):
    write_file(app / "app.py", APP)
    port = free_port()
    emperor.write("blog", vassal_text(port, chdir=app, optimize=2, evil_reload_on_rss=150))
    emperor.wait_state("blog", "running")
    assert http_get(("127.0.0.1", port)).text == "2 False None"
    before = emperor.status("blog")["pid"]
    with socket.create_connection(("127.0.0.1", port)) as client:  # it may be killed before it has answered
        client.sendall(b"GET /eat HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "(evil-reload-on-rss): killed" in emperor.vassal_log("blog"), 20, "the end of the worker")
    assert http_get(("127.0.0.1", port)).text == "2 False None"
    assert emperor.status("blog")["pid"] == before, "only the worker ends"
