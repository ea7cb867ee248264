"""Places: how they are written, and what one look at each gives, on real directories."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from emperor.places import (
    EXTENSIONS,
    Place,
    PlaceError,
    PlaceOptions,
    WatchDir,
    is_candidate,
    parse_place,
    scan,
    stem_of,
)
from tests.harness import write_file

OPTIONS = PlaceOptions()


def look(text, options=OPTIONS, settled=None):
    return scan(parse_place(str(text)), options, settled or {})


def names(result):
    return sorted(os.path.basename(path) for path in result.files)


# --- places


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("/etc/vassals", "path", "/etc/vassals"),
        ("vassals/", "path", "/here/vassals"),
        ("//etc/../srv/./x.ini", "path", "/srv/x.ini"),
        ("dir:///etc/[odd]", "directory", "/etc/[odd]"),
        ("glob://*.ini", "glob", "/here/*.ini"),
        ("/home/*/vassal.ini", "glob", "/home/*/vassal.ini"),
        ("DIR:///x", "directory", "/x"),
    ],
)
def test_a_place_is_understood(text, kind, path):
    assert parse_place(text, cwd="/here") == Place(text, kind, path)


def test_a_directory_whose_name_looks_like_a_pattern_is_a_directory(tmp_path):
    (tmp_path / "a[b]").mkdir()
    assert parse_place(str(tmp_path / "a[b]")).kind == "path"


@pytest.mark.parametrize("text", ["", "dir://", "pg://host/db", "zmq://tcp://x", "a\0b"])
def test_a_place_that_makes_no_sense_is_refused_by_name(text):
    with pytest.raises(PlaceError, match="cannot watch"):
        parse_place(text)


@pytest.mark.parametrize("name", ["a.ini", "a.yaml", "a.yml", "a.json", "a.js", "a.xml", "a.b.ini", "a.bak.ini"])
def test_a_known_extension_is_a_vassal(name):
    assert is_candidate(name, EXTENSIONS)


@pytest.mark.parametrize(
    "name",
    [
        ".ini", ".a.ini", ".a.ini.swp", "a.ini~", "a.ini.swp", "a.ini.bak", "a.ini.dpkg-new", "a.ini.dpkg-dist",
        "a.ini.rpmsave", "#a.ini#", "#a.ini", "a.INI", "a", "ini", "a.txt", "a.ini.tmp", "4913",
    ],
)  # fmt: skip
def test_hidden_files_backups_and_unknown_extensions_are_none(name):
    assert not is_candidate(name, EXTENSIONS)


def test_extra_extensions_count_with_or_without_dot():
    extensions = PlaceOptions(extra_extensions=("conf", ".vassal")).extensions()
    assert is_candidate("a.conf", extensions)
    assert is_candidate("a.vassal", extensions)
    assert not is_candidate("aconf", extensions)
    assert not is_candidate("a.conf~", extensions)
    assert stem_of("a.conf", extensions) == "a"
    assert stem_of("a.other", extensions) == "a"


# --- scans


def test_a_directory_gives_its_vassals_with_versions(tmp_path):
    file = write_file(tmp_path / "a.ini", "[uwsgi]\n")
    write_file(tmp_path / "a.ini~", "")
    facts = file.stat()
    result = look(tmp_path)
    (found,) = result.files.values()
    assert found.path == str(file)
    assert found.version == (facts.st_mtime_ns, facts.st_ino, facts.st_size, facts.st_uid, facts.st_gid)
    assert found.owner == (facts.st_uid, facts.st_gid)
    assert found.target == (facts.st_dev, facts.st_ino)
    assert found.problem is None
    assert not result.warnings
    assert result.watch == (WatchDir(str(tmp_path), (tmp_path.stat().st_dev, tmp_path.stat().st_ino)),)


def test_a_single_file_is_a_vassal_whatever_its_extension(tmp_path):
    file = write_file(tmp_path / "site.conf", "[uwsgi]\n")
    result = look(file)
    assert list(result.files) == [str(file)]
    assert result.watch[0].names == {"site.conf"}


def test_a_glob_looks_where_it_says(tmp_path):
    for user in ("ann", "bob", ".hidden"):
        (tmp_path / user / "services").mkdir(parents=True)
        write_file(tmp_path / user / "services" / "x.ini", "")
        write_file(tmp_path / user / "services" / ".y.ini", "")
    write_file(tmp_path / "file", "")
    result = look(tmp_path / "*" / "services" / "*.ini")
    assert sorted(result.files) == [str(tmp_path / user / "services" / "x.ini") for user in ("ann", "bob")]
    assert {w.path for w in result.watch} == {str(tmp_path), *(os.path.dirname(path) for path in result.files)}
    assert not result.warnings


def test_a_glob_for_one_name_needs_no_listing(tmp_path):
    (tmp_path / "ann").mkdir()
    write_file(tmp_path / "ann" / "vassal.ini", "")
    write_file(tmp_path / "ann" / "other.ini", "")
    assert names(look(tmp_path / "*" / "vassal.ini")) == ["vassal.ini"]


@pytest.mark.parametrize("form", ["{}", "dir://{}", "{}/x.ini", "{}/*.ini", "{}/deep/er"])
def test_a_place_that_does_not_exist_is_a_warning_and_its_ancestor_is_watched(tmp_path, form):
    result = look(form.format(tmp_path / "late"))
    assert not result.files
    assert not result.unseen
    (warning,) = result.warnings
    assert "waiting" in warning
    (watch,) = result.watch
    assert watch.path == str(tmp_path)
    assert watch.names == {"late"}


def test_a_file_in_place_of_a_directory_is_no_directory(tmp_path):
    write_file(tmp_path / "f", "")
    (warning,) = look(f"dir://{tmp_path}/f").warnings
    assert "does not exist" in warning


def test_what_is_no_regular_file_is_reported_with_the_reason(tmp_path):
    (tmp_path / "dir.ini").mkdir()
    os.mkfifo(tmp_path / "fifo.ini")
    (tmp_path / "dangling.ini").symlink_to("nowhere")
    (tmp_path / "loop.ini").symlink_to("loop.ini")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock.ini"))
        problems = {os.path.basename(path): found.problem for path, found in look(tmp_path).files.items()}
    assert "a directory" in problems["dir.ini"]
    assert "a FIFO" in problems["fifo.ini"]
    assert "leads nowhere" in problems["dangling.ini"]
    assert "symbolic link" in problems["loop.ini"]
    assert "a socket" in problems["sock.ini"]


def test_a_links_target_counts_unless_nofollow(tmp_path):
    target = write_file(tmp_path / "target", "x")
    link = tmp_path / "a.ini"
    link.symlink_to(target)
    followed, own = look(tmp_path), look(tmp_path, PlaceOptions(nofollow=True))
    os.utime(target, (5, 5))
    assert look(tmp_path).files[str(link)].version != followed.files[str(link)].version
    assert look(tmp_path, PlaceOptions(nofollow=True)).files[str(link)].version == own.files[str(link)].version
    os.utime(link, (7, 7), follow_symlinks=False)
    assert look(tmp_path).files[str(link)].version[0] == 5_000_000_000
    touched = look(tmp_path, PlaceOptions(nofollow=True)).files[str(link)]
    assert touched.version[0] == 7_000_000_000
    assert touched.target == (target.stat().st_dev, target.stat().st_ino)


@pytest.mark.root
def test_the_owner_is_the_targets_with_nofollow_too(tmp_path):
    target = write_file(tmp_path / "target", "x")
    link = tmp_path / "a.ini"
    link.symlink_to(target)
    os.chown(link, 4321, 4322, follow_symlinks=False)
    for options in (OPTIONS, PlaceOptions(nofollow=True)):
        found = look(tmp_path, options).files[str(link)]
        assert found.owner == found.version[3:] == (0, 0)


def _as_nobody(text):
    """Scan in a child that has lost root's rights; prints found names, unseen paths and warnings."""
    script = (
        "import os,sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from emperor.places import *\n"
        "r = scan(parse_place(sys.argv[1]), PlaceOptions(), {})\n"
        "print(sorted(map(os.path.basename, r.files)), list(r.unseen), len(r.warnings), sep='|')"
    )
    code = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\nimport emperor.monitor\n" + script
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o700, 0o704], ids=["closed", "names only"])
@pytest.mark.parametrize("form", ["{}", "{}/*.ini", "{}/a.ini"])
def test_a_place_that_may_not_be_looked_at_is_unseen_not_empty(open_path, mode, form):
    place = open_path / "closed"
    place.mkdir()
    write_file(place / "a.ini", "")
    place.chmod(mode)
    found, unseen, warnings = _as_nobody(form.format(place))
    assert found == "[]"
    assert str(place) in unseen
    assert warnings == "1"
