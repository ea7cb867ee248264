"""Files within files, and the order in which everything applies."""

import os

import pytest

from vassal.config.errors import ConfigError
from vassal.config.inject import Inject


def test_an_include_stands_at_its_place(place):
    place.write("two.ini", "[uwsgi]\nb = 2\nini = three.ini\nd = 4")
    place.write("three.ini", "[uwsgi]\nc = 3")
    reading = place.read("[uwsgi]\na = 1\nini = two.ini\ne = 5")
    assert [entry.option for entry in reading.entries] == list("abcde")
    app, two, three = (f"{place.root}/{name}.ini" for name in ("app", "two", "three"))
    assert reading.entries[2].via == (f"{app}:3: ini", f"{two}:3: ini")
    assert (reading.entries[2].file, reading.entries[2].line) == (three, 2)
    assert reading.files == (app, two, three)


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("ini = x.conf", "x.conf", "[uwsgi]\nb = 1"),
        ("include = x.ini", "x.ini", "[uwsgi]\nb = 1"),
        ("config = x.ini", "x.ini", "[vassal]\nb = 1"),
        ("include = x.ini:web", "x.ini", "[web]\nb = 1"),
        ("include = x.json", "x.json", '{"uwsgi": {"b": 1}}'),
        ("json = x.conf", "x.conf", '{"uwsgi": {"b": 1}}'),
        ("js = x.js:web", "x.js", '{"web": {"b": 1}}'),
        ("yaml = x.conf", "x.conf", "uwsgi:\n  b: 1"),
        ("yml = x.yml:web", "x.yml", "web:\n  b: 1"),
        ("include = x.yaml", "x.yaml", "uwsgi:\n  b: 1"),
    ],
)
def test_formats_and_sections(place, line, name, text):
    place.write(name, text)
    assert place.pairs(f"[uwsgi]\n{line}") == [("b", "1")]


def test_another_section_of_the_file_that_was_read_last(place):
    place.write("defaults.ini", "[uwsgi]\na = 1\n[app2]\nc = %x")
    text = "[uwsgi]\nini = :app1\nini = defaults.ini\nini = :app2\n[app1]\nb = %x\n[app2]\nc = wrong"
    assert place.pairs(text) == [("b", "app1"), ("a", "1"), ("c", "app2")]


def test_another_section_of_json(place):
    text = '{"uwsgi": {"json": ":web"}, "web": {"a": 1}}'
    assert place.pairs(text, name="app.json") == [("a", "1")]


def test_an_include_may_use_what_is_defined_above(place):
    place.write("conf/blog.ini", "[uwsgi]\na = 1")
    text = "[uwsgi]\ndir = conf\nfor = blog shop\nset-ph = %(_)=1\nendfor =\nini = %(dir)/%n.ini"
    assert place.pairs(text, name="blog.ini") == [("dir", "conf"), ("a", "1")]


def test_an_include_in_a_loop(place):
    for name in "ab":
        place.write(f"{name}.ini", "[uwsgi]\nx = %n\nif-env = LOST\ny = 1\nendif =")
    reading = place.read("[uwsgi]\nfor = a b\ninclude = %(_).ini\nendfor =")
    assert [entry.value for entry in reading.entries] == ["a", "b"]
    app = f"{place.root}/app.ini"
    assert reading.entries[1].via == (f"{app}:2: for, turn 2", f"{app}:3: include")


def test_variables_of_the_included_file_and_of_the_own_one(place):
    place.write("base.ini", "[uwsgi]\na = %n %s %N %S %x|%X")
    assert place.pairs("[uwsgi]\ninclude = base.ini\nb = %n", name="blog.ini") == [
        ("a", "base base.ini blog blog.ini |"),
        ("b", "blog"),
    ]


def test_a_missing_file_is_an_error_at_its_line(place):
    with pytest.raises(ConfigError) as caught:
        place.read("[uwsgi]\na = 1\ninclude = lost.ini")
    assert str(caught.value) == f"{place.root}/app.ini:3: cannot read {place.root}/lost.ini: No such file or directory"


def test_a_tolerant_reading_goes_on_after_a_missing_file(place):
    reading = place.read("[uwsgi]\ninclude = lost.ini\na = 1", tolerant=True)
    assert [entry.option for entry in reading.entries] == ["a"]
    assert [(note.level, note.line) for note in reading.notes] == [("error", 2)]


@pytest.mark.parametrize("line", ["xml = a.xml", "xmlconfig = a.conf", "include = a.xml", "inherit = a.xml"])
def test_xml_is_refused(place, line):
    with pytest.raises(ConfigError, match="xml is not read"):
        place.read(f"[uwsgi]\n{line}")


@pytest.mark.parametrize("value", ["http://127.0.0.1/a.ini", "exec://cat a.ini", "-", "", "fd://0"])
def test_only_files_are_included(place, value):
    with pytest.raises(ConfigError, match="only files are read"):
        place.read(f"[uwsgi]\nini = {value}")


# --- loops and bounds ------------------------------------------------------------------------------------------------


def test_files_that_include_each_other_are_refused_with_the_chain(place):
    place.write("b.ini", "[uwsgi]\ninclude = sub/../c.ini")
    place.write("sub/x", "")
    place.write("c.ini", "[uwsgi]\nini = app.ini")
    with pytest.raises(ConfigError) as caught:
        place.read("[uwsgi]\nini = b.ini")
    root = place.root
    chain = f"{root}/app.ini -> {root}/b.ini -> {root}/sub/../c.ini -> {root}/app.ini"
    assert chain in caught.value.message
    assert (caught.value.file, caught.value.line) == (f"{root}/sub/../c.ini", 2)


def test_a_section_that_includes_itself(place):
    with pytest.raises(ConfigError, match=r"app\.ini:web -> .*app\.ini:web"):
        place.read("[uwsgi]\nini = :web\n[web]\nini = :web")


@pytest.mark.parametrize("word", ["include", "inherit"])
def test_the_number_of_files_is_bounded(place, word):
    place.write("one.ini", "[uwsgi]\na = 1")
    lines = f"{word} = one.ini\n"
    assert len(place.pairs("[uwsgi]\n" + lines * 100)) == 100
    with pytest.raises(ConfigError, match="more than 100 files"):
        place.read("[uwsgi]\n" + lines * 101)


def test_a_file_that_inherits_itself_ends(place):
    with pytest.raises(ConfigError, match="more than 100 files"):
        place.read("[uwsgi]\ninherit = app.ini")


def test_the_depth_of_files_is_bounded(place):
    for number in range(60):
        place.write(f"{number}.ini", f"[uwsgi]\nini = {number + 1}.ini")
    with pytest.raises(ConfigError, match="more than 24 deep"):
        place.read("[uwsgi]\nini = 0.ini")


# --- order -----------------------------------------------------------------------------------------------------------


def test_inherit_waits_for_the_end_of_the_file(place):
    place.write("base.ini", "[uwsgi]\nb = %(name)\ninherit = more.ini\nc = 3")
    place.write("more.ini", "[uwsgi]\nd = 4")
    assert place.pairs("[uwsgi]\ninherit = %(name).ini\na = 1\nname = base") == [
        ("a", "1"),
        ("name", "base"),
        ("b", "base"),
        ("c", "3"),
        ("d", "4"),
    ]


def test_the_whole_order(place):
    for name in ("ib", "nb", "ia", "na", "own", "late"):
        place.write(f"{name}.ini", f"[uwsgi]\nx = {name} %N")
    path = str(place.root)
    inject = Inject(
        before=(("include", f"{path}/nb.ini"), ("inherit", f"{path}/ib.ini")),
        after=(("include", f"{path}/na.ini"), ("inherit", f"{path}/ia.ini")),
        sets=(("x", "set %n"),),
    )
    reading = place.read(
        "[uwsgi]\ninherit = late.ini\nx = file\nini = own.ini",
        environ={"UWSGI_VASSAL_X": "env %n", "UWSGI_VASSAL_": "no", "UWSGI_X": "no"},
        inject=inject,
    )
    values = ["env app", "ib app", "nb app", "set app", "file", "own app", "late app", "ia app", "na app"]
    assert [entry.value for entry in reading.entries] == values
    assert [(entry.file, entry.line, entry.via) for entry in reading.entries[:4:3]] == [
        ("environment", 0, ("UWSGI_VASSAL_X",)),
        ("vassal-set", 0, ()),
    ]
    assert reading.entries[1].via == ("vassals-inherit-before",)
    assert reading.files[0] == f"{path}/app.ini"


def test_the_environment_gives_options_to_vassals_only(place):
    environ = {"UWSGI_VASSAL_SAFE_PIDFILE": "/run/%n.pid"}
    assert place.pairs("[uwsgi]", environ=environ) == [("safe-pidfile", "/run/app.pid")]
    assert place.pairs("[uwsgi]", environ=environ, sections=("uwsgi", "emperor")) == []


def test_a_template_may_use_what_the_file_defines(place):
    template = place.write("base.ini", "[uwsgi]\nsocket = /run/%(name).sock\nif-opt = name\na = %(_)\nendif =")
    for inject, asked in (
        (Inject(before=(("include", template),)), []),
        (Inject(after=(("inherit", template),)), ["a"]),
    ):
        pairs = place.pairs("[uwsgi]\nname = blog", inject=inject)
        assert ("socket", "/run/blog.sock") in pairs
        assert [key for key, _ in pairs if key == "a"] == asked


def test_a_template_that_is_missing_is_named_by_its_option(place):
    with pytest.raises(ConfigError, match=r"^vassals-include: cannot read /lost/x\.ini"):
        place.read("[uwsgi]", inject=Inject(after=(("include", "/lost/x.ini"),)))


def test_sets_from_the_emperor_may_be_of_any_kind(place):
    place.write("more.ini", "[uwsgi]\nb = %(a)")
    inject = Inject(sets=(("set-placeholder", "a=1"), ("include", "more.ini")))
    assert place.pairs("[uwsgi]", inject=inject) == [("b", "1")]


def test_injected_text(place):
    head = place.write("head.txt", "[uwsgi]\nx = %n\n[web]")
    place.write("tail.txt", "z = 3")
    place.write("body.ini", "y = 2\n")
    text = f"[uwsgi]\ninject-before = {head}\ninject-after = tail.txt\nini = body.ini:web\nini = body.ini"
    reading = place.read(text)
    root = place.root
    assert [(entry.option, entry.value, entry.file, entry.line) for entry in reading.entries] == [
        ("y", "2", f"{root}/body.ini", 1),
        ("z", "3", f"{root}/tail.txt", 1),
        ("x", "body", f"{root}/head.txt", 2),
    ]
    assert set(reading.files) == {f"{root}/{name}" for name in ("app.ini", "head.txt", "body.ini", "tail.txt")}


# --- fallback --------------------------------------------------------------------------------------------------------


def test_a_fallback_replaces_a_file_with_a_mistake(place):
    place.write("safe.ini", "[uwsgi]\nb = %N")
    reading = place.read("[uwsgi]\nfallback-config = safe.ini\na = 1\nini = lost.ini")
    assert [(entry.option, entry.value) for entry in reading.entries] == [("b", "safe")]
    assert reading.files == (f"{place.root}/app.ini", f"{place.root}/safe.ini")
    (note,) = reading.notes
    assert (note.level, note.line, "safe.ini is used instead" in note.message) == ("error", 4, True)


def test_a_fallback_may_be_another_section_of_the_file(place):
    assert place.pairs("[uwsgi]\nfallback-config = :safe\nelse =\n[safe]\na = 1") == [("a", "1")]


def test_a_fallback_is_not_used_without_need_and_must_be_readable(place):
    assert place.pairs("[uwsgi]\nfallback-config = lost.ini") == [("fallback-config", "lost.ini")]
    with pytest.raises(ConfigError, match=r"lost\.ini"):
        place.read("[uwsgi]\nfallback-config = lost.ini\nelse =")


def test_an_error_of_the_readers_own_kind_passes_through(place):
    class DeniedError(Exception):
        pass

    def read(path):
        raise DeniedError(path)

    path = place.write("app.ini", "[uwsgi]\nfallback-config = app.ini\nini = other.ini")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(DeniedError, match=r"other\.ini"):
            place.read(fd=descriptor, read=read)
    finally:
        os.close(descriptor)
