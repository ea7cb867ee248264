"""What people read and copy is true: links lead somewhere, named targets exist, example files load without a note."""

import re

import pytest

from emperor.settings import load_emperor
from tests.harness import ROOT
from vassal.config import load_vassal

PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
VASSALS = [
    *sorted((ROOT / "examples" / "vassals").glob("*.ini")),
    ROOT / "examples" / "drop-me.ini",
    ROOT / "examples" / "site.ini",
]
EMPEROR_INI = ROOT / "etc" / "emperor.ini"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert broken == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index]
    assert missing == ["index.md"]


def test_named_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:\$ |`)make ([a-z-]+)", page.read_text())}
    assert {"demo", "test"} <= named <= targets


def test_the_makefile_documents_each_target():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    assert [name for name in phony if not re.search(rf"^{name}:.*## \w", text, re.MULTILINE)] == []


@pytest.mark.parametrize("file", VASSALS, ids=lambda file: file.name)
def test_example_vassals_load_without_a_note(file):
    loaded = load_vassal(str(file), environ={})
    assert loaded.notes == ()
    assert [spec.protocol for spec in loaded.settings.sockets] == ["http"]


def test_the_emperors_file_loads_without_a_note():
    settings = load_emperor(str(EMPEROR_INI), sets=(), places=(), environ={})
    assert settings.notes == ()
    assert settings.places == ("/etc/emperor/vassals",)
    assert (settings.vassals_uid, settings.vassals_gid) == ("www-data", "www-data")


def test_the_emperors_file_shows_options_that_exist(tmp_path):
    everything = tmp_path / "emperor.ini"
    everything.write_text(re.sub(r"^; ([a-z-]+ = )", r"\1", EMPEROR_INI.read_text(), flags=re.MULTILINE))
    assert everything.read_text().count("\nemperor = ") == 3
    settings = load_emperor(str(everything), sets=(), places=(), environ={})
    assert settings.notes == ()
    assert (settings.tyrant, settings.nofollow, settings.fork_server) == (True, True, False)
    assert (settings.freq, settings.throttle_ms, settings.max_throttle_ms) == (3.0, 1000, 180000)


def test_the_emperors_file_shows_the_defaults(tmp_path):
    empty = tmp_path / "emperor.ini"
    empty.write_text("[emperor]\nemperor = /nowhere\n")
    plain = load_emperor(str(empty), sets=(), places=(), environ={})
    assert (plain.freq, plain.throttle_ms, plain.max_throttle_ms) == (3.0, 1000, 180000)
