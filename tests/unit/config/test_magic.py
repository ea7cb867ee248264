"""Magic variables: the whole of uWSGI's table, for the file that a line stands in and for the vassal's own."""

import grp
import os
import pwd
import time

import pytest

from vassal import __version__
from vassal.config.limits import VALUE_CHARS
from vassal.config.magic import Host, Magic, djb33x


def text_of(place, text, **options):
    """What `text` becomes as a value of the main file."""
    return place.values(f"x = {text}\n", **options)["x"]


def test_the_file_of_the_line(place):
    root = str(place.root)
    reading = place.read("[uwsgi]\nx = %p|%s|%d|%e|%n|%c|%x|%i", name="shops/blog.v2.ini")
    inode = os.lstat(f"{root}/shops/blog.v2.ini").st_ino
    expected = f"{root}/shops/blog.v2.ini|blog.v2.ini|{root}/shops/|ini|blog.v2|shops||{inode}"
    assert [entry.value for entry in reading.entries] == [expected]


def test_a_file_without_extension_is_its_own_stem():
    magic = Magic("plain", "/etc/vassals/plain", "", Host("/etc/vassals"), None)
    assert (magic.get("n"), magic.get("e"), magic.get("s")) == ("plain", "", "plain")


def test_components_of_the_directory():
    magic = Magic("x.ini", "/nowhere/b/c/x.ini", "", Host("/nowhere/b/c"), None)
    assert [magic.get(digit) for digit in "0123"] == ["nowhere", "b", "c", ""]
    assert magic.get("9") == ""


def test_the_original_name_and_the_base_directory():
    magic = Magic("shops/x.ini", "/nowhere/shops/x.ini", "", Host("/nowhere"), None)
    assert (magic.get("o"), magic.get("v")) == ("shops/x.ini", "/nowhere")


def test_the_section_that_was_asked_for(place):
    reading = place.read("[app]\nx = %x", section=":app")
    assert [entry.value for entry in reading.entries] == ["app"]


def test_upper_case_is_the_vassals_own_file_also_in_templates(place):
    place.write(
        "base/template.ini", "[uwsgi]\nx = %n %N %e %E %c %C\ny = %s %S\nz = %d|%D\nh = %j %J %i %I %x%X\np = %p %P\n"
    )
    values = dict(place.pairs("[uwsgi]\ninclude = base/template.ini\n", name="shop.ini"))
    root = str(place.root)
    own, template = f"{root}/shop.ini", f"{root}/base/template.ini"
    assert values["x"] == f"template shop ini ini base {place.root.name}"
    assert values["y"] == "template.ini shop.ini"
    assert values["z"] == f"{root}/base/|{root}/"
    inodes = f"{os.lstat(template).st_ino} {os.lstat(own).st_ino}"
    assert values["h"] == f"{djb33x(template.encode())} {djb33x(own.encode())} {inodes} "
    assert values["p"] == f"{template} {own}"


def test_a_symbolic_link_keeps_its_own_name(place):
    place.write("apps/app.skel", "[uwsgi]\nx = %n %d\n")
    os.symlink(place.root / "apps/app.skel", place.root / "shop.ini")
    assert place.pairs(name="shop.ini") == [("x", f"shop {place.root}/")]


def test_a_linked_directory_is_resolved(place):
    place.write("real/shop.ini", "[uwsgi]\nx = %d\n")
    os.symlink(place.root / "real", place.root / "current")
    assert place.pairs(name="current/shop.ini") == [("x", f"{place.root}/real/")]


def test_host_processors_and_version(place):
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    assert text_of(place, "%h|%k|%V|%[[0m") == f"{os.uname().nodename}|{cores}|{__version__}|\033[0m"


def test_the_identity_that_reads_the_file(place):
    uid, gid = os.getuid(), os.getgid()
    names = f"{pwd.getpwuid(uid).pw_name} {grp.getgrgid(gid).gr_name}"
    assert text_of(place, "%u %g %U %G") == f"{uid} {gid} {names}"


def test_an_identity_without_a_name_is_shown_by_number(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 54321987)
    monkeypatch.setattr(os, "getgid", lambda: 54321988)
    magic = Magic("x.ini", "/nowhere/x.ini", "", Host("/nowhere"), None)
    assert (magic.get("U"), magic.get("G")) == ("54321987", "54321988")


def test_the_clock_is_one_moment_in_two_units(place):
    before = int(time.time())
    seconds, micros = map(int, text_of(place, "%t %T").split())
    assert before <= seconds <= int(time.time())
    assert micros // 1_000_000 == seconds


def test_one_load_has_one_moment():
    host = Host("/nowhere")
    assert host.get("T") == host.get("T")


def test_a_doubled_percent_sign_is_one(place):
    assert text_of(place, "celery@%%h 100%% %%(status)") == "celery@%h 100% %(status)"


def test_arithmetic_with_magic_variables(place):
    assert text_of(place, "%(%k + 1)") == str(os.sysconf("SC_NPROCESSORS_ONLN") + 1)


def test_unknown_variables_become_nothing_and_are_told(place):
    reading = place.read("[uwsgi]\nlog-date = %Y-%m\n")
    assert [entry.value for entry in reading.entries] == ["-"]
    assert [(note.line, note.level) for note in reading.notes] == [(2, "warning"), (2, "warning")]
    assert "%%" in reading.notes[0].message


def test_a_percent_sign_at_the_end_stays(place):
    assert text_of(place, "80%") == "80%"


def test_keys_have_variables_too(place):
    assert place.pairs("[uwsgi]\n%n-port = 1\n", name="shop.ini") == [("shop-port", "1")]


# The sums are what uWSGI 2.0.31 prints for these paths.
@pytest.mark.parametrize(("path", "expected"), [("/tmp/cx/a.ini", "D91C6291"), ("/tmp/cx/dé/x.y.ini", "361A5BD3")])
def test_the_hash_is_uwsgis(path, expected):
    assert djb33x(path.encode()) == expected


def test_a_file_that_is_gone_has_no_inode():
    assert Magic("x.ini", "/nowhere/x.ini", "", Host("/nowhere"), None).get("i") == ""


def test_growth_is_bounded():
    magic = Magic("x.ini", "/" + "a" * 4000 + "/x.ini", "", Host("/"), None)
    with pytest.raises(ValueError, match=str(VALUE_CHARS)):
        magic.expand("%c" * 1000, print)
