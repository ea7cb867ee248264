"""Reload strategies as people choose them: in the vassal's file, in the emperor's, and by command.

The danger here is a strategy that is read and not followed. So what counts is which generations exist side by side, and
that callers are answered all the while.
"""

import re
import threading

import pytest

from tests.clients import http_get
from tests.harness import command_line, free_port, vassal_text, wait_until, write_file

APP = """\
import time

time.sleep(0.4)


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"{version}"]
"""


class Watch:
    """Looks at the masters of one vassal, and asks it, until it is left; `most` masters lived side by side."""

    def __init__(self, emperor, port):
        self.emperor, self.port = emperor, port
        self.most = 0
        self.failures, self.answers = [], set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=act) for act in (self._count, self._ask)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _count(self):
        while not self._over.wait(0.02):
            serving = {
                found[1]
                for process in self.emperor.processes()
                if (found := re.search(r"vassal blog gen (\d+) worker", command_line(process)))
            }
            self.most = max(self.most, len(serving))

    def _ask(self):
        while not self._over.wait(0.02):
            try:
                self.answers.add(http_get(("127.0.0.1", self.port), timeout=20).text)
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append(repr(error))


@pytest.mark.parametrize(
    ("chosen", "side_by_side"),
    [
        ((None, None, None), 2),
        (("drain", None, None), 1),
        (("drain", "overlap", None), 2),
        ((None, "drain", "overlap"), 2),
    ],
)
def test_the_command_comes_before_the_file_and_the_file_before_the_emperor(
    start_emperor, tmp_path, chosen, side_by_side
):
    default, own, asked = chosen
    emperor = start_emperor(settings={"reload-strategy": default} if default else {})
    app = tmp_path / "app"
    app.mkdir()
    write_file(app / "app.py", APP.format(version="one"))
    port = free_port()
    options = {"reload-strategy": own} if own else {}
    emperor.write("blog", vassal_text(port, chdir=app, lazy_apps="true", **options))
    emperor.wait_state("blog", "running")
    write_file(app / "app.py", APP.format(version="two"))
    with Watch(emperor, port) as watch:
        wait_until(lambda: watch.answers, 10, "an answer before it")
        emperor.cli("reload", "blog", *(["--strategy", asked] if asked else []), check=True)
        wait_until(lambda: "two" in watch.answers, 10, "an answer of the new code")
        wait_until(lambda: not _titled(emperor, "gen 1 "), 10, "the old generation to end")
    assert watch.failures == []
    assert watch.most == side_by_side


def _titled(emperor, words):
    return [p for p in emperor.processes() if f"vassal blog {words}" in command_line(p)]


def test_a_strategy_that_there_is_none_of_is_a_wrong_usage(emperor):
    done = emperor.cli("reload", "blog", "--strategy", "sideways")
    assert done.returncode == 2
    assert "overlap" in done.stderr
