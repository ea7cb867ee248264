"""Identity: who a vassal is, decided from facts; and what counts as root's own."""

import os

import pytest

from vassal import identity
from vassal.identity import Situation, decide


def situation(**changes):
    facts = {
        "root": True,
        "tyrant": False,
        "owner": (1000, 1000),
        "weak": None,
        "loose": None,
        "vassals_uid": "",
        "vassals_gid": "",
    }
    return Situation(**{**facts, **changes})


def test_without_root_the_file_cannot_choose():
    verdict = decide(situation(root=False, tyrant=True, owner=(0, 0)))
    assert not verdict.at_once
    assert not verdict.own
    assert "root" in verdict.why_not_own


def test_roots_own_file_chooses():
    verdict = decide(situation())
    assert verdict.own
    assert not verdict.at_once


def test_a_file_that_others_can_write_is_the_emperors_tenants_from_the_start():
    verdict = decide(situation(weak="/home/u belongs to u", vassals_uid="www-data"))
    assert verdict.at_once
    assert not verdict.own
    assert "/home/u belongs to u" in verdict.why_not_own


def test_without_vassals_uid_it_is_refused_with_the_remedy():
    with pytest.raises(identity.IdentityError, match="vassals-uid"):
        decide(situation(weak="/home/u belongs to u"))


def test_a_tyrant_takes_the_owners_identity():
    verdict = decide(situation(tyrant=True, weak="anything"))
    assert verdict.at_once
    assert not verdict.own


@pytest.mark.parametrize(("owner", "word"), [((0, 5), "user root"), ((5, 0), "group root")])
def test_a_tyrant_refuses_root(owner, word):
    with pytest.raises(identity.IdentityError, match=word):
        decide(situation(tyrant=True, owner=owner))


def test_a_tyrant_refuses_what_others_can_write():
    with pytest.raises(identity.IdentityError, match="chmod o-w /x"):
        decide(situation(tyrant=True, loose="the file /x must not be writable by everybody (chmod o-w /x)"))


@pytest.mark.parametrize(("mode", "bit"), [(0o666, "o-w"), (0o664, "g-w")])
def test_looseness_names_the_bit_of_the_file(tmp_path, mode, bit):
    file = tmp_path / "x.ini"
    file.write_text("")
    file.chmod(mode)
    assert f"chmod {bit} {file}" in identity.looseness(str(file))
    file.chmod(0o644)
    assert identity.looseness(str(file)) is None


@pytest.mark.parametrize(("mode", "bit"), [(0o777, "o-w"), (0o775, "g-w"), (0o1777, "o-w")])
def test_looseness_names_the_bit_of_the_directory(tmp_path, mode, bit):
    directory = tmp_path / "d"
    directory.mkdir()
    file = directory / "x.ini"
    file.write_text("")
    directory.chmod(mode)
    assert f"chmod {bit} {directory}" in identity.looseness(str(file))


def test_looseness_looks_behind_a_symbolic_link(tmp_path):
    real = tmp_path / "real.ini"
    real.write_text("")
    real.chmod(0o666)
    (tmp_path / "link.ini").symlink_to(real)
    assert "chmod o-w" in identity.looseness(str(tmp_path / "link.ini"))


@pytest.mark.root
def test_weakness_finds_the_directory_that_others_can_write(tmp_path):
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    file = directory / "x.ini"
    file.write_text("")
    assert identity.weakness(str(file)) is None
    os.chown(tmp_path / "a", 12345, -1)
    assert str(tmp_path / "a") in identity.weakness(str(file))
    os.chown(tmp_path / "a", 0, -1)
    (tmp_path / "a").chmod(0o777)
    assert "everybody" in identity.weakness(str(file))
    (tmp_path / "a").chmod(0o755)
    os.chown(file, 0, 12345)
    file.chmod(0o664)
    assert "group" in identity.weakness(str(file))


@pytest.mark.root
def test_weakness_looks_behind_a_symbolic_link(tmp_path):
    theirs = tmp_path / "theirs.ini"
    theirs.write_text("")
    os.chown(theirs, 12345, 12345)
    link = tmp_path / "link.ini"
    link.symlink_to(theirs)
    assert str(theirs) in identity.weakness(str(link))


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing"])
def test_only_a_regular_file_is_a_source(tmp_path, kind):
    path = tmp_path / "x.ini"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(identity.IdentityError):
        identity.open_source(str(path), (), tyrant=False)


def test_under_tyrant_the_opened_file_must_be_the_one_that_was_seen(tmp_path):
    path = tmp_path / "x.ini"
    path.write_text("x")
    facts = path.stat()
    version = (facts.st_mtime_ns, facts.st_ino, facts.st_size, facts.st_uid, facts.st_gid)
    os.close(identity.open_source(str(path), version, tyrant=True))
    with pytest.raises(identity.IdentityError, match="replaced"):
        identity.open_source(str(path), (version[0], version[1] + 1, *version[2:]), tyrant=True)


def test_unknown_users_and_groups_are_named():
    with pytest.raises(identity.IdentityError, match="no-such-user"):
        identity.account("no-such-user", "")
    with pytest.raises(identity.IdentityError, match="no-such-group"):
        identity.account("root", "no-such-group")
    with pytest.raises(identity.IdentityError, match="gid"):
        identity.account("54321", "")


@pytest.mark.root
def test_weakness_follows_every_link_on_the_way(tmp_path):
    """A link of root's, through a link in a tenant's directory, to a file of root's: the tenant decides."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "real.ini").write_text("")
    (theirs / "current.ini").symlink_to("../real.ini")
    (tmp_path / "x.ini").symlink_to("theirs/current.ini")
    assert identity.weakness(str(tmp_path / "x.ini")) is None
    os.chown(theirs, 12345, -1)
    assert str(theirs) in identity.weakness(str(tmp_path / "x.ini"))
    assert identity.weakness(str(tmp_path / "x.ini"), (12345, 12345)) is None


def test_weakness_ends_with_links_that_lead_in_a_circle(tmp_path):
    (tmp_path / "a.ini").symlink_to("b.ini")
    (tmp_path / "b.ini").symlink_to("a.ini")
    identity.weakness(str(tmp_path / "a.ini"), (os.getuid(), os.getgid()))


@pytest.mark.root
def test_a_stranger_on_the_way_is_named(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    file = place / "x.ini"
    file.write_text("")
    os.chown(file, 12345, 12345)
    os.chown(place, 12345, 12345)
    assert identity.estrangement(str(file), (12345, 12345)) is None
    os.chown(place, 12346, 12345)
    assert f"{place} belongs to 12346" in identity.estrangement(str(file), (12345, 12345))
    os.chown(place, 12345, 12346)
    place.chmod(0o775)
    assert f"{place} can be written by group 12346" in identity.estrangement(str(file), (12345, 12345))
