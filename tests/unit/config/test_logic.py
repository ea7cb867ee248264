"""Loops and conditions."""

import os

import pytest

from vassal.config.errors import ConfigError


def test_for_repeats_each_line_by_itself(place):
    text = "[uwsgi]\nfor = a  b c\nsocket = /%(_).s\nhttp-socket = /%(_).h\nendfor =\nx = %(_)"
    assert place.pairs(text) == [
        *[("socket", f"/{name}.s") for name in "abc"],
        *[("http-socket", f"/{name}.h") for name in "abc"],
        ("x", "%(_)"),
    ]


def test_the_turn_is_part_of_the_way(place):
    entries = place.read("[uwsgi]\nfor = a b\nx = %(_)\nendfor =").entries
    assert [entry.via for entry in entries] == [
        (f"{place.root}/app.ini:2: for, turn 1",),
        (f"{place.root}/app.ini:2: for, turn 2",),
    ]
    assert [entry.line for entry in entries] == [3, 3]


def test_for_takes_what_is_defined_above(place):
    text = "[uwsgi]\nports = 1 2\nfor = %(ports) $(MORE)\nx = %(_)\nend ="
    assert place.pairs(text, environ={"MORE": "3"})[1:] == [("x", "1"), ("x", "2"), ("x", "3")]


def test_for_times(place):
    assert place.pairs("[uwsgi]\nfor-times = 3\nx = %(_)\nend-for =") == [("x", "1"), ("x", "2"), ("x", "3")]
    assert place.pairs("[uwsgi]\nfor-times = 0\nx = %(_)\nendfor =") == []


@pytest.mark.parametrize("times", ["20001", "999999999999999999", "-1", "many", ""])
def test_for_times_is_bounded(place, times):
    with pytest.raises(ConfigError) as caught:
        place.read(f"[uwsgi]\nfor-times = {times}\nx = %(_)")
    assert (caught.value.line, caught.value.option) == (2, "for-times")


def test_loops_together_are_bounded(place):
    with pytest.raises(ConfigError, match="more than 20000 options"):
        place.read("[uwsgi]\nfor-times = 20000\nx =\ny =\nendfor =")
    with pytest.raises(ConfigError, match="more than 2097152 characters"):
        place.read("[uwsgi]\nfor-times = 20000\nx = " + "y" * 200)


def test_for_readline(place):
    path = place.write("names", "one\n\ntwo words\n" + "x" * 1500)
    reading = place.read("[uwsgi]\nfor-readline = names\na = <%(_)>\nendfor =")
    assert [entry.value for entry in reading.entries] == [
        "<one>",
        "<>",
        "<two words>",
        f"<{'x' * 1023}>",
        f"<{'x' * 477}>",
    ]
    assert path in reading.files
    with pytest.raises(ConfigError, match="No such file"):
        place.read("[uwsgi]\nfor-readline = lost\na = 1")


def test_for_glob_is_sorted_marks_directories_and_gives_the_pattern_if_nothing_matches(place):
    for name in ("b.ini", "a.ini", ".hidden.ini", "dir.ini/x", "sub/one.txt", "sub/two.txt"):
        place.write(name, "")

    def names(pattern):
        return [value for _, value in place.pairs(f"[uwsgi]\nfor-glob = {pattern}\nx = %(_)\nendfor =", name="z")]

    assert names("*.ini") == ["a.ini", "b.ini", "dir.ini/"]
    assert names("sub/*.txt") == ["sub/one.txt", "sub/two.txt"]
    assert names("%d*/one.*") == [f"{place.root}/sub/one.txt"]
    assert names("*/") == ["dir.ini/", "sub/"]
    assert names(".h*") == [".hidden.ini"]
    assert names("[ab].ini") == ["a.ini", "b.ini"]
    assert names("lost*") == ["lost*"]
    assert names("a.ini") == ["a.ini"]
    assert names("/") == ["/"]


def test_for_glob_looks_at_so_many_names_only(place):
    for name in "abcdefghi":
        for other in "abcdefghijk":
            place.write(f"{name}/{other}", "")
    with pytest.raises(ConfigError, match="more than 100000 files"):
        place.read("[uwsgi]\n" + "for-glob = */*\nendfor =\n" * 2000, name="z")
    with pytest.raises(ConfigError, match="pattern of more than"):
        place.read("[uwsgi]\nfor-glob = " + "*a" * 3000)


def test_loops_without_lines_are_bounded_too(place):
    with pytest.raises(ConfigError, match="more than 200000 turns"):
        place.read("[uwsgi]\n" + "for-times = 20000\nendfor =\n" * 11)
    place.write("long", "x" * 60_000)
    with pytest.raises(ConfigError, match="all small files together"):
        place.read("[uwsgi]\n" + "for-readline = long\nendfor =\n" * 200)


def test_the_value_of_a_turn_is_bounded_before_it_is_made(place):
    with pytest.raises(ConfigError, match="makes the value too long"):
        place.read(f"[uwsgi]\nfor = {'x' * 200_000}\na = {'%(_)' * 30_000}")


def test_variables_in_blocks_are_bounded_together(place):
    lines = "if-env = %(a)%(a)%(a)%(a)\nendif =\n" * 200
    with pytest.raises(ConfigError, match="variables make more than"):
        place.read(f"[uwsgi]\na = {'x' * 10_000}\n{lines}")


# --- conditions ------------------------------------------------------------------------------------------------------

ENVIRON = {"SET": "1", "EMPTY": ""}


@pytest.mark.parametrize(
    ("condition", "value", "holds", "context"),
    [
        ("env", "SET", True, "1"),
        ("env", "SET=1", True, "1"),
        ("env", "SET=2", False, "1"),
        ("env", "EMPTY", True, ""),
        ("env", "EMPTY=", True, ""),
        ("env", "LOST", False, "%(_)"),
        ("exists", "app.ini", True, "app.ini"),
        ("exists", "sub", True, "sub"),
        ("exists", "lost", False, "lost"),
        ("file", "app.ini", True, "app.ini"),
        ("file", "sub", False, "sub"),
        ("dir", "sub", True, "sub"),
        ("dir", "%dsub", True, "{root}/sub"),
        ("dir", "%(name)", True, "sub"),
        ("dir", "app.ini", False, "app.ini"),
        ("opt", "name", True, "sub"),
        ("opt", "name=sub", True, "sub"),
        ("opt", "name=other", False, "sub"),
        ("opt", "late", False, "%(_)"),
        ("opt", "raw=%(name)", True, "sub"),
        ("opt", "twice=1", True, "1"),
        ("opt", "flag", True, ""),
        ("hostname", "%h", True, os.uname().nodename),
        ("hostname", "no.such.host.example", False, "no.such.host.example"),
        ("plugin", "python3", True, "python3"),
        ("plugin", "php", False, "php"),
    ],
)
def test_conditions_and_their_opposites(place, condition, value, holds, context):
    place.write("sub/x", "")
    text = (
        "[uwsgi]\nname = sub\nraw = %(name)\ntwice = 1\ntwice = 2\nflag\n"
        f"if-{condition} = {value}\nyes = %(_)\nelse =\nno = -\nendif =\n"
        f"if-not-{condition} = {value}\nno2 = %(_)\nelse =\nyes2 = -\nendif =\nlate = 1"
    )
    found = dict(place.pairs(text, environ=ENVIRON))
    context = context.format(root=place.root)
    expected = {"yes": context, "yes2": "-"} if holds else {"no": "-", "no2": context}
    assert {key: value for key, value in found.items() if key[:2] in ("ye", "no")} == expected


def test_if_reload(place):
    text = "[uwsgi]\nif-reload =\na = %(_)\nendif =\nif-not-reload =\nb = 1\nend-if ="
    assert place.pairs(text) == [("b", "1")]
    assert place.pairs(text, environ={"UWSGI_RELOADS": "1"}) == [("a", "%(_)")]


@pytest.mark.parametrize(
    "word", ["ifenv = SET", "ifexists = app.ini", "ifdir = .", "if-directory = .", "ifplugin = python"]
)
def test_other_spellings(place, word):
    assert place.pairs(f"[uwsgi]\n{word}\na = 1\nend =", environ=ENVIRON) == [("a", "1")]


def test_a_condition_is_asked_once(place):
    assert place.pairs("[uwsgi]\nif-not-opt = a\na = 1\nb = 2\nendif =") == [("a", "1"), ("b", "2")]


def test_a_condition_sees_what_an_include_set(place):
    place.write("base.ini", "[uwsgi]\nname = x")
    assert place.pairs("[uwsgi]\nini = base.ini\nif-opt = name\na = %(_)\nendif =")[-1] == ("a", "x")


@pytest.mark.parametrize(
    ("lines", "line", "part"),
    [
        ("for = a\nif-env = SET\nx = 1", 3, "within for (line 2): blocks cannot nest"),
        ("if-env = LOST\nfor = a\nx = 1", 3, "within if-env (line 2): blocks cannot nest"),
        ("else =", 2, "else without if"),
        ("for = a\nelse =", 3, "else without if: the open block is for"),
        ("if-env = A\nelse =\nelse =", 4, "else without if"),
        ("if-hostname-match = .*", 2, "use if-hostname"),
    ],
)
def test_blocks_that_make_no_sense(place, lines, line, part):
    with pytest.raises(ConfigError) as caught:
        place.read(f"[uwsgi]\n{lines}")
    assert (caught.value.line, part in caught.value.message) == (line, True), caught.value.message


def test_a_block_that_is_not_closed_ends_with_its_file(place):
    place.write("open.ini", "[uwsgi]\nif-env = LOST\na = 1")
    reading = place.read("[uwsgi]\nini = open.ini\nb = 2")
    assert [entry.option for entry in reading.entries] == ["b"]
    (note,) = reading.notes
    assert (note.file, note.line, "is not closed" in note.message) == (f"{place.root}/open.ini", 2, True)
