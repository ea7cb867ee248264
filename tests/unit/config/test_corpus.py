"""Whole files as people write them: each loads, every line has a verdict, and nothing known is called unknown.

``tests/corpus/config`` holds our own. ``EMPEROR_CORPUS`` may name a directory with more, of real projects for instance.
"""

import os
import re
from pathlib import Path

import pytest

from emperor import check
from emperor.check import check_paths, explain
from emperor.settings import EMPEROR, load_emperor
from tests.harness import ROOT
from vassal.config import ConfigError, Inject, Note, load_vassal
from vassal.config.option import REFUSED
from vassal.config.table import VASSAL
from vassal.config.uwsgi_names import NAMES

OWN = ROOT / "tests" / "corpus" / "config"
MORE = Path(os.environ.get("EMPEROR_CORPUS", ROOT.parent / "shared" / "corpus" / "ini"))
REAL = sorted(MORE.glob("*.ini")) if MORE.is_dir() else []
SUFFIXES = {".ini", ".yml", ".yaml", ".json"}
FILES = [path for path in sorted(OWN.iterdir()) if path.suffix in SUFFIXES] + REAL
UNKNOWN = re.compile(r"unknown option '(.*?)'")
KEY = re.compile(r"^\s*([A-Za-z][\w-]*)\s*(?:=|$)", re.MULTILINE)

needs_more = pytest.mark.skipif(not REAL, reason=f"EMPEROR_CORPUS names no files of real projects ({MORE})")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Each file for itself: not all the others are read with it for their sockets."""
    monkeypatch.setattr(check, "SIBLINGS", 0)


def load(name, **options):
    return load_vassal(str(OWN / name), **{"environ": {}, **options})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_line_has_a_verdict(path):
    notes = check_paths([str(path)])
    assert all(isinstance(note, Note) for note in notes)
    for note in notes:
        assert note.message
        assert "Traceback" not in note.message
        unknown = UNKNOWN.search(note.message)
        if unknown:
            name = unknown.group(1)
            assert name not in NAMES | VASSAL.names() | EMPEROR.names()
            assert f"%({name})" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_verdict_is_never_lost(path):
    """Each key of the file is an option, a word of the language, or told to be neither."""
    notes = check_paths([str(path)])
    told = {note.option for note in notes}
    text = path.read_text()
    if path.suffix == ".ini":
        for key in KEY.findall(text):
            known = VASSAL.find(key) or EMPEROR.find(key)
            used = re.search(rf"[%$@]\([^)]*{re.escape(key)}", text)
            assert known or used or key in told, key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_explain_shows_lines_that_are_there(path):
    lines = path.read_text().count("\n") + 1
    for row in explain(str(path)):
        assert row.line is None or row.file != str(path) or 1 <= row.line <= lines


@needs_more
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_file_loads_once_its_refused_options_are_ignored(path):
    rows = [(name, table.find(name)) for table in (VASSAL, EMPEROR) for name in sorted(NAMES)]
    refused = {name for name, row in rows if row is not None and row.verdict == REFUSED}
    inject = Inject(sets=(("ignore-refused", " ".join(sorted(refused | {"plugin", "plugins"}))),))
    notes = check_paths([str(path)])
    impossible = [n for n in notes if n.level == "error" and ("cannot read" in n.message or "${NAME}" in n.message)]
    if impossible:
        with pytest.raises(ConfigError):
            load_vassal(str(path), environ={}, inject=inject, allow_exec=False)
    else:
        load_vassal(str(path), environ={}, inject=inject, allow_exec=False)


# --- our own: what they mean --------------------------------------------------------------------------------


def test_a_site_behind_nginx():
    settings = load("django.ini").settings
    assert (settings.module, settings.chdir) == ("shop.wsgi:application", "/srv/shop")
    assert (settings.processes, settings.threads, settings.harakiri, settings.max_requests) == (4, 2, 60, 5000)
    assert [(s.protocol, s.address) for s in settings.sockets] == [("uwsgi", "/run/shop/django.sock")]
    assert settings.static_map == (
        ("/static", "/srv/shop/static/", False),
        ("/media/", "/srv/shop/media", False),
    )
    assert settings.env[0] == ("DJANGO_SETTINGS_MODULE", "shop.settings")
    assert settings.attach_daemon == ("/srv/shop/venv/bin/celery -A shop worker --loglevel=info",)
    assert settings.touch_reload == (str(OWN / "django.ini"),)


@pytest.mark.parametrize(("environ", "port", "workers"), [({}, "8000", 2), ({"PORT": "80", "WORKERS": "9"}, "80", 9)])
def test_a_container_that_is_strict(environ, port, workers):
    loaded = load("container.ini", environ=environ)
    assert loaded.settings.sockets[0].address == f"0.0.0.0:{port}"
    assert loaded.settings.processes == workers
    assert loaded.settings.post_buffering == 1 << 20
    assert loaded.settings.catch_exceptions is False
    assert '"%(method) %(uri) %(proto)"' in (loaded.settings.log_format or "")
    assert load("container.ini", environ={"DEBUG": "1"}).settings.catch_exceptions is True


def test_loops_conditions_and_variables():
    settings = load("logic.ini").settings
    assert settings.env == (("alpha", "1"), ("beta", "1"))
    assert settings.pythonpath == ("/srv/lib1", "/srv/lib2", "/srv/lib3")
    assert (settings.processes, settings.threads) == (4, 3)
    assert settings.procname_prefix_spaced == "logic"


def test_sections():
    settings = load("sections.ini").settings
    assert (settings.processes, settings.threads, settings.listen, settings.harakiri) == (6, 2, 128, 20)


@pytest.mark.parametrize("name", ["yaml.yml", "js.json"])
def test_other_formats(name):
    settings = load(name).settings
    assert (settings.module, settings.processes, settings.env) == ("app", 2, (("A", "1"), ("B", "2")))


def test_debians_emperor():
    settings = load_emperor(str(OWN / "emperor.ini"), sets=(), places=(), environ={})
    assert settings.places == ("/etc/uwsgi-emperor/vassals",)
    assert settings.vassals_uid == "www-data"


def test_refusals_come_all_and_by_line():
    errors = [n for n in check_paths([str(OWN / "refused.ini")]) if n.level == "error"]
    assert [(n.line, n.option) for n in errors] == [
        (4, "gevent"), (5, "route"), (6, "spooler"), (7, "mules"), (8, "subscribe-to"),
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        load("refused.ini")
    assert (caught.value.line, caught.value.option) == (4, "gevent")


def test_typos():
    meant = {
        n.option: n.message.rpartition("did you mean ")[2].strip("'?") for n in load("mistakes.ini").notes
    }  # fmt: skip
    assert meant == {
        "proceses": "processes",
        "vacum": "vacuum",
        "harakiri_verbose": "harakiri-verbose",
        "optmize": "optimize",
        "static_map": "static-map",
    }
