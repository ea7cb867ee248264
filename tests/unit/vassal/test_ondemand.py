"""Where the address of a vassal on demand comes from, and how its sockets are tidied up."""

import os
import socket
import time

import pytest

from tests.harness import write_file
from vassal import link, net, ondemand
from vassal.config.settings import Settings, SocketSpec


def contract(on_demand="", **fields):
    return link.Contract("inspect", "blog", 1, "/v/blog.ini", (), on_demand=on_demand, **fields)


def script(path, text):
    write_file(path, "#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_command_gets_the_path_and_its_words_are_split(tmp_path):
    command = script(tmp_path / "c", 'echo "$1|$2|$3"\n')
    assert ondemand.ask_command(contract(f"exec:{command} 'a b'")) == "a b|/v/blog.ini|"


def test_no_command_no_address(tmp_path):
    assert ondemand.ask_command(contract("file:.socket")) == ""
    assert ondemand.ask_command(contract(f"exec:{script(tmp_path / 'c', 'exit 1')}")) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [("sleep 600 & sleep 600", "no end"), ("yes", "bytes"), ("sleep 600 &", "no end")],
)
def test_a_command_that_hangs_or_floods_is_ended_with_its_children(tmp_path, monkeypatch, text, why):
    monkeypatch.setattr(ondemand, "EXEC_SECONDS", 0.5)
    with pytest.raises(ondemand.OnDemandError, match=why):
        ondemand.ask_command(contract(f"exec:{script(tmp_path / 'c', text)}"))


def test_a_command_that_is_not_there(tmp_path):
    with pytest.raises(ondemand.OnDemandError, match="cannot run"):
        ondemand.ask_command(contract(f"exec:{tmp_path}/no"))
    with pytest.raises(ondemand.OnDemandError, match="empty"):
        ondemand.ask_command(contract("exec:"))
    with pytest.raises(ondemand.OnDemandError, match="quotation"):
        ondemand.ask_command(contract("exec:'a"))


def test_the_file_beside_the_vassals(tmp_path):
    path = tmp_path / "blog.ini"
    one = link.Contract("inspect", "blog", 1, str(path), (), on_demand="file:.socket")
    assert ondemand.ask_file(one, lambda path: open(path, "rb").read()) == ""  # noqa: SIM115 (never opened)
    write_file(tmp_path / "blog.ini.socket", " 127.0.0.1:80\n")
    assert ondemand.ask_file(one, lambda _: b" 127.0.0.1:80\n") == "127.0.0.1:80"

    def cannot(_path):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ondemand.OnDemandError, match=r"blog\.ini\.socket: Permission denied"):
        ondemand.ask_file(one, cannot)


@pytest.mark.parametrize(("protocol", "spoken"), [("uwsgi", "uwsgi"), ("http", "http"), ("http11", "http")])
def test_an_address_that_the_file_does_not_name_is_added(protocol, spoken):
    settings = ondemand.with_address(Settings(protocol=protocol), "/run/a.sock", "/v")
    assert settings.sockets == (SocketSpec(spoken, "/run/a.sock"),)


def test_an_address_that_the_file_names_is_the_files():
    settings = Settings(sockets=(SocketSpec("http", "../run/./a.sock"), SocketSpec("http", "nonsense:x")))
    assert ondemand.with_address(settings, "/run/a.sock", "/v") is settings


def bound(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock, net.inode_of(net.parse(str(path), "/"))


def unlink(path, inode):
    ondemand.unlink(contract(offers=(str(path), "@abstract", "127.0.0.1:80"), inodes=(inode, "", "")))


def test_a_socket_that_nobody_has_any_more_is_removed(tmp_path):
    sock, inode = bound(tmp_path / "a.sock")
    sock.close()
    unlink(tmp_path / "a.sock", inode)
    assert not (tmp_path / "a.sock").exists()


def test_another_ones_socket_stays_even_under_the_same_inode(tmp_path, monkeypatch):
    monkeypatch.setattr(ondemand, "UNLINK_SECONDS", 0.1)
    sock, inode = bound(tmp_path / "a.sock")
    unlink(tmp_path / "a.sock", inode)
    assert (tmp_path / "a.sock").exists(), "it is bound, and may listen in a moment"
    sock.listen(1)
    unlink(tmp_path / "a.sock", inode)
    assert (tmp_path / "a.sock").exists()
    sock.close()
    unlink(tmp_path / "a.sock", "1:1")
    assert (tmp_path / "a.sock").exists(), "another file"


def test_the_emperors_bind_waits_for_nobodys_lock(tmp_path):
    import fcntl

    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    began = time.monotonic()
    net.bind(net.parse(str(tmp_path / "a.sock"), "/"), net.BindOptions(wait=False)).close()
    waited = time.monotonic() - began
    os.close(held)
    assert waited < net.LOCK_PATIENCE
