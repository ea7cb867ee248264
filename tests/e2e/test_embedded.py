"""An app that imports uwsgi, in a real vassal."""

import pytest

from tests.clients import http_get
from tests.e2e.asking import APPS
from tests.harness import free_port, vassal_text, wait_until


def ask(port, path="/"):
    return http_get(("127.0.0.1", port), path).text.split()


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_app_that_knows_uwsgi(emperor, tmp_path, lazy):
    port, left = free_port(), tmp_path / "left"
    text = vassal_text(port, "under_uwsgi:application", chdir=APPS, processes=2, lazy_apps=lazy, env=f"LEFT={left}")
    emperor.write("blog", text)
    pid = emperor.wait_state("blog", "running")["pid"]
    told = {}

    def both():
        answer = ask(port)
        told[answer[0]] = answer[1:]
        return len(told) == 2

    wait_until(both, 20, lambda: f"an answer of both workers: {told}")
    assert told == {
        "1": [str(pid), "True", "True", "under_uwsgi:application", "2"],
        "2": [str(pid), "True", "False", "under_uwsgi:application", "2"],
    }
    ask(port, "/reload")
    emperor.wait_state("blog", "running", generation=2)
    assert "reload wanted (uwsgi.reload())" in emperor.log.read_text()
    wait_until(lambda: left.exists() and sorted(left.read_text().split()) == ["1", "2"], 20, "atexit of both workers")


def test_without_the_module_it_is_not_there(emperor):
    text = vassal_text(free_port(), "under_uwsgi:application", chdir=APPS, uwsgi_module="false")
    emperor.write("blog", text)
    failure = emperor.wait_state("blog", "broken")["last_failure"]
    assert "No module named 'uwsgi'" in failure["reason"] + failure["detail"]
