"""The sockets of a generation: what is refused with a reason, and what root leaves to others."""

import os
from dataclasses import replace

import pytest

from vassal import link, net, ports
from vassal.config import load_vassal


def settings(tmp_path, *lines):
    file = tmp_path / "blog.ini"
    file.write_text("\n".join(["[uwsgi]", "module = app:application", *lines]) + "\n")
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return load_vassal(str(file), fd=descriptor, environ={}).settings
    finally:
        os.close(descriptor)


def test_a_missing_directory_is_not_roots_and_binding_in_it_says_so(tmp_path, monkeypatch):
    # Where even /tmp's owner is in doubt, the answer would be the right one by chance.
    monkeypatch.setattr(ports.identity, "weakness", lambda _path: None)
    path = tmp_path / "missing" / "blog.sock"
    bound = ports.Ports(settings(tmp_path, f"http-socket = {path}"), str(tmp_path), [])
    bound.bind(as_root=True)
    assert bound.descriptors() == ()
    with pytest.raises(net.AddressError, match="missing"):
        bound.bind(as_root=False)


def test_more_sockets_than_a_packet_carries_are_refused(tmp_path):
    many = [f"http-socket = 127.0.0.1:{20000 + number}" for number in range(link.MAX_LISTENERS + 1)]
    with pytest.raises(net.AddressError, match="at most 64 sockets; this file names 65"):
        ports.Ports(settings(tmp_path, *many), str(tmp_path), [])
    assert len(ports.Ports(settings(tmp_path, *many[1:]), str(tmp_path), []).ports) == link.MAX_LISTENERS


def test_a_socket_that_cannot_be_removed_is_told_of(tmp_path, monkeypatch, capfd):
    bound = ports.Ports(settings(tmp_path, f"http-socket = {tmp_path}/blog.sock"), str(tmp_path), [])
    bound.bind(as_root=False)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        bound.unlink()
    assert f"cannot remove the socket {tmp_path}/blog.sock: Permission denied" in capfd.readouterr().err
    bound.unlink()
    bound.unlink()
    assert not (tmp_path / "blog.sock").exists()
    assert capfd.readouterr().err == ""
    bound.close()


def test_the_address_of_statistics_is_no_address_of_the_app(tmp_path):
    bound = ports.Ports(settings(tmp_path, "http-socket = @web", "stats = @numbers"), str(tmp_path), [])
    assert [port.address.key for port in bound.for_callers] == ["@web"]
    assert (bound.keys(), bound.quiet) == (("@web", "@numbers"), ("@numbers",))
    assert bound.told == "@web (statistics: @numbers)"
    assert ports.Ports(settings(tmp_path, "need-app = false"), str(tmp_path), []).told == "no listeners"


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "nowhere.invalid:1", "x" * 200])
def test_a_bad_address_of_statistics_says_whose_it_is(tmp_path, address):
    with pytest.raises(net.AddressError, match=r"^stats: "):
        ports.Ports(replace(settings(tmp_path), stats=address), str(tmp_path), [])


def test_who_parks_leaves_no_socket_of_statistics_behind(tmp_path):
    path = tmp_path / "s"
    bound = ports.Ports(settings(tmp_path, f"http-socket = {tmp_path}/web", f"stats = {path}"), str(tmp_path), [])
    bound.bind(as_root=False)
    assert path.exists()
    bound.leave_stats()
    assert not path.exists()
    assert (tmp_path / "web").exists()
    assert len(bound.keys()) == len(bound.inodes()) == len(bound.descriptors()) == 1
    bound.close()


def test_a_socket_is_in_place_until_it_is_gone_or_another_and_also_where_it_cannot_be_seen(tmp_path, monkeypatch):
    path = tmp_path / "blog.sock"
    bound = ports.Ports(settings(tmp_path, f"http-socket = {path}", "http-socket = 127.0.0.1:0"), str(tmp_path), [])
    bound.bind(as_root=False)
    assert bound.in_place()
    with monkeypatch.context() as patch:

        def hidden(_path):
            raise PermissionError(13, "Permission denied")

        patch.setattr(ports.os, "lstat", hidden)
        assert bound.in_place()
    path.rename(tmp_path / "kept")
    assert not bound.in_place()
    path.touch()
    assert not bound.in_place()
    bound.close()
