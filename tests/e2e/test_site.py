"""docs/site.md is true: one file serves a Django site with its Celery worker, its cron job and its static files."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.clients import http_get
from tests.harness import ROOT, command_line, free_port, wait_until

FILE = ROOT / "examples" / "site.ini"
QUICKER = [
    ("127.0.0.1:8005", "127.0.0.1:{port}"),
    ("idle = 600", "idle = 3"),
    ("unique-cron = 17 4 *", "unique-cron = * * *"),
    ("manage.py clearsessions", "manage.py clearsessions && touch {checkout}/cleared"),
]
"""What the test changes in the file: a port, two times that nobody waits for, and a trace."""


@pytest.fixture
def checkout(tmp_path, apps_env):
    """The examples in a directory of their own, set up with the commands of docs/site.md."""
    examples = tmp_path / "checkout" / "examples"
    shutil.copytree(ROOT / "examples", examples, ignore=shutil.ignore_patterns(".state", "__pycache__"))
    (tmp_path / "checkout" / ".venv-apps").symlink_to(apps_env)
    page = (ROOT / "docs" / "site.md").read_text()
    commands = re.findall(r"^\$ (\S*python manage\.py .*)$", page, re.MULTILINE)
    assert len(commands) == 2, commands
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.production", "EXAMPLES_STATE": str(examples / ".state")}
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("../../../.venv-apps", str(apps_env))],
            cwd=examples / "apps" / "django_shop",
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return examples


def test_the_page_shows_the_file_as_it_is():
    shown = re.search(
        r"^```ini\n(; One file.*?)```$", (ROOT / "docs" / "site.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert shown[1] == FILE.read_text()


def celery(emperor):
    return [process for process in emperor.processes() if "celery -A shop.celery" in command_line(process)]


def serving(emperor):
    """The site's workers and masters."""
    return [process for process in emperor.processes() if "vassal site" in command_line(process)]


def test_one_file_holds_all_that_a_django_site_needs(start_emperor, checkout, tmp_path, browser):
    port = free_port()
    text = FILE.read_text().replace("%d", f"{checkout}/")
    for old, new in QUICKER:
        assert old in text
        text = text.replace(old, new.format(port=port, checkout=checkout))
    emperor = start_emperor(minute_in=12)  # of which the start may take some
    emperor.write("site", text)
    emperor.wait_state("site", "running", "cheap", deadline=60)
    address = ("127.0.0.1", port)

    # Collected static files, the hashed ones for a year.
    page = browser(port)
    style = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page.get("/stock/"))[1]
    answer = http_get(address, style)
    assert answer.status == 200
    assert answer.header("cache-control") == "max-age=31536000"
    assert http_get(address, "/static/admin/css/base.css").header("cache-control") is None
    assert len(serving(emperor)) == 2, "by day one worker, unless more are busy"

    # The Celery worker does what the site asks for.
    assert "Not taken yet" in page.get("/stock/")
    page.post("/stock/")
    wait_until(lambda: "0 of 0 products are in stock" in page.get("/stock/"), 60, "the task's result")
    (first,) = celery(emperor)
    (shown,) = emperor.status("site")["daemons"]
    assert (shown["pid"], shown["state"]) == (first.pid, "running")
    log = emperor.vassal_log("site")
    assert re.search(r"daemon celery: .*ready\.", log)
    assert re.search(r"daemon celery: .*Task catalogue\.tasks\.take_stock\[.*succeeded", log)

    # At night the workers go; Celery and cron go on.
    emperor.wait_state("site", "cheap", deadline=30)
    wait_until(lambda: len(serving(emperor)) == 1, 20, "the master alone")
    assert first.is_running()
    assert "clearsessions" in emperor.status("site")["cron"][0]["command"]
    wait_until((checkout / "cleared").exists, 75, lambda: emperor.vassal_log("site"))  # in the site's environment
    assert "Stock" in page.get("/stock/")

    # A reload brings a new Celery worker with the new code; a task that was asked for meanwhile is not lost.
    (checkout / ".state" / "stock.txt").unlink()
    tasks = checkout / "apps" / "django_shop" / "catalogue" / "tasks.py"
    tasks.write_text(tasks.read_text().replace("are in stock", "are there"))
    os.utime(tasks, ns=(later := tasks.stat().st_mtime_ns + 2_000_000_000, later))
    emperor.touch("site")
    page.post("/stock/")
    emperor.wait_state("site", "running", "cheap", generation=2, deadline=60)
    wait_until(lambda: not first.is_running(), 30, "the end of the first Celery worker")
    page.post("/stock/")
    wait_until(lambda: "0 of 0 products are there" in page.get("/stock/"), 60, "the new code's result")
    assert len(celery(emperor)) == 1

    # A master that is killed leaves no second Celery worker behind.
    os.kill(emperor.status("site")["pid"], signal.SIGKILL)
    emperor.wait_state("site", "running", "cheap", generation=3, deadline=60)
    wait_until(lambda: len(celery(emperor)) == 1, 30, "one Celery worker")
