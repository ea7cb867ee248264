"""Ini, json and yaml files as text: sections, keys, places, and what is no such file."""

import json
import os
import sys

import pytest

from vassal.config import documents
from vassal.config.errors import ConfigError
from vassal.config.language import read_entries


def test_keys_values_and_their_lines(place):
    text = "; comment\n# comment\n[uwsgi]\nmaster\n  processes =  4 \r\nenv = A=b = c ; kept\n\nempty =\n"
    reading = place.read(text)
    path = str(place.root / "app.ini")
    assert [(entry.option, entry.value, entry.line) for entry in reading.entries] == [
        ("master", "", 4),
        ("processes", "4", 5),
        ("env", "A=b = c ; kept", 6),
        ("empty", "", 8),
    ]
    assert {entry.file for entry in reading.entries} == {path}
    assert reading.files == (path,)
    assert reading.notes == ()


def test_sections_that_count_are_merged_and_others_are_not_read(place):
    text = "[uwsgi]\na = 1\n[other]\nb = 2\n[vassal]\nc = 3\n[uwsgi]\nd = 4\n[emperor]\ne = 5\n"
    assert place.pairs(text) == [("a", "1"), ("c", "3"), ("d", "4")]
    assert place.pairs(text, sections=("uwsgi", "emperor")) == [("a", "1"), ("d", "4"), ("e", "5")]
    assert place.pairs(text, section=":other") == [("b", "2")]


def test_a_repeated_key_is_a_list(place):
    assert place.pairs("[uwsgi]\nenv = A=1\nenv = B=2") == [("env", "A=1"), ("env", "B=2")]


def test_the_section_asked_for_leaves_the_file_name_alone(place):
    reading = place.read("[prod]\nx = %x|%s", section=":prod")
    assert [entry.value for entry in reading.entries] == ["prod|app.ini"]
    assert reading.files == (str(place.root / "app.ini"),)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("master = true\n[uwsgi]\na = 1", "before any [section]"),
        ("[web]\na = 1", "no section [uwsgi] or [vassal]"),
        ("[uwsgi]\n= 1", "no option in front of '='"),
        ("[uwsgi]\n%x = 1", "no option in front of '='"),
        ("[uwsgi]\nendif =", "closes nothing"),
    ],
)
def test_silent_mistakes_are_told(place, text, part):
    (note,) = place.read(text).notes
    assert part in note.message


def test_an_empty_file_is_a_vassal_of_its_templates(place):
    assert place.read("").notes == ()


def test_a_byte_order_mark_and_other_encodings_do_no_harm(place):
    (place.root / "app.ini").write_bytes(b"\xef\xbb\xbf[uwsgi]\n; caf\xe9\nchdir = /srv/\xe9\n")
    assert os.fsencode(place.pairs()[0][1]) == b"/srv/\xe9"


def test_a_nul_is_refused_with_its_line(place):
    with pytest.raises(ConfigError) as caught:
        place.read("[uwsgi]\na = 1\nb = \0")
    assert (caught.value.line, "NUL" in caught.value.message) == (3, True)
    assert str(caught.value).startswith(f"{place.root}/app.ini:3: ")


def test_a_descriptor_is_read_instead_of_the_path(place):
    path = place.write("app.ini", "[uwsgi]\na = %n")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.unlink(path)
        os.lseek(descriptor, 5, os.SEEK_SET)
        entries, notes, files = read_entries(path, fd=descriptor, name="shop", environ={})
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 5
    finally:
        os.close(descriptor)
    assert ([(entry.option, entry.value) for entry in entries], notes, files) == ([("a", "app")], [], [path])


def test_what_is_no_regular_file_is_refused_without_waiting(place):
    os.mkfifo(place.root / "app.ini")
    with pytest.raises(ConfigError, match="not a regular file"):
        place.read()
    with pytest.raises(ConfigError, match="No such file"):
        place.read(name="absent.ini")


def test_a_file_beyond_1_mb_is_refused(place):
    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        place.read("[uwsgi]\n" + "#" * (1 << 20))


def test_relative_paths(place, monkeypatch):
    place.write("conf/app.ini", "[uwsgi]\nini = base.ini\nd = %d")
    place.write("conf/base.ini", "[uwsgi]\na = @(value)")
    place.write("conf/value", "1\n")
    monkeypatch.chdir(place.root)
    entries, _, files = read_entries("conf/app.ini", environ={})
    assert [(entry.option, entry.value) for entry in entries] == [("a", "1"), ("d", f"{place.root}/conf/")]
    assert files == ["conf/app.ini", "conf/base.ini", "conf/value"]


# --- json ------------------------------------------------------------------------------------------------------------


def test_json(place):
    text = (
        '{"uwsgi": {\n"master": true, "cheap": false, "idle": null,\n"processes": 4,\n"env": ["A=1", "B=%n"]},\n"o": 1}'
    )
    reading = place.read(text, name="app.json")
    assert [(entry.option, entry.value, entry.line) for entry in reading.entries] == [
        ("master", "1", 2),
        ("cheap", "0", 2),
        ("idle", "0", 2),
        ("processes", "4", 3),
        ("env", "A=1", 4),
        ("env", "B=app", 4),
    ]


def test_a_repeated_key_in_json_is_a_list(place):
    assert place.pairs('{"uwsgi": {"env": "A=1", "env": "B=2"}}', name="a.js") == [("env", "A=1"), ("env", "B=2")]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"uwsgi": {\n"a": }}', ":2: this is not json"),
        ("[1]", "a json configuration is an object"),
        ('{"uwsgi": [1]}', "must be an object of options"),
        ('{"uwsgi": {"a": {"b": 1}}}', "the value of 'a' must be"),
        ('{"uwsgi": {"": "1"}}', "an option without a name"),
        ('{"uwsgi": {"a": "\\u0000"}}', "a character that no path"),
        ('{"uwsgi": {"a": "\\ud800"}}', "a character that no path"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_what_is_no_json_configuration(place, text, part):
    with pytest.raises(ConfigError) as caught:
        place.read(text, name="app.json")
    assert part in str(caught.value)


# --- yaml ------------------------------------------------------------------------------------------------------------


def test_yaml(place):
    text = """\
base: &base {threads: 2}
uwsgi:
  <<: *base
  master: true
  chmod-socket: 0666
  socket: /tmp/a.sock
  socket: %n.sock  # comment
  env: [A=1, B=2]
  if-dir: .
  print: %(_)
  endif:
"""
    reading = place.read(text, name="app.yaml")
    assert [(entry.option, entry.value, entry.line) for entry in reading.entries] == [
        ("threads", "2", 1),
        ("master", "true", 4),
        ("chmod-socket", "0666", 5),
        ("socket", "/tmp/a.sock", 6),
        ("socket", "app.sock", 7),
        ("env", "A=1", 8),
        ("env", "B=2", 8),
        ("print", ".", 10),
    ]


def test_no_yaml_reader_enters_this_process(place):
    before = "yaml" in sys.modules
    assert place.pairs("uwsgi:\n  a: 1", name="app.yml") == [("a", "1")]
    assert ("yaml" in sys.modules) is before


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("uwsgi:\n  a: [1,\n  - 2", 3, "not a yaml configuration"),
        ("- 1", 1, "the file must hold"),
        ("uwsgi:\n  a: {b: 1}", 2, "the value of 'a' must be"),
        ("uwsgi:\n  k: [[x]]", 2, "the value of 'k' must be"),
    ],
)
def test_what_is_no_yaml_configuration(place, text, line, part):
    with pytest.raises(ConfigError) as caught:
        place.read(text, name="app.yaml")
    assert (caught.value.line, part in caught.value.message) == (line, True)


def test_a_missing_pyyaml_is_named_with_its_remedy(place, monkeypatch):
    monkeypatch.setattr(documents, "YAML_HELPER", "import sys; sys.modules['yaml'] = None\n" + documents.YAML_HELPER)
    with pytest.raises(ConfigError, match=r"emperor-fleet\[yaml\]"):
        place.read("uwsgi: {a: 1}", name="app.yaml")


def test_a_yaml_reader_that_hangs_or_fails_is_given_up(place, monkeypatch):
    monkeypatch.setattr(documents, "YAML_SECONDS", 0.2)
    monkeypatch.setattr(documents, "YAML_HELPER", "import time; time.sleep(60)")
    with pytest.raises(ConfigError, match=r"took more than 0\.2 s"):
        place.read("uwsgi: {a: 1}", name="app.yaml")
    monkeypatch.setattr(documents, "YAML_SECONDS", 30.0)
    monkeypatch.setattr(documents, "YAML_HELPER", "raise SystemExit(3)")
    with pytest.raises(ConfigError, match="failed with status 3"):
        place.read("uwsgi: {a: 1}", name="app.yaml")


def test_other_sections_of_yaml_may_hold_anything(place):
    text = "version: 3\nuwsgi: {a: 1}\nservices: [{web: {image: x}}]"
    assert place.pairs(text, name="app.yaml") == [("a", "1")]


def test_json_and_yaml_name_other_sections(place):
    place.write("app.json", json.dumps({"one": {"a": 1}, "two": {"a": 2}}))
    place.write("app.yaml", "one: {a: 1}\ntwo: {a: 2}")
    assert place.pairs(name="app.json", section=":two") == [("a", "2")]
    assert place.pairs(name="app.yaml", section=":two") == [("a", "2")]
