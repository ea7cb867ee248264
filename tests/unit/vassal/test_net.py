"""Addresses: parsing, and never taking a socket that somebody serves."""

import os
import socket

import pytest

from vassal import net


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (":8000", "0.0.0.0:8000"),
        ("*:8000", "0.0.0.0:8000"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("[::]:80", "[::]:80"),
        ("localhost:81", "127.0.0.1:81"),
        ("/run/x.sock", "/run/x.sock"),
        ("x.sock", "/base/x.sock"),
        ("../x.sock", "/x.sock"),
        ("./a/b.sock", "/base/a/b.sock"),
        ("/tmp/a:80", "/tmp/a:80"),
        ("@name", "@name"),
    ],
)
def test_an_address_has_one_canonical_form(text, key):
    assert net.parse(text, "/base").key == key


@pytest.mark.parametrize(
    "text", ["", ":", ":x", ":70000", ":-1", ":80٣", "[zz]:80", "no.such.host.invalid:80", "/" + "x" * 120, "a\0b"]
)
def test_a_bad_address_says_why(text):
    with pytest.raises(net.AddressError) as error:
        net.parse(text, "/base")
    assert str(error.value)


def bound(address: str, tmp_path) -> socket.socket:
    return net.bind(net.parse(address, str(tmp_path)), net.BindOptions(), 0o660)


def test_a_unix_socket_has_the_mode_from_the_start(tmp_path):
    with bound("x.sock", tmp_path):
        assert os.stat(tmp_path / "x.sock").st_mode & 0o777 == 0o660


def test_a_stale_socket_is_replaced(tmp_path):
    bound("x.sock", tmp_path).close()
    with bound("x.sock", tmp_path) as sock:
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "x.sock"))


@pytest.mark.parametrize("listening", [True, False], ids=["listening", "bound only"])
def test_a_socket_that_somebody_holds_is_never_taken(tmp_path, listening):
    with bound("x.sock", tmp_path) as first:
        if listening:
            first.listen()
        before = os.stat(tmp_path / "x.sock").st_ino
        with pytest.raises(net.AddressError, match="in use") as error:
            bound("x.sock", tmp_path)
        assert error.value.in_use == str(tmp_path / "x.sock")
        assert os.stat(tmp_path / "x.sock").st_ino == before


def test_a_connection_that_outlives_its_listener_holds_no_address(tmp_path):
    """As of a vassal whose emperor was killed: it answers what it has, while the next one wants to bind."""
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as client:
        with bound("x.sock", tmp_path) as first:
            first.listen()
            client.connect(path)
            connection, _ = first.accept()
            assert net.is_served(path)
        with connection:
            assert not net.is_served(path)
            bound("x.sock", tmp_path).close()


def test_who_may_not_connect_asks_the_kernel(tmp_path, monkeypatch):
    """As another user's socket of mode 0755 in a directory that both may write."""

    def forbidden(_sock, _address):
        raise PermissionError

    path = str(tmp_path / "x.sock")
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    with bound("x.sock", tmp_path):
        assert net.is_served(path)
    assert not net.is_served(path)


def test_a_full_backlog_counts_as_served(tmp_path):
    with bound("x.sock", tmp_path) as first:
        first.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(tmp_path / "x.sock"))
        assert net.is_served(str(tmp_path / "x.sock"))
        for client in clients:
            client.close()


def test_a_file_in_the_way_is_not_removed(tmp_path):
    (tmp_path / "x.sock").write_text("precious")
    with pytest.raises(net.AddressError, match="not a socket"):
        bound("x.sock", tmp_path)
    assert (tmp_path / "x.sock").read_text() == "precious"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(net.AddressError, match="directory does not exist"):
        bound("none/x.sock", tmp_path)


def test_a_tcp_port_in_use_is_told(tmp_path):
    with bound("127.0.0.1:0", tmp_path) as first:
        first.listen()
        with pytest.raises(net.AddressError, match="in use") as error:
            bound(net.key_of(first), tmp_path)
        assert error.value.in_use == net.key_of(first)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "x.sock", "@emperor-test-name"])
def test_the_key_of_a_socket_is_that_of_its_address(address, tmp_path):
    with bound(address, tmp_path) as sock:
        key = net.parse(address, str(tmp_path)).key
        assert net.key_of(sock).rpartition(":")[0] == key.rpartition(":")[0] or net.key_of(sock) == key


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_freebind_binds_what_this_host_does_not_have(host, tmp_path):
    if host[0] == "[" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this kernel speaks no IPv6")
    address = net.parse(f"{host}:0", str(tmp_path))
    with pytest.raises(net.AddressError):
        net.bind(address, net.BindOptions()).close()
    net.bind(address, net.BindOptions(freebind=True)).close()


def test_reuse_port_lets_two_bind_one_port(tmp_path):
    with net.bind(net.parse("127.0.0.1:0", str(tmp_path)), net.BindOptions(reuse_port=True)) as first:
        same = net.parse(f"127.0.0.1:{first.getsockname()[1]}", str(tmp_path))
        net.bind(same, net.BindOptions(reuse_port=True)).close()
        first.listen()
        with pytest.raises(net.AddressError):
            net.bind(same, net.BindOptions()).close()
